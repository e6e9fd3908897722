"""What a metric is: it looks at one answer and gives a score from 0 to 1, or says that it does not apply."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from lorry.data.rows import Message
from lorry.plugins import Plugin


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said to one row's prompt, beside what the row says."""

    prediction: str
    truth: str
    messages: list[Message] = field(default_factory=list[Message])
    """The turns before the answer."""
    origin: str = ""
    """`file:line` of the row."""


class Metric(Plugin):
    """A way to score answers; each score lies between 0 and 1. Importing a metric's file must not import torch."""

    higher_is_better: ClassVar[bool] = True
    unit: ClassVar[str] = "share of answers"
    needs_truth: ClassVar[bool] = False
    """Whether it means nothing for a row that does not say what is right."""

    @abstractmethod
    def score(self, answer: Answer) -> float | None:
        """From 0 to 1; None where the metric does not apply to this answer, or cannot work on this machine."""

    def score_all(self, answers: Sequence[Answer]) -> list[float | None]:
        """The scores of many answers, in order; a metric that can do better than one by one overrides this."""
        return [self.score(answer) for answer in answers]

    def unavailable(self) -> str | None:
        """Why this metric cannot work on this machine, with what to install; None when it can."""
        return None
