"""Training rows that stand in the data more than once, or nearly so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from lorry.data.alike.repeats import LIKENESS, near_repeats
from lorry.plan.checks._base import Check
from lorry.plan.findings import Explanation, Finding, note, warning
from lorry.plan.fingerprints import COMPARED
from lorry.plan.rows import place_of

if TYPE_CHECKING:
    from lorry.plan.fingerprints import Fingerprints, Hashes
    from lorry.plan.subject import Subject

_MANY = 0.01
"""Share of repeated rows that is worth a warning."""
_CONTRADICTING = 0.05
"""Share of rows whose prompt has other answers elsewhere that is worth saying: several good answers are common."""
_SHOWN = 5


class DuplicatesCheck(Check):
    """Whether training rows repeat each other, wholly or nearly, or answer the same prompt in different ways."""

    of_rows_alone = True
    explains: ClassVar[Mapping[str, Explanation]] = {
        "duplicates.rows": Explanation(
            "Training rows are equal but for blanks and case.",
            "The model sees them more often than the others and learns them by heart.",
            "Remove the repetitions, unless they are meant as a weight.",
        ),
        "duplicates.near": Explanation(
            "Training rows nearly repeat an earlier one: prompt and answer have at least 0.8 of their letters in common, "
            "counted in pieces of five; a piece that holds a digit counts four times.",
            "The model sees them more often than the others, and learns them by heart; held-back rows like them flatter it.",
            "Set `data.drop_near_duplicates: 0.8` to keep the first of such rows alone, unless their differences matter.",
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
        yield from _near(subject, train)
        if subject.prepared.train.kinds.any():  # that a prompt has several answers is what preferences are
            return
        others = _with_other_answers(train.prompts, train.rows)
        if others > _CONTRADICTING * total:
            message = f"{others:,} of {total:,} training rows have a prompt that others answer differently"
            yield note("duplicates.prompts", message, place="data.train")


def _near(subject: Subject, train: Fingerprints) -> Iterable[Finding]:
    """What is left of repetitions once each row is taken once."""
    _, first = np.unique(train.rows, return_index=True)
    once = np.sort(first)
    repeated = near_repeats(train.told.of(once), LIKENESS, COMPARED)
    if repeated:
        total = len(train.rows)
        say = warning if len(repeated) > _MANY * total else note
        pairs = [(int(once[later]), int(once[before])) for later, before in islice(repeated.items(), _SHOWN)]
        yield say(
            "duplicates.near",
            f"{len(repeated):,} of {total:,} training rows nearly repeat an earlier one",
            evidence="\n".join(
                f"{_place(subject, later)} is near {_place(subject, before)}" for later, before in pairs
            ),
            place=_place(subject, pairs[0][0]),
        )


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
