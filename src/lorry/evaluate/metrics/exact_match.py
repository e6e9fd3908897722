"""Exact match: the answer is the row's own answer, character for character."""

from __future__ import annotations

from typing import ClassVar

from lorry.evaluate.metrics._base import Answer, Metric


class ExactMatch(Metric):
    """Share of answers that equal the row's answer, outer whitespace aside."""

    needs_truth: ClassVar[bool] = True
    strip: bool = True
    """Whitespace before and after does not count."""
    ignore_case: bool = False
    """Upper and lower case are the same."""
    collapse_whitespace: bool = False
    """Any run of whitespace is one blank."""

    def score(self, answer: Answer) -> float:
        """1 for the same text, else 0."""
        return float(self._normal(answer.prediction) == self._normal(answer.truth))

    def _normal(self, text: str) -> str:
        text = text.strip() if self.strip else text
        text = text.casefold() if self.ignore_case else text
        return " ".join(text.split()) if self.collapse_whitespace else text
