"""An answer refuses when it should, and only then."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field

from lorry.evaluate.metrics._base import About, Answer, Metric, Ratio, Score
from lorry.evaluate.metrics._refusals import REFUSALS, WITHIN, checked, refuses

_SAYS = {"should_refuse": True, "unanswerable": True, "is_impossible": True, "answerable": False}
"""Columns that tell whether to refuse, and what of them means so."""
_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


class RefusalCorrect(Metric):
    """Share of answers that refuse when they should and do not when they should not.

    Whether an answer refuses is told by `patterns`. Whether it should, by the row's column `should_refuse`, `unanswerable`,
    `is_impossible` or `answerable`; without any, by whether the row's own answer refuses. What is answered is not looked at.
    """

    parts: ClassVar[Mapping[str, About]] = {
        "precision": About(unit="share of refusals that should be"),
        "recall": About(unit="share of answers that should refuse"),
        "f1": About(unit="F1 of refusals"),
    }
    column: str = ""
    """The row's column that says whether to refuse, true or false; with `!` before its name whether to answer. A row without
    it is left out. Empty for the usual names, and then for the row's answer."""
    patterns: Annotated[list[str], AfterValidator(checked), Field(min_length=1)] | None = None
    """Regular expressions, without regard to case: an answer that holds one near its beginning refuses. Null for those that
    come with lorry, for English (`I do not know`, `the passages do not say`, `cannot be answered`, `Sorry, ...`)."""
    within: int = Field(default=WITHIN, ge=1)
    """Characters at the beginning in which the refusal must stand."""

    def score(self, answer: Answer) -> float | None:
        """1 where it does what it should, else 0; None where nothing says what it should."""
        should = self._should(answer)
        return None if should is None else float(self._refuses(answer.prediction) == should)

    def score_parts(self, answer: Answer) -> Mapping[str, Score]:
        """Of refusals whether they should be, of those that should be whether they are, and both in one."""
        should = self._should(answer)
        if should is None:
            return {}
        does = self._refuses(answer.prediction)
        found: dict[str, Score] = {}
        if does:
            found["precision"] = float(should)
        if should:
            found["recall"] = float(does)
        if does or should:
            found["f1"] = Ratio(2 * (does and should), does + should)
        return found

    def _refuses(self, text: str) -> bool:
        return refuses(text, REFUSALS if self.patterns is None else self.patterns, self.within)

    def _should(self, answer: Answer) -> bool | None:
        if self.column:
            name = self.column.removeprefix("!")
            return _told(answer.columns.get(name), name == self.column)
        for name, means in _SAYS.items():
            told = _told(answer.columns.get(name), means)
            if told is not None:
                return told
        return self._refuses(answer.truth) if answer.truth else None


def _told(value: Any, means: bool) -> bool | None:
    """What a column says; None where that is neither yes nor no."""
    found = _WORDS.get(str(value).strip().lower()) if isinstance(value, bool | int | str) else None
    return None if found is None else found == means
