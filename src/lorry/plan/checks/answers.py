"""The answers: whether they say something, and something of their own."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar

from lorry.plan.checks._base import Check
from lorry.plan.findings import Explanation, Finding, note, warning
from lorry.plan.rows import conversations, place_of

if TYPE_CHECKING:
    from lorry.plan.subject import Subject

_SHOWN = 5
_TRUTH = '"truth": "'
_AFTER = '", "origin": '
_PLACEHOLDER = re.compile(
    r"(?:n/?a|nan|null|undefined|todo|tbd|fixme|x{3,}|\[object object\]|lorem ipsum\b.*|[-.…?_*\s]+|<[a-z_ ]{1,30}>"
    r"|\{\{?[a-z_ ]{1,30}\}?\})",
    re.IGNORECASE,
)
"""What stands where an answer was to be written, and what programs write for a missing value."""
_MOSTLY = 0.5
_ENOUGH = 20
"""Rows below which it says nothing that many answers are equal."""


class AnswersCheck(Check):
    """Whether answers are placeholders, repeat what was asked, or are mostly the same."""

    of_rows_alone = True
    explains: ClassVar[Mapping[str, Explanation]] = {
        "answers.placeholder": Explanation(
            "Answers are placeholders, such as `N/A`, `TODO` or `...`.",
            "The model learns to write them.",
            "Write the answers, or remove the rows.",
        ),
        "answers.echo": Explanation(
            "Answers repeat a turn before them word for word.",
            "Most often a wrong column was taken for the answer; the model learns to echo.",
            "Look at how the rows were made; `lorry data show RECIPE` shows them as they are understood.",
        ),
        "answers.same": Explanation(
            "More than half of the answers are the same.",
            "A model that always gives this one scores well and has learnt nothing.",
            "Nothing if it is meant; else balance the rows, or train on a part of these (`data.train_subset`).",
        ),
    }

    def run(self, subject: Subject) -> Iterable[Finding]:
        """Reads the training rows as the JSON that they are kept as, which is much quicker than understanding it."""
        placeholders: list[int] = []
        echoes: list[int] = []
        counts: Counter[int] = Counter()
        for index, line in enumerate(conversations(subject.prepared, "train")):
            start = line.rfind(_TRUTH) + len(_TRUTH)
            answer = line[start : line.rfind(_AFTER)]
            counts[hash(answer)] += 1
            if _PLACEHOLDER.fullmatch(answer.strip()):
                placeholders.append(index)
            elif f'"content": "{answer}"' in line[:start]:
                echoes.append(index)
        total = sum(counts.values())
        yield from _some(subject, "answers.placeholder", placeholders, "have a placeholder for an answer")
        yield from _some(subject, "answers.echo", echoes, "have an answer that repeats a turn before it")
        if total >= _ENOUGH and (most := counts.most_common(1)[0][1]) > _MOSTLY * total:
            message = f"{most:,} of {total:,} training rows have the same answer"
            yield note("answers.same", message, place="data.train")


def _some(subject: Subject, code: str, found: list[int], what: str) -> Iterator[Finding]:
    if found:
        places = [place_of(subject.prepared, "train", index) for index in found[:_SHOWN]]
        yield warning(
            code,
            f"{len(found):,} training rows {what}",
            evidence=", ".join(places),
            remedy="correct these rows, or remove them",
            place=places[0],
        )
