"""Images that the model is shown, and such as are written into text: gibberish to a model that reads text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from lorry.plan.checks._base import Check
from lorry.plan.findings import Explanation, Finding, note, warning
from lorry.plan.rows import whole

if TYPE_CHECKING:
    from lorry.data.prepare import Prepared
    from lorry.plan.subject import Subject

_SHOWN = 5
_MOST_OF_IT, _MANY = 0.9, 1024
"""Share of all tokens, and tokens of one image, above which it is worth a thought whether images could be smaller."""
_ENCODED = re.compile(r"data:[a-z]+/[a-z0-9.+-]+;base64,[A-Za-z0-9+/]{16}|[A-Za-z0-9+/]{400,}")
_LETTERS = (re.compile("[a-z]"), re.compile("[A-Z]"), re.compile("[0-9]"))


class MediaCheck(Check):
    """How many tokens images take, and whether rows hold pictures or other files as base64 text."""

    of_rows_alone = True
    explains: ClassVar[Mapping[str, Explanation]] = {
        "media.base64": Explanation(
            "The text of rows holds files, such as pictures, encoded in base64.",
            "To a model that reads text they are thousands of tokens of noise: slow, costly, and nothing is learnt.",
            "Take them out; for pictures use a vision model and rows with an `images` column.",
        ),
        "media.images": Explanation(
            "How many images the rows show, and how many tokens they take.",
        ),
        "media.large-images": Explanation(
            "Images take most of the tokens of the rows.",
            "They decide what the run takes in memory, time and money; much of that may be spent on blank paper.",
            "Try `data.max_pixels`, which scales larger images down, and see whether the model still reads them.",
        ),
    }

    def run(self, subject: Subject) -> Iterable[Finding]:
        """Counts the images of the training rows, and screens every turn."""
        if subject.prepared.train.has_images:
            yield _images(subject.prepared, subject.recipe.data.max_pixels)
        found = [place for text, place in whole(subject.prepared, subject.tokenizer, _is_encoded) if _is_encoded(text)]
        if found:
            yield warning(
                "media.base64",
                f"{len(found):,} training rows hold files as base64 text, which the model reads as noise",
                evidence=", ".join(found[:_SHOWN]),
                remedy="take them out of the text",
                place=found[0],
            )


def _images(prepared: Prepared, max_pixels: int | None) -> Finding:
    train = prepared.train
    tokens = np.sort(train.image_lengths)
    share = float(tokens.sum()) / max(train.tokens, 1)
    largest = max(one.width * one.height for one in prepared.album)
    told = f"{len(tokens):,} images in the training rows take {share:.0%} of their tokens"
    middle, most = int(tokens[len(tokens) // 2]), int(tokens[-1])
    evidence = f"tokens of an image: half up to {middle:,}, the largest {most:,}; up to {largest:,} pixels"
    if share > _MOST_OF_IT and most > _MANY and max_pixels is None:
        remedy = "set data.max_pixels lower, if the model can still read them"
        return warning("media.large-images", told, evidence=evidence, remedy=remedy, place="data.max_pixels")
    return note("media.images", told, evidence=evidence)


def _is_encoded(text: str) -> bool:
    """Long runs of one alphabet, as genes have, and of hexadecimal digits are no base64."""
    hit = _ENCODED.search(text)
    return hit is not None and all(letters.search(hit[0]) for letters in _LETTERS)
