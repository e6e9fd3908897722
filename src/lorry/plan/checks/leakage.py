"""Evaluation and test rows that are trained on, wholly or nearly: scores on them measure memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from lorry.data.alike.repeats import LIKENESS, near_prompts_between, near_rows_between
from lorry.plan.checks._base import Check
from lorry.plan.findings import Explanation, Finding, note, warning
from lorry.plan.fingerprints import COMPARED
from lorry.plan.rows import place_of

if TYPE_CHECKING:
    from lorry.data.alike.repeats import Told
    from lorry.data.prepare import Prepared
    from lorry.plan.fingerprints import Fingerprints, Hashes
    from lorry.plan.subject import Subject

_SHOWN = 5


class LeakageCheck(Check):
    """Whether rows that are scored are also trained on, or nearly so."""

    of_rows_alone = True
    explains: ClassVar[Mapping[str, Explanation]] = {
        "leakage.rows": Explanation(
            "Evaluation or test rows also are training rows: prompt and answer are equal but for blanks and case.",
            "The model has learnt their answers by heart, so their scores say nothing about other rows.",
            "Remove them from one of the two sides; `data.eval_split` holds rows back without such pairs.",
        ),
        "leakage.answers": Explanation(
            "Evaluation or test rows have long answers (from 200 letters) that are trained on behind other prompts.",
            "The model learns these answers by heart; the loss on them says little about other rows.",
            "Keep all rows that were made of one text on one side, as `lorry data convert --test` does.",
        ),
        "leakage.prompts": Explanation(
            "Evaluation or test rows have prompts that are trained on, with other answers.",
            "The model has seen these questions: scores may flatter, or be unfair where answers contradict each other.",
            "Keep all rows with the same prompt on one side.",
        ),
        "leakage.near-rows": Explanation(
            "Evaluation or test rows are nearly training rows: prompt and answer have at least 0.8 of their letters in common, "
            "counted in pieces of five; a piece that holds a digit counts four times.",
            "The model has all but learnt their answers by heart, so their scores say little about other rows.",
            "Remove them from one of the two sides; with `data.drop_near_duplicates: 0.8`, `data.eval_split` holds back none.",
        ),
        "leakage.near-prompts": Explanation(
            "Evaluation or test rows have prompts that are nearly trained on, with other answers.",
            "The model has nearly seen these questions: scores may flatter, or be unfair where the small difference matters.",
            "Keep rows with like prompts on one side, unless their difference is what is asked.",
        ),
    }

    def run(self, subject: Subject) -> Iterable[Finding]:
        """Compares the rendered splits by fingerprints of their texts."""
        splits = [name for name in ("eval", "test") if getattr(subject.prepared, name) is not None]
        for name in splits:
            yield from _of_split(subject, name)


def _of_split(subject: Subject, name: str) -> Iterable[Finding]:
    train, scored = subject.fingerprints("train"), subject.fingerprints(name)
    same = np.isin(scored.rows, train.rows)
    asked = np.isin(scored.prompts, train.prompts) & ~same
    near = _near(near_rows_between, scored, train, ~same)
    unlike = ~(same | asked)
    unlike[[*near]] = False
    answered = np.isin(scored.answers, train.answers) & (scored.answers != 0) & ~same
    answered[[*near]] = False
    prompts = _near(near_prompts_between, scored, train, unlike) if _has_prompts(subject) else {}
    found = {
        "leakage.rows": _firsts(same, scored.rows, train.rows),
        "leakage.near-rows": near,
        "leakage.answers": _firsts(answered, scored.answers, train.answers),
        "leakage.prompts": _firsts(asked, scored.prompts, train.prompts),
        "leakage.near-prompts": prompts,
    }
    counts = [int(same.sum()), len(near), int(answered.sum()), int(asked.sum()), len(prompts)]
    for (code, rows), count in zip(found.items(), counts, strict=True):
        if count:
            yield _finding(subject.prepared, name, code, f"{count:,} of {len(same):,}", rows)


def _finding(prepared: Prepared, name: str, code: str, share: str, rows: Mapping[int, int]) -> Finding:
    """So many rows of the split `name`; of the first, each with a training row that it repeats."""
    verb = "is near" if "near" in code else "is"
    pairs = [
        f"{place_of(prepared, name, row)} {verb} {place_of(prepared, 'train', other)}"
        for row, other in islice(rows.items(), _SHOWN)
    ]
    place = place_of(prepared, name, next(iter(rows)))
    told = f"{share} {name} rows {_WORDS[code]}"
    if code.endswith("prompts"):
        return note(code, told, evidence="\n".join(pairs), place=place)
    remedy = f"remove them from data.{name} or from data.train"
    return warning(code, told, evidence="\n".join(pairs), remedy=remedy, place=place)


_WORDS = {
    "leakage.rows": "are training rows too: their scores measure memory",
    "leakage.near-rows": "are nearly training rows: their scores measure memory",
    "leakage.answers": "have an answer that is trained on behind another prompt: their scores measure memory",
    "leakage.prompts": "have a prompt that is trained on, with another answer",
    "leakage.near-prompts": "have a prompt that is nearly trained on, with another answer",
}


def _near(
    search: Callable[[Told, Told, float, int], dict[int, int]],
    scored: Fingerprints,
    train: Fingerprints,
    chosen: NDArray[np.bool_],
) -> dict[int, int]:
    """What a search finds for the chosen rows."""
    rows = np.flatnonzero(chosen)
    found = search(scored.told.of(rows), train.told, LIKENESS, COMPARED)
    return {int(rows[row]): other for row, other in found.items()}


def _has_prompts(subject: Subject) -> bool:
    return subject.prepared.tasks_file("train") is not None


def _firsts(found: NDArray[np.bool_], scored: Hashes, train: Hashes) -> dict[int, int]:
    """The first rows that were found, each with a training row that it is equal to."""
    return {row: int(np.argmax(train == scored[row])) for row in np.flatnonzero(found)[:_SHOWN].tolist()}
