"""Evaluation and test rows that are trained on: scores on them measure memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from lorry.plan.checks._base import Check
from lorry.plan.findings import Explanation, Finding, note, warning
from lorry.plan.rows import place_of

if TYPE_CHECKING:
    from lorry.data.prepare import Prepared
    from lorry.plan.fingerprints import Hashes
    from lorry.plan.subject import Subject

_SHOWN = 5


class LeakageCheck(Check):
    """Whether rows that are scored are also trained on, blanks and upper case aside."""

    of_rows_alone = True
    explains: ClassVar[Mapping[str, Explanation]] = {
        "leakage.rows": Explanation(
            "Evaluation or test rows also are training rows: prompt and answer are equal but for blanks and case.",
            "The model has learnt their answers by heart, so their scores say nothing about other rows.",
            "Remove them from one of the two sides; `data.eval_split` holds rows back without such pairs.",
        ),
        "leakage.prompts": Explanation(
            "Evaluation or test rows have prompts that are trained on, with other answers.",
            "The model has seen these questions: scores may flatter, or be unfair where answers contradict each other.",
            "Keep all rows with the same prompt on one side.",
        ),
    }

    def run(self, subject: Subject) -> Iterable[Finding]:
        """Compares the rendered splits by fingerprints of their texts."""
        prepared = subject.prepared
        splits = [name for name in ("eval", "test") if getattr(prepared, name) is not None]
        if not splits:
            return
        train = subject.fingerprints("train")
        for name in splits:
            scored = subject.fingerprints(name)
            same = np.isin(scored.rows, train.rows)
            asked = np.isin(scored.prompts, train.prompts) & ~same
            if same.any():
                yield warning(
                    "leakage.rows",
                    f"{same.sum():,} of {len(same):,} {name} rows are training rows too: their scores measure memory",
                    evidence=_pairs(prepared, name, same, scored.rows, train.rows),
                    remedy=f"remove them from data.{name} or from data.train",
                    place=place_of(prepared, name, int(np.argmax(same))),
                )
            if asked.any():
                yield note(
                    "leakage.prompts",
                    f"{asked.sum():,} of {len(asked):,} {name} rows have a prompt that is trained on, with another answer",
                    evidence=_pairs(prepared, name, asked, scored.prompts, train.prompts),
                    place=place_of(prepared, name, int(np.argmax(asked))),
                )


def _pairs(prepared: Prepared, name: str, found: NDArray[np.bool_], scored: Hashes, train: Hashes) -> str:
    """The first rows that were found, each beside a training row that it is equal to."""
    lines = [
        f"{place_of(prepared, name, index)} is {place_of(prepared, 'train', int(np.argmax(train == scored[index])))}"
        for index in np.flatnonzero(found)[:_SHOWN].tolist()
    ]
    return "\n".join(lines)
