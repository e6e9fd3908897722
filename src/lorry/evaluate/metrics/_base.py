"""What a metric is: it looks at one answer and gives a score, or says that it does not apply.

A simple metric is a class with a docstring and `score`, which gives a number from 0 to 1. One that counts (edits by characters,
hits by fields) gives a `Ratio`: over many answers the counts are added up before they are divided. One that has more to say
names further scores in `parts`, and gives them in `score_parts`.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

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
    columns: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What else the row holds."""
    tokens: int | None = None
    """How many the model made, with the one that ends the answer; None where that is not known."""


class Ratio(NamedTuple):
    """What one answer adds to a ratio of sums, such as 3 edits by 20 characters."""

    above: float
    below: float

    @property
    def value(self) -> float:
        """That of the answer alone; by 1 where there is nothing to divide by."""
        return self.above / (self.below or 1)


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a metric gave no score, though it should have."""

    told: str


Score = float | Ratio | None
"""None where the metric does not apply to an answer, or cannot work on this machine."""


def nothing() -> None:
    """Nobody listens."""


class About(NamedTuple):
    """What a score is."""

    higher_is_better: bool | None = True
    """None where neither more nor less is better by itself."""
    unit: str = "share of answers"
    highest: float | None = 1.0
    """None where there is no bound; the lowest is 0."""


class Metric(Plugin):
    """A way to score answers. Importing a metric's file must not import torch."""

    higher_is_better: ClassVar[bool | None] = True
    """None where neither more nor less is better by itself: such a metric says which answers there are, and not how good."""
    unit: ClassVar[str] = "share of answers"
    highest: ClassVar[float | None] = 1.0
    """Scores lie between 0 and this; None where there is no bound."""
    needs_truth: ClassVar[bool] = False
    """Whether it means nothing for a row that does not say what is right."""
    parts: ClassVar[Mapping[str, About]] = {}
    """Further scores, by name: each is called `METRIC.PART`."""
    files: ClassVar[tuple[str, ...]] = ()
    """Settings that name a file, relative to the recipe, which travels to a machine that is rented."""

    @classmethod
    def scores_in_words(cls) -> str:
        """Unit, range and direction of its score, and of the further ones."""
        main = words_of(About(cls.higher_is_better, cls.unit, cls.highest))
        parts = [f"`{cls.name}.{part}` ({words_of(one)})" for part, one in cls.parts.items()]
        return f"Score: {main}." + (f" Further scores: {', '.join(parts)}." if parts else "")

    @property
    def label(self) -> str:
        """What its score is called."""
        return self.name

    @property
    def about(self) -> dict[str, About]:
        """All of its scores by name, the main one first."""
        main = About(self.higher_is_better, self.unit, self.highest)
        return {self.label: main, **{f"{self.label}.{name}": one for name, one in self.parts.items()}}

    @abstractmethod
    def score(self, answer: Answer) -> Score:
        """From 0 to `highest`, or a Ratio; None where the metric does not apply to this answer, or cannot work here."""

    def score_parts(self, answer: Answer) -> Mapping[str, Score]:
        """The further scores of an answer, by the names in `parts`; one that does not apply may be missing."""
        del answer
        return {}

    def score_all(self, answers: Sequence[Answer], beat: Callable[[], None] = nothing) -> Sequence[Score | Fault]:
        """The scores of many answers, in order; a metric that can do better than one by one overrides this.

        `beat` is called before each answer: scoring may take long, and is no standstill.
        """
        found: list[Score | Fault] = []
        for answer in answers:
            beat()
            found.append(self.score(answer))
        return found

    def unavailable(self) -> str | None:
        """Why this metric cannot work on this machine, with what to install; None when it can."""
        return None


def words_of(about: About) -> str:
    """What a score is, in words: `share of answers, from 0 to 1, higher is better`."""
    better = {True: "higher is better", False: "lower is better", None: "neither way better"}[about.higher_is_better]
    bounds = "from 0" if about.highest is None else f"from 0 to {about.highest:g}"
    return f"{about.unit}, {bounds}, {better}"


def cause_and_remedy(why: str) -> tuple[str, str]:
    """The parts of what `unavailable` says: what it lacks, in which there may be colons, and what to do about it."""
    cause, colon, remedy = why.rpartition(": ")
    return (cause, remedy) if colon else (why, "")


def value_of(score: Score) -> float | None:
    """The score of one answer as a number."""
    return score.value if isinstance(score, Ratio) else score


def is_number(score: Score) -> bool:
    """Whether it can be reckoned with: NaN and infinities cannot."""
    return score is None or all(math.isfinite(part) for part in (score if isinstance(score, Ratio) else (score,)))
