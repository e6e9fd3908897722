"""Asking an adapter and its base model: one prompt, or a conversation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from lorry.data.bad_rows import BadRowError
from lorry.data.images.of_rows import with_images
from lorry.data.images.picture import AlbumWriter, Picture
from lorry.data.images.taking import Taking
from lorry.data.rows import Message, Origin, Row
from lorry.errors import InputError
from lorry.evaluate.generation import Generated, Limits, generate, stream
from lorry.evaluate.opening import Opened
from lorry.evaluate.sides import SIDES, WORDS, Side

Say = Callable[[str], None]
"""Takes the next piece of text, with no newline added."""

HELP = "/base, /adapter or /both choose who answers; /reset forgets the conversation; /exit ends"


@dataclass(frozen=True, slots=True)
class Manner:
    """How prompts are asked."""

    system: str = ""
    """The system message; none where it is empty."""
    raw: bool = False
    """The prompt is the beginning of a text, not a question: no chat template."""
    max_new_tokens: int = 256


def ask(
    opened: Opened, prompt: str, sides: Sequence[Side], manner: Manner, images: Sequence[str] = ()
) -> dict[Side, Generated]:
    """What each side answers to one prompt, with images (paths or URLs) at its `<image>` marks, or before it.

    Raises InputError for images that cannot be had, or that the model does not read, or beside a bare text.
    """
    if images and manner.raw:
        hint = "leave out `--image`, or ask without `--raw` of a run that was trained on conversations"
        raise InputError("a bare text shows no images: only the chat template gives them a place", hint=hint)
    with TemporaryDirectory(ignore_cleanup_errors=True) as place:
        turns, pictures = _with_images(opened, prompt, images, AlbumWriter(Path(place)))
        ids = prompt_ids(opened, turns, manner, pictures)
        answers: dict[Side, Generated] = {}
        for side in sides:
            with opened.side(side) as loaded:
                answers[side] = generate(loaded, opened.tokenizer, [ids], Limits(manner.max_new_tokens, 1))
    return answers


def _with_images(
    opened: Opened, prompt: str, images: Sequence[str], album: AlbumWriter
) -> tuple[list[Message], tuple[Picture, ...]]:
    plain: list[Message] = [{"role": "user", "content": prompt}]
    if not images:
        return plain, ()
    if opened.renderer.vision is None:
        raise InputError(
            "the model reads no images", hint="leave out `--image`, or name a run of a vision-language model"
        )
    try:
        row = with_images({"images": list(images)}, Row(Origin("--image", 1), messages=plain))
        (taken,) = Taking(album, Path()).take([row])
    except BadRowError as error:
        taken = error
    if isinstance(taken, BadRowError):
        raise InputError(taken.message, place="--image", hint=taken.hint)
    return taken.messages or plain, taken.pictures


def prompt_ids(
    opened: Opened, turns: Sequence[Message], manner: Manner, pictures: Sequence[Picture] = ()
) -> Sequence[int]:
    """What generation starts from: the conversation as in training, or the last turn's bare text.

    Raises DataError where the model has no chat template, or it refuses the conversation.
    """
    if manner.raw:
        tokenizer = opened.tokenizer
        ids = tokenizer.encode(str(turns[-1]["content"]))
        bos = tokenizer.bos_id
        return [bos, *ids] if tokenizer.adds_bos and bos is not None and ids[:1] != [bos] else ids
    system: list[Message] = [{"role": "system", "content": manner.system}] if manner.system else []
    return opened.renderer.prompt([*system, *turns], None, pictures)


@dataclass
class Talk:
    """A conversation; each side remembers its own answers."""

    opened: Opened
    manner: Manner
    who: Literal["base", "adapter", "both"] = "adapter"
    turns: dict[Side, list[Message]] = field(default_factory=lambda: {side: [] for side in SIDES})

    def hear(self, line: str, say: Say) -> bool:
        """Takes one line, a command or a question, and says the answer as it is made; False when the talk is over."""
        text = line.strip()
        if text in ("/exit", "/quit"):
            return False
        if text.startswith("/"):
            say(f"{self._command(text)}\n")
        elif text:
            for side in SIDES:
                if self.who in (side, "both"):
                    self._answer(side, text, say)
        return True

    def _command(self, text: str) -> str:
        if text == "/reset":
            for turns in self.turns.values():
                turns.clear()
            return "the conversation starts anew"
        if text in ("/base", "/adapter", "/both"):
            self.who = text.removeprefix("/")  # type: ignore[assignment]
            return {"both": "both answer"}.get(self.who) or f"the {WORDS[self.who]} answers"  # type: ignore[index]
        return HELP if text == "/help" else f"there is no `{text}`: {HELP}"

    def _answer(self, side: Side, text: str, say: Say) -> None:
        if self.who == "both":
            say(f"{WORDS[side]}: ")
        asked = [*self.turns[side], {"role": "user", "content": text}]
        ids = prompt_ids(self.opened, asked, self.manner)
        with self.opened.side(side) as loaded:
            found = stream(loaded, self.opened.tokenizer, ids, self.manner.max_new_tokens, say)
        say("\n")
        if found.no_room:
            say("(the conversation fills the model's context: /reset starts anew)\n")
            return
        self.turns[side] = [*asked, {"role": "assistant", "content": found.texts[0]}]
