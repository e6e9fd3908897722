"""Training rows that stand in the data more than once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from lorry.plan.checks._base import Check
from lorry.plan.findings import Explanation, Finding, note, warning
from lorry.plan.rows import place_of

if TYPE_CHECKING:
    from lorry.plan.fingerprints import Hashes
    from lorry.plan.subject import Subject

_MANY = 0.01
"""Share of repeated rows that is worth a warning."""
_CONTRADICTING = 0.05
"""Share of rows whose prompt has other answers elsewhere that is worth saying: several good answers are common."""
_SHOWN = 5


class DuplicatesCheck(Check):
    """Whether training rows repeat each other, or answer the same prompt in different ways."""

    of_rows_alone = True
    explains: ClassVar[Mapping[str, Explanation]] = {
        "duplicates.rows": Explanation(
            "Training rows are equal but for blanks and case.",
            "The model sees them more often than the others and learns them by heart.",
            "Remove the repetitions, unless they are meant as a weight.",
        ),
        "duplicates.prompts": Explanation(
            "Training rows have the same prompt and different answers.",
            "The model learns to give any of them; where they contradict each other, none with confidence.",
            "Nothing where all answers are good; else keep the best, or use a preference method.",
        ),
    }

    def run(self, subject: Subject) -> Iterable[Finding]:
        """Counts fingerprints of the training rows."""
        train = subject.fingerprints("train")
        first, repeats = _repeats(train.rows)
        total = len(train.rows)
        if len(repeats):
            say = warning if len(repeats) > _MANY * total else note
            shown = zip(repeats[:_SHOWN].tolist(), first[:_SHOWN].tolist(), strict=True)
            yield say(
                "duplicates.rows",
                f"{len(repeats):,} of {total:,} training rows repeat an earlier one",
                evidence="\n".join(f"{_place(subject, later)} is {_place(subject, before)}" for later, before in shown),
                place=_place(subject, int(repeats[0])),
            )
        if subject.prepared.train.kinds.any():  # that a prompt has several answers is what preferences are
            return
        others = _with_other_answers(train.prompts, train.rows)
        if others > _CONTRADICTING * total:
            message = f"{others:,} of {total:,} training rows have a prompt that others answer differently"
            yield note("duplicates.prompts", message, place="data.train")


def _repeats(hashes: Hashes) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """For each row that repeats an earlier one, in order: the first of its kind, and itself."""
    _, first, group = np.unique(hashes, return_index=True, return_inverse=True)
    repeats = np.flatnonzero(first[group] != np.arange(len(hashes)))
    return first[group][repeats], repeats


def _with_other_answers(prompts: Hashes, rows: Hashes) -> int:
    """How many rows share a prompt with a row that is not equal to them."""
    pairs = np.unique(np.stack([prompts, rows], axis=1), axis=0)
    asked, answers = np.unique(pairs[:, 0], return_counts=True)
    return int(np.isin(prompts, asked[answers > 1]).sum())


def _place(subject: Subject, index: int) -> str:
    return place_of(subject.prepared, "train", index)
