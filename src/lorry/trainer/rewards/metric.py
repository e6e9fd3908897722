"""A metric of `evaluate.metrics` as a reward: what is measured at the end is what is learnt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from pydantic import field_validator

from lorry import plugins
from lorry.evaluate.chosen import metrics_of
from lorry.evaluate.metrics._base import Answer, Metric, value_of
from lorry.evaluate.metrics._base import Fault as Failed
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

    def unavailable(self) -> str | None:
        """Whatever the metric lacks."""
        return self._made().unavailable()

    def open(self, place: Place) -> Scorer:
        """Makes the metric."""
        return _Scores(*metrics_of([self.metric], place.base).values())

    def _made(self) -> Metric:
        return cast("Metric", plugins.make("metrics", self.metric))


class _Scores:
    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def scores(self, completions: Sequence[Completion]) -> list[float | Fault | None]:
        return [self._score(one) for one in completions]

    def _score(self, one: Completion) -> float | Fault | None:
        answer = Answer(one.text, one.truth, one.messages, one.origin, one.columns)
        try:
            (said,) = self._metric.score_all([answer])
        except Exception as error:
            return Fault(f"{type(error).__name__}: {error}")
        if isinstance(said, Failed):
            return Fault(said.told)
        score = value_of(said)
        is_worse_with_more = self._metric.about[self._metric.label].higher_is_better is False
        return 1.0 - score if score is not None and is_worse_with_more else score

    def close(self) -> None:
        """A metric holds nothing."""
