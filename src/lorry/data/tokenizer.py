"""A model's tokenizer and chat template, read from its folder without Transformers, equal to Transformers."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import tokenizers
from tokenizers import Encoding

from lorry.data.images.vision import Vision, vision_of
from lorry.data.rows import Message
from lorry.data.settings_file import settings_in
from lorry.data.template import CHATML, PLAIN, ChatTemplate, plain
from lorry.errors import DataError, ModelError

_NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


class Tokenizer:
    """Turns conversations into text, text into tokens, and tokens into text."""

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        config: dict[str, Any],
        templates: dict[str, str],
        vision: Vision | None = None,
    ) -> None:
        backend.no_padding()
        backend.no_truncation()
        self._backend = backend
        self._config = config
        self._templates = templates
        self.special = _special_tokens(config)
        """Named special tokens as templates see them: `bos_token`, `eos_token`, ..."""
        self.vision = vision
        """How images become tokens; None for a model that reads none."""

    @classmethod
    def open(cls, folder: Path) -> Tokenizer:
        """The tokenizer of a model's folder. Raises ModelError when there is none or it cannot be read."""
        file = folder / "tokenizer.json"
        if not file.is_file():
            hint = "name a model that brings its tokenizer, or save one there with `tokenizer.save_pretrained`"
            raise ModelError("there is no tokenizer.json", place=str(folder), hint=hint)
        try:
            backend = tokenizers.Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises plain Exception
            raise ModelError(f"the tokenizer cannot be read: {error}", place=str(file)) from error
        config = {**settings_in(folder / "special_tokens_map.json"), **settings_in(folder / "tokenizer_config.json")}
        config["generation_eos"] = settings_in(folder / "generation_config.json").get("eos_token_id")
        _add_tokens(backend, config)
        return cls(backend, config, _templates(folder, config), vision_of(folder, backend.id_to_token))

    def with_template(self, text: str) -> Tokenizer:
        """The same tokenizer with another chat template.

        `chatml` and `plain` name built-in ones. With a tokenizer that does not know ChatML's end sign, its turns end with the
        end token; `plain` begins with the first token where the tokenizer puts it before raw text.
        """
        if text == "chatml":
            knows = self._backend.token_to_id("<|im_end|>") is not None
            text = CHATML if knows else CHATML.replace("'<|im_end|>\\n'", "eos_token + '\\n'")
        if text == "plain":
            text = "{{ bos_token }}" + PLAIN if self.adds_bos else PLAIN
        return Tokenizer(self._backend, self._config, {"default": text}, self.vision)

    # --- text and tokens

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        """The token ids of a text."""
        return list(self._backend.encode(text, add_special_tokens=add_special_tokens).ids)

    def encode_inside(self, text: str) -> list[int]:
        """The token ids of a text that does not begin one: without the blank that SentencePiece puts first."""
        anchor = self.encode("\n")
        anchored = self.encode("\n" + text)
        return anchored[len(anchor) :] if anchored[: len(anchor)] == anchor else self.encode(text)

    def encodings(self, texts: Sequence[str]) -> list[Encoding]:
        """The tokens of many texts with their places in the text, without special tokens; on all cores."""
        return self._backend.encode_batch(list(texts), add_special_tokens=False)

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """The text of token ids."""
        return self._backend.decode(list(ids), skip_special_tokens=skip_special_tokens)

    def decodings(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """The texts of many rows of token ids, without special tokens; on all cores."""
        return self._backend.decode_batch([list(each) for each in ids], skip_special_tokens=True)

    def token(self, index: int) -> str | None:
        """A token as the vocabulary writes it."""
        return self._backend.id_to_token(index)

    # --- conversations

    @property
    def has_template(self) -> bool:
        """Whether conversations can be rendered."""
        return bool(self._templates)

    def template(self, tools: Sequence[dict[str, Any]] | None = None) -> ChatTemplate:
        """The chat template: the one for tools when there are tools and the model brings two."""
        name = "tool_use" if tools is not None and "tool_use" in self._templates else "default"
        if name not in self._templates:
            hint = "set `data.chat_template: chatml`, or to a Jinja file, or use an instruction-tuned model"
            raise DataError("the model has no chat template", hint=hint)
        return self._compiled.setdefault(name, ChatTemplate(self._templates[name]))

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[dict[str, Any]] | None = None,
        add_generation_prompt: bool = False,
        **template_args: Any,
    ) -> str:
        """The text of a conversation. Raises DataError when the template refuses it."""
        template = self._compiled.get("default") if tools is None else None
        values = {**self.special, **template_args} if template_args else self.special
        return (template or self.template(tools)).render(
            messages,
            tools=None if tools is None else plain(tools),
            add_generation_prompt=add_generation_prompt,
            **values,
        )

    @cached_property
    def _compiled(self) -> dict[str, ChatTemplate]:
        return {}

    # --- special tokens

    @cached_property
    def special_texts(self) -> re.Pattern[str] | None:
        """Finds a special token that is written out in a text; None where there is none to find."""
        added = self._backend.get_added_tokens_decoder().values()
        texts = sorted((token.content for token in added if token.special and token.content), key=len, reverse=True)
        return re.compile("|".join(map(re.escape, texts))) if texts else None

    @property
    def bos_id(self) -> int | None:
        """The token that begins a text; None where there is none."""
        return self._id("bos_token")

    @property
    def eos_id(self) -> int:
        """The token that ends a text. Raises ModelError when the tokenizer names none."""
        found = self._id("eos_token")
        if found is None and self._generation_ends:
            found = self._generation_ends[0]
        if found is None:
            raise ModelError("the tokenizer names no end token", hint="set `eos_token` in tokenizer_config.json")
        return found

    @property
    def names_pad(self) -> bool:
        """Whether the tokenizer names a token that fills up batches."""
        return self._id("pad_token") is not None

    @property
    def generation_end_ids(self) -> list[int]:
        """Tokens at which generation_config.json ends an answer."""
        return self._generation_ends

    @property
    def pad_id(self) -> int:
        """The token that fills up batches; the end token where no other is named."""
        found = self._id("pad_token")
        return self.eos_id if found is None else found

    @cached_property
    def end_ids(self) -> frozenset[int]:
        """Tokens at which an answer ends: the tokenizer's, the generation settings' and the template's."""
        turn_end = self.turn_end_id
        return frozenset({self.eos_id, *self._generation_ends, *(() if turn_end is None else (turn_end,))})

    @cached_property
    def turn_end_id(self) -> int | None:
        """The special token that the template writes right after an answer."""
        answer = "lorry-answer"
        try:
            text = self.render([{"role": "user", "content": "a"}, {"role": "assistant", "content": answer}])
        except DataError:
            return None
        after = text.rpartition(answer)[2].lstrip() if answer in text else ""
        first = self.encode(after)[:1]
        return first[0] if first and first[0] in self.added_ids else None

    @cached_property
    def adds_bos(self) -> bool:
        """Whether raw text begins with the first token, as Transformers would do it."""
        if self.bos_id is None:
            return False
        explicit = self._config.get("add_bos_token")
        if "add_bos_token" in self._config or "add_eos_token" in self._config:
            return bool(explicit)
        return self.encode("a", add_special_tokens=True)[:1] == [self.bos_id] != self.encode("a")[:1]

    @cached_property
    def added_ids(self) -> frozenset[int]:
        """Tokens that are no part of ordinary text."""
        return frozenset(self._backend.get_added_tokens_decoder())

    @property
    def vocabulary_size(self) -> int:
        """Number of token ids, added ones included."""
        return self._backend.get_vocab_size(with_added_tokens=True)

    def sha256(self) -> str:
        """Hash of everything that decides how text becomes tokens: vocabulary, special tokens, templates."""
        adds = [self._config.get("add_bos_token"), self._config.get("add_eos_token")]
        settings = [self._templates, self.special, self._generation_ends, adds]
        settings += [] if self.vision is None else [self.vision.settings]
        digest = hashlib.sha256(self._vocabulary_digest)
        digest.update(json.dumps(settings, sort_keys=True).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    @cached_property
    def _vocabulary_digest(self) -> bytes:
        return hashlib.sha256(self._backend.to_str().encode()).digest()

    @cached_property
    def _generation_ends(self) -> list[int]:
        ends: Any = self._config.get("generation_eos")
        if isinstance(ends, int):
            return [ends]
        return [end for end in cast("list[Any]", ends) if isinstance(end, int)] if isinstance(ends, list) else []

    def _id(self, name: str) -> int | None:
        token = self.special.get(name)
        return None if token is None else self._backend.token_to_id(token)


def _special_tokens(config: dict[str, Any]) -> dict[str, str]:
    named: dict[str, str] = {}
    for name in _NAMED:
        value: Any = config.get(name)
        content: Any = cast("dict[str, Any]", value).get("content") if isinstance(value, dict) else value
        if isinstance(content, str):
            named[name] = content
    return named


def _add_tokens(backend: tokenizers.Tokenizer, config: dict[str, Any]) -> None:
    """Tokens that only tokenizer_config.json names: by their ids, then the named special ones, as Transformers does."""
    known = backend.get_added_tokens_decoder()
    decoder = cast("dict[str, Any]", config.get("added_tokens_decoder") or {})
    entries = [decoder[key] for key in sorted(decoder, key=int) if int(key) not in known]
    fresh = [
        tokenizers.AddedToken(**{key: value for key, value in entry.items() if key != "__type"}) for entry in entries
    ]
    names = {token.content for token in known.values()} | {token.content for token in fresh}
    extra: Any = config.get("extra_special_tokens") or config.get("additional_special_tokens") or []
    for text in [*_special_tokens(config).values(), *(extra if isinstance(extra, list) else [])]:
        if isinstance(text, str) and text not in names:
            names.add(text)
            fresh.append(tokenizers.AddedToken(text, special=True))
    backend.add_tokens(fresh)


def _templates(folder: Path, config: dict[str, Any]) -> dict[str, str]:
    """Chat templates by name: files win over what tokenizer_config.json holds."""
    files = {"default": folder / "chat_template.jinja"}
    files |= {file.stem: file for file in sorted((folder / "additional_chat_templates").glob("*.jinja"))}
    found = {name: file.read_text(encoding="utf-8") for name, file in files.items() if file.is_file()}
    if found:
        return found
    held: Any = settings_in(folder / "chat_template.json").get("chat_template") or config.get("chat_template")
    if isinstance(held, list):
        entries = cast("list[dict[str, str]]", held)
        return {entry["name"]: entry["template"] for entry in entries}
    return {"default": held} if isinstance(held, str) else {}
