"""A metric of `evaluate.metrics` as a reward: what is measured at the end is what is learnt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from pydantic import field_validator

from lorry import plugins
from lorry.evaluate.chosen import metrics_of
from lorry.evaluate.metrics._base import Answer, Metric, value_of
from lorry.evaluate.metrics._base import Fault as Failed
from lorry.evaluate.metrics.python import PythonMetric
from lorry.trainer.rewards._base import Completion, Fault, Place, Reward, Scorer


class MetricReward(Reward):
    """The score of a metric, such as `bash_valid` or `exact_match`; turned round where less of it is better."""

    metric: dict[str, Any]
    """A name from `lorry metrics`, or `{name: ..., setting: ...}`."""

    @field_validator("metric", mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @property
    def label(self) -> str:
        """What the metric's score is called."""
        return str(self.metric.get("function") or self.metric.get("name"))

    @property
    def needs_truth(self) -> bool:
        """As the metric does."""
        return self._made().needs_truth

    def unavailable(self, base: Path | None = None) -> str | None:
        """Whatever the metric lacks."""
        (metric,) = metrics_of([self.metric], base).values()
        return metric.unavailable()

    def open(self, place: Place) -> Scorer:
        """Makes the metric, and starts the process of a function of one's own. Raises RecipeError where that fails."""
        (metric,) = metrics_of([self.metric], place.base).values()
        return _Called(metric) if isinstance(metric, PythonMetric) else _Scores(metric)

    def _made(self) -> Metric:
        return cast("Metric", plugins.make("metrics", self.metric))


class _Scores:
    def __init__(self, metric: Metric) -> None:
        self._metric = metric
        self._is_turned = metric.about[metric.label].higher_is_better is False

    def scores(self, completions: Sequence[Completion]) -> list[float | Fault | None]:
        return [self._turned(self._score(one)) for one in completions]

    def _score(self, one: Completion) -> float | Fault | None:
        answer = Answer(one.text, one.truth, one.messages, one.origin, one.columns)
        try:
            (said,) = self._metric.score_all([answer])
        except Exception as error:
            return Fault(f"{type(error).__name__}: {error}")
        return Fault(said.told) if isinstance(said, Failed) else value_of(said)

    def _turned(self, score: float | Fault | None) -> float | Fault | None:
        return 1.0 - score if self._is_turned and isinstance(score, int | float) else score

    def close(self) -> None:
        """A metric holds nothing."""


class _Called(_Scores):
    """A function of one's own, whose process lives as long as the reward: to start one takes longer than an answer."""

    def __init__(self, metric: PythonMetric) -> None:
        super().__init__(metric)
        self._function = metric
        self._worker = metric.started()

    def _score(self, one: Completion) -> float | Fault | None:
        (said,) = self._worker.scores([one])
        if isinstance(said, Fault):
            return said
        within = self._function.within(said)
        return Fault(within.told) if isinstance(within, Failed) else within

    def close(self) -> None:
        """Ends the process."""
        self._worker.close()
