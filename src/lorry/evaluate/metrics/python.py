"""A function in a Python file that the recipe names; it runs in a process of its own, which a hanging call cannot outlive.

    def has_heading(completion, **columns):
        return 1.0 if completion.startswith("#") else 0.0

It is called once for each answer, by name, with those of `prompt` (what was asked last), `completion`, `messages`, `answer`
(the row's own) and the row's other columns that it takes. It gives a number, or None where it does not apply. What it raises,
or takes longer for than `timeout`, leaves that answer without a score, and is told.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from lorry.errors import RecipeError
from lorry.evaluate.metrics._base import About, Answer, Fault, Metric, Score, nothing

if TYPE_CHECKING:
    from lorry.trainer.rewards._worker import Worker

_PATIENCE = 3
"""Answers one after another that took the whole time; then the function hangs, and is not called any more."""


class PythonMetric(Metric):
    """The mean of what a function of your own gives: `metrics.py:has_heading`."""

    files: ClassVar[tuple[str, ...]] = ("file",)
    file: str
    """A Python file, relative to the recipe."""
    function: str
    """The function's name, which is also what the score is called."""
    better: Literal["higher", "lower", "neither"] = "higher"
    """Which way is better; `neither` for what only tells which answers there are."""
    most: float | None = Field(default=None, gt=0)
    """The highest score that it gives, for which anything above is a mistake; 1 for shares. Null for no bound."""
    timeout: float = Field(default=10.0, gt=0)
    """Seconds that it may take for one answer."""
    secrets: list[str] = Field(default_factory=list[str])
    """Environment variables with keys that it is to see, by name: `[OPENAI_API_KEY]`; it sees no others."""
    start_timeout: float = Field(default=120.0, gt=0)
    """Seconds that the file may take to be imported."""

    @classmethod
    def scores_in_words(cls) -> str:
        """Whatever the settings say."""
        return "Score: whatever the function gives; `most` says how high, and `better` which way is better."

    @property
    def label(self) -> str:
        """The function's name."""
        return self.function

    @property
    def about(self) -> dict[str, About]:
        """Its one score."""
        better = {"higher": True, "lower": False, "neither": None}[self.better]
        return {self.label: About(better, "share of answers" if self.most == 1 else "mean", self.most)}

    def score(self, answer: Answer) -> Score:
        """What the function gives. Raises RecipeError where it fails."""
        (found,) = self.score_all([answer])
        if isinstance(found, Fault):
            raise RecipeError(found.told, place=f"{self.file}:{self.function}")
        return found

    def score_all(self, answers: Sequence[Answer], beat: Callable[[], None] = nothing) -> list[Score | Fault]:
        """Has one process score all of them; it is gone afterwards, with all that it started."""
        if not answers:
            return []
        try:
            worker = self.started()
        except RecipeError as error:
            return [Fault(error.message)] * len(answers)
        try:
            return list(self._each(worker, answers, beat))
        finally:
            worker.close()

    def started(self) -> Worker:
        """A process that calls the function, for whoever has many answers over time, and closes it. Raises RecipeError."""
        from lorry.trainer.rewards._worker import Worker

        worker = Worker(Path(self.file), self.function, (self.timeout, self.start_timeout), self.secrets)
        worker.start()
        return worker

    def within(self, score: float | None) -> float | Fault | None:
        """A score that the function gave, or why it cannot be one."""
        if score is not None and self.most is not None and score > self.most:
            return Fault(f"gave {score:g}, and `most` says {self.most:g}")
        return score

    def unavailable(self) -> str | None:
        """Says so where the file is not there."""
        if Path(self.file).is_file():
            return None
        return f"there is no file `{self.file}`: give a Python file, relative to the recipe"

    def _each(self, worker: Worker, answers: Sequence[Answer], beat: Callable[[], None]) -> Iterator[Score | Fault]:
        """One after another, until it hangs."""
        from lorry.trainer.rewards._base import Completion
        from lorry.trainer.rewards._base import Fault as Failed

        hung = 0
        for one in answers:
            beat()
            if hung >= _PATIENCE:
                yield Fault(f"took longer than {self.timeout:g} seconds {hung} times in a row, and is left alone")
                continue
            began = time.monotonic()
            asked = Completion(one.prediction, one.messages, one.truth, one.columns, one.origin)
            (score,) = worker.scores([asked])
            hung = hung + 1 if isinstance(score, Failed) and time.monotonic() - began >= self.timeout else 0
            yield Fault(score.told) if isinstance(score, Failed) else self.within(score)
