"""Keys and tokens in the rows: what the model might repeat to anybody."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar

from lorry.plan.checks._base import Check
from lorry.plan.findings import Explanation, Finding, warning
from lorry.plan.rows import whole
from lorry.secrets.key_forms import EXACT, FORMS

if TYPE_CHECKING:
    from lorry.plan.subject import Subject

_SHOWN = 5
_ANY = re.compile("|".join(f"(?P<p{number}>{pattern})" for number, pattern in enumerate(EXACT.values())))
_NAMES = list(EXACT)
_BEGINNINGS = tuple(beginning for form in FORMS if form.exact for beginning in form.beginnings)


class SecretsCheck(Check):
    """Keys and tokens in the training rows, by their published forms; they are never shown whole."""

    of_rows_alone = True
    explains: ClassVar[Mapping[str, Explanation]] = {
        "data.secrets": Explanation(
            "Training rows hold keys or tokens in the forms that vendors publish.",
            "A model repeats what it has learnt, to anybody who asks.",
            "Remove them from the rows, and replace keys that are still valid.",
        ),
    }

    def run(self, subject: Subject) -> Iterable[Finding]:
        """Screens the training rows, every turn of them."""
        shown: list[str] = []
        rows, first = 0, ""
        for text, place in whole(subject.prepared, subject.tokenizer, _may_hold_a_key):
            found = _ANY.search(text)
            rows += found is not None
            if found and len(shown) < _SHOWN:
                shown.append(f"{place}: {_name(found)} {found[0][:6]}…")
                first = first or place
        if rows:
            yield warning(
                "data.secrets",
                f"{rows:,} training rows hold what looks like a key or token",
                evidence="\n".join(shown),
                remedy="remove them, and replace keys that are still valid: a model repeats what it has learnt",
                place=first,
            )


def _may_hold_a_key(text: str) -> bool:
    return any(beginning in text for beginning in _BEGINNINGS)


def _name(found: re.Match[str]) -> str:
    return _NAMES[int((found.lastgroup or "p0")[1:])]
