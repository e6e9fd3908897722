"""How long answers are: neither more nor less is better by itself, but it tells why other scores are what they are."""

from __future__ import annotations

from typing import ClassVar, Literal

from lorry.evaluate.metrics._base import Answer, Metric


class Length(Metric):
    """Length of an answer, in words, characters or tokens."""

    higher_is_better: ClassVar[bool | None] = None
    highest: ClassVar[float | None] = None
    unit: ClassVar[str] = "words, characters or tokens"
    of: Literal["words", "characters", "tokens"] = "words"
    """What is counted: what stands between whitespace, characters (Unicode's code points), or tokens that the model made, with
    the one that ends the answer."""

    def score(self, answer: Answer) -> float | None:
        """The count; None where the tokens of an answer are not known."""
        if self.of == "tokens":
            return None if answer.tokens is None else float(answer.tokens)
        return float(len(answer.prediction.split() if self.of == "words" else answer.prediction))
