"""ROUGE-L: how much of the right answer an answer says, in the same order (Lin 2004, aclanthology.org/W04-1013)."""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import ClassVar

from pydantic import Field

from lorry.evaluate.metrics._base import Answer, Metric

_WORD = re.compile(r"\w+")


class RougeL(Metric):
    """ROUGE-L: the longest common subsequence of words, as F-measure of its share of both texts.

    Words are runs of letters, digits and underscores in any script, in lower case, without stemming. On English the same as
    Google's rouge-score gives, which knows ASCII alone.
    """

    unit: ClassVar[str] = "F-measure"
    needs_truth: ClassVar[bool] = True
    beta: float = Field(default=1.0, gt=0)
    """How many times as much recall counts as precision."""

    def score(self, answer: Answer) -> float | None:
        """From 0 to 1; None for a row that does not say what is right."""
        if not answer.truth or self.unavailable() is not None:
            return None
        from rapidfuzz.distance import LCSseq

        truth, said = (_WORD.findall(text.lower()) for text in (answer.truth, answer.prediction))
        common = LCSseq.similarity(truth, said)
        if not common:
            return 0.0
        precision, recall, weight = common / len(said), common / len(truth), self.beta * self.beta
        return (1 + weight) * precision * recall / (recall + weight * precision)

    def unavailable(self) -> str | None:
        """Says so where rapidfuzz, which jiwer brings, is not installed."""
        return None if find_spec("rapidfuzz") else "`rapidfuzz` is not installed: `pip install jiwer` brings it"
