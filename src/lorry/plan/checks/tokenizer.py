"""The tokenizer, its special tokens and the chat template."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar

from lorry.errors import DataError, LorryError
from lorry.plan.adapter_places import modules
from lorry.plan.checks._base import Check
from lorry.plan.findings import Explanation, Finding, error, from_error, note, warning
from lorry.plan.subject import UnavailableError

if TYPE_CHECKING:
    from lorry.data.tokenizer import Tokenizer
    from lorry.plan.subject import Subject

_CONVERSATION = [
    {"role": "user", "content": "What is two and two?"},
    {"role": "assistant", "content": "Four."},
    {"role": "user", "content": "And three more?"},
    {"role": "assistant", "content": "Seven."},
]


class TokenizerCheck(Check):
    """Whether texts can end, and whether conversations can be rendered."""

    explains: ClassVar[Mapping[str, Explanation]] = {
        "tokenizer.unavailable": Explanation(
            "The tokenizer cannot be read.",
            "No row can become tokens.",
            "Fetch the model's files again, or save its tokenizer anew.",
        ),
        "tokenizer.no-end-token": Explanation(
            "The tokenizer names no token that ends a text.",
            "The model could not learn to stop.",
            "Set `eos_token` in tokenizer_config.json.",
        ),
        "tokenizer.pad-is-end": Explanation(
            "One token both ends texts and fills up batches.",
            "Tools that mask it everywhere teach a model never to stop; lorry masks by place, so it is trained on.",
        ),
        "tokenizer.no-pad": Explanation(
            "The tokenizer names no token that fills up batches; the end token does.",
            "Tools that mask that token everywhere teach a model never to stop; lorry masks by place.",
        ),
        "tokenizer.bos-once": Explanation(
            "The chat template writes the token that begins a text, and so would the tokenizer.",
            "Tools that do both train on texts that begin twice; lorry tokenises rendered texts without adding any.",
        ),
        "tokenizer.too-large": Explanation(
            "The tokenizer has more tokens than the model embeds.",
            "A row with such a token would crash the run, on a GPU with a message that says nothing.",
            "Use the tokenizer that belongs to this model, or one whose added tokens the model was resized for.",
        ),
        "template.fails": Explanation(
            "The chat template is missing, has a fault, or refuses a plain conversation.",
            "No conversation can be rendered.",
            "Set `data.chat_template` to a Jinja file or to `chatml`, or use an instruction-tuned model.",
        ),
        "template.drops-turns": Explanation(
            "The chat template leaves out turns of a plain conversation.",
            "The model would be trained on answers to questions that it does not see.",
            "Correct the template, or set `data.chat_template: chatml`.",
        ),
        "template.double-bos": Explanation(
            "The chat template itself begins texts with the first token twice.",
            "lorry leaves one out; the model would be asked otherwise by tools that do not.",
            "Remove one of them from the template.",
        ),
        "template.other-end": Explanation(
            "The template ends turns with another token than generation_config.json stops at.",
            "Tools that serve the model by that file do not stop at the end of an answer.",
            "Add the token to `eos_token_id` in generation_config.json where the adapter is served.",
        ),
        "template.no-end": Explanation(
            "The chat template writes no end token after an answer.",
            "lorry adds it in training; other tools that use this template train a model that does not stop.",
            "Correct the template, if others will use it.",
        ),
    }

    def run(self, subject: Subject) -> Iterable[Finding]:
        """Opens the tokenizer and renders a conversation."""
        try:
            tokenizer = subject.tokenizer
        except UnavailableError as unavailable:
            if unavailable.part != "tokenizer" or not isinstance(unavailable.cause, LorryError):
                raise
            yield from_error("tokenizer.unavailable", unavailable.cause)
            return
        try:
            yield from _special(tokenizer)
        except LorryError as missing:
            yield from_error("tokenizer.no-end-token", missing)
            return
        yield from _vocabulary(subject, tokenizer)
        if subject.method.accepts != {"text"}:
            yield from _template(subject, tokenizer)


def _special(tokenizer: Tokenizer) -> Iterable[Finding]:
    """The tokens that end texts and fill batches. Raises ModelError where there is none to end with."""
    end = tokenizer.eos_id
    if not tokenizer.names_pad:
        message = f"the tokenizer names no pad token: {tokenizer.token(end)} fills up batches; lorry masks by place"
        yield note("tokenizer.no-pad", message)
    elif tokenizer.pad_id == end:
        message = (
            f"{tokenizer.token(end)} both ends texts and fills up batches; lorry masks by place, so it is trained on"
        )
        yield note("tokenizer.pad-is-end", message)


def _vocabulary(subject: Subject, tokenizer: Tokenizer) -> Iterable[Finding]:
    shapes = modules(subject.tensors or {})
    rows = next(
        (shape[0] for name, shape in shapes.items() if name.endswith(("embed_tokens", "wte", "embed_in"))), None
    )
    if rows is not None and tokenizer.vocabulary_size > rows:
        yield error(
            "tokenizer.too-large",
            f"the tokenizer has {tokenizer.vocabulary_size:,} tokens, and the model embeds {rows:,}",
            remedy="use the tokenizer that belongs to this model",
            place="model.id",
        )


def _template(subject: Subject, tokenizer: Tokenizer) -> Iterable[Finding]:
    from lorry.data.prepare import templated

    data = subject.recipe.data
    try:
        chat = templated(tokenizer, data, subject.base)
        text = chat.render(_CONVERSATION, **data.template_args)
    except DataError as failed:
        yield from_error("template.fails", failed)
        return
    lost = [turn["content"] for turn in _CONVERSATION if turn["content"] not in text]
    if lost:
        yield error(
            "template.drops-turns",
            "the chat template leaves out turns of a conversation",
            evidence=f"not in the rendered text: {', '.join(lost)}",
            remedy="correct the template, or set data.chat_template to chatml",
            place="data.chat_template",
        )
    yield from _beginning(chat, text)
    yield from _stop(subject, chat)
    ends = [token for end in chat.end_ids if (token := chat.token(end)) is not None]
    if not any(end in text.rpartition(_CONVERSATION[-1]["content"])[2] for end in ends):
        yield warning(
            "template.no-end",
            "the chat template writes no end token after an answer; lorry adds it in training",
            evidence=f"end tokens: {', '.join(ends)}",
            place="data.chat_template",
        )


def _beginning(chat: Tokenizer, text: str) -> Iterable[Finding]:
    """Whether the token that begins a text is written twice."""
    bos = chat.bos_id
    if bos is None:
        return
    first = chat.encode(text)[:2]
    if first == [bos, bos]:
        yield warning(
            "template.double-bos",
            f"the chat template begins texts with {chat.token(bos)} twice; lorry leaves one out, other tools do not",
            remedy="remove one from the template",
            place="data.chat_template",
        )
    elif first[:1] == [bos] and chat.adds_bos:
        message = f"both template and tokenizer would write {chat.token(bos)}; lorry writes it once, as it must be"
        yield note("tokenizer.bos-once", message)


def _stop(subject: Subject, chat: Tokenizer) -> Iterable[Finding]:
    """Whether tools that serve the model stop where its template ends a turn: they read generation_config.json."""
    from lorry.trainer.sources.model_folder import read_config

    turn_end = chat.turn_end_id
    written = read_config(subject.source.folder, subject.source.id).get("eos_token_id")
    stops = chat.generation_end_ids or (written if isinstance(written, list) else [written])
    if turn_end is not None and stops != [None] and turn_end not in stops:
        named = ", ".join(str(chat.token(stop)) for stop in stops if isinstance(stop, int))
        yield warning(
            "template.other-end",
            f"the template ends turns with {chat.token(turn_end)}, and the model's own settings stop at {named}",
            evidence="lorry stops at both; tools that read only generation_config.json let answers run on",
            remedy=f"add {turn_end} to eos_token_id in generation_config.json where the adapter is served",
            place="data.chat_template",
        )
