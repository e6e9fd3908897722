"""Pictures and files written into text: gibberish to a model that reads text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar

from lorry.plan.checks._base import Check
from lorry.plan.findings import Explanation, Finding, warning
from lorry.plan.rows import whole

if TYPE_CHECKING:
    from lorry.plan.subject import Subject

_SHOWN = 5
_ENCODED = re.compile(r"data:[a-z]+/[a-z0-9.+-]+;base64,[A-Za-z0-9+/]{16}|[A-Za-z0-9+/]{400,}")
_LETTERS = (re.compile("[a-z]"), re.compile("[A-Z]"), re.compile("[0-9]"))


class MediaCheck(Check):
    """Whether rows hold pictures or other files as base64 text."""

    of_rows_alone = True
    explains: ClassVar[Mapping[str, Explanation]] = {
        "media.base64": Explanation(
            "The text of rows holds files, such as pictures, encoded in base64.",
            "To a model that reads text they are thousands of tokens of noise: slow, costly, and nothing is learnt.",
            "Take them out; for pictures use a vision model and rows with an `images` column.",
        ),
    }

    def run(self, subject: Subject) -> Iterable[Finding]:
        """Screens every turn of the training rows."""
        found = [place for text, place in whole(subject.prepared, subject.tokenizer, _is_encoded) if _is_encoded(text)]
        if found:
            yield warning(
                "media.base64",
                f"{len(found):,} training rows hold files as base64 text, which the model reads as noise",
                evidence=", ".join(found[:_SHOWN]),
                remedy="take them out of the text",
                place=found[0],
            )


def _is_encoded(text: str) -> bool:
    """Long runs of one alphabet, as genes have, and of hexadecimal digits are no base64."""
    hit = _ENCODED.search(text)
    return hit is not None and all(letters.search(hit[0]) for letters in _LETTERS)
