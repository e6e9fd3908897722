"""What a model makes of images: read from its folder without Transformers, like its tokenizer."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lorry.data.images.families import Layout, Rule, rule_of
from lorry.data.images.opened import fitted
from lorry.data.images.picture import Picture, Placed
from lorry.data.rows import MARK, Message
from lorry.data.settings_file import settings_in
from lorry.errors import DataError


@dataclass(frozen=True)
class Vision:
    """How images of one model are written into text and tokens."""

    token: str
    """Stands once for each image in what the template writes, and once for each of its features in what the model reads."""
    token_id: int
    rule: Rule
    settings: str
    """What decides the rule, for hashes."""
    max_pixels: int | None = None
    """Larger images are scaled down to so many pixels before anything else."""

    def size(self, picture: Picture) -> tuple[int, int]:
        """Width and height at which the model's own processor gets the image."""
        return fitted(picture.width, picture.height, self.max_pixels)

    def layout(self, picture: Picture) -> Layout:
        """The image as text. Raises DataError for one that the model's processor refuses."""
        return self.rule(*self.size(picture), self.token)

    def expanded(self, text: str, pictures: Sequence[Picture]) -> str:
        """What the template wrote, with as many placeholders for each image as it has features.

        Raises DataError unless the template wrote one image token for each picture.
        """
        parts = text.split(self.token)
        if len(parts) - 1 != len(pictures):
            wrote = f"{len(parts) - 1} image tokens (`{self.token}`) for {len(pictures)} images"
            hint = "take the token out of the row's text, or set `data.chat_template` to a template that shows images"
            raise DataError(f"the chat template writes {wrote}", hint=hint)
        between = [self.layout(picture).text for picture in pictures]
        return "".join(piece for pair in zip(parts, [*between, ""], strict=True) for piece in pair)

    def placed(self, ids: NDArray[np.int32], pictures: Sequence[Picture]) -> tuple[Placed, ...]:
        """Where each picture's tokens stand in a row. Raises DataError where the tokenizer does not keep them apart."""
        places = np.flatnonzero(ids == self.token_id)
        layouts = [self.layout(picture) for picture in pictures]
        if len(places) != sum(layout.tokens for layout in layouts):
            told = f"the tokenizer makes {len(places)} tokens of {sum(one.tokens for one in layouts)} `{self.token}`"
            raise DataError(told, hint="use the model's own tokenizer")
        found: list[Placed] = []
        first = 0
        for picture, layout in zip(pictures, layouts, strict=True):
            last = first + layout.tokens - 1
            found.append(Placed(picture, int(places[first]), int(places[last]) + 1, layout.grid))
            first = last + 1
        return tuple(found)


def vision_of(folder: Path, token_of: Callable[[int], str | None]) -> Vision | None:
    """The vision of a model's folder; None for one that reads no images, or not in a way that lorry knows.

    `token_of` gives a token's text by its id. Raises ModelError for settings that cannot be read.
    """
    config = settings_in(folder / "config.json")
    # As Transformers has it: what is said of all parts together goes before a file for images alone.
    processor = settings_in(folder / "processor_config.json").get("image_processor")
    processor = settings_in(folder / "preprocessor_config.json") if processor is None else processor
    # Older configurations of LLaVA say `image_token_index`.
    number = config.get("image_token_id", config.get("image_token_index"))
    token = token_of(number) if isinstance(number, int) else None
    rule = rule_of(config, processor) if token else None
    if rule is None or token is None or not isinstance(number, int):
        return None
    keys = ("model_type", "vision_config", "scale_factor", "vision_feature_select_strategy")
    settings = [{key: config.get(key) for key in keys}, processor, number]
    return Vision(token, number, rule, json.dumps(settings, sort_keys=True))


def in_parts(messages: Sequence[Message]) -> list[Message]:
    """Turns with their images as typed parts, as most templates of vision models read them."""
    return [{**turn, "content": parts(turn["content"])} if _has_mark(turn) else turn for turn in messages]


def in_text(messages: Sequence[Message], token: str) -> list[Message]:
    """Turns with the image token itself in their text, for templates that read nothing but text."""
    return [
        {**turn, "content": str(turn["content"]).replace(MARK, token)} if _has_mark(turn) else turn for turn in messages
    ]


def parts(content: str) -> list[dict[str, str]]:
    """A turn's text and images as typed parts."""
    found: list[dict[str, str]] = []
    for at, text in enumerate(content.split(MARK)):
        found += [{"type": "image"}] * (at > 0)
        found += [{"type": "text", "text": text}] * bool(text)
    return found


def marks_in(messages: Sequence[Message]) -> int:
    """How many images stand in some turns."""
    return sum(str(turn.get("content") or "").count(MARK) for turn in messages)


def _has_mark(turn: Message) -> bool:
    content = turn.get("content")
    return isinstance(content, str) and MARK in content
