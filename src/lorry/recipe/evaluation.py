"""The section `evaluate` of a recipe: how the adapter is scored, and what its scores must be."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from lorry.recipe.gates import checked as checked_gates
from lorry.recipe.rewards import as_metric
from lorry.recipe.section import Name, Section

MetricSpec = Annotated[dict[str, Any], BeforeValidator(as_metric)]
"""A metric by name, a function of the person's own as `FILE.py:FUNCTION`, or either with its settings."""


class HarnessTask(Section):
    """A benchmark of lm-evaluation-harness."""

    name: Name
    """A task or group, as `lm_eval ls tasks` lists them."""
    limit: int | None = Field(default=None, ge=1)
    """Documents at most; null for all."""
    fewshot: int | None = Field(default=None, ge=0)
    """Solved examples before each document; null for as many as the task says."""
    chat: bool = False
    """Asks through the chat template."""


Benchmark = Annotated[HarnessTask, BeforeValidator(lambda value: {"name": value} if isinstance(value, str) else value)]
"""A benchmark by name, or with its settings."""


class EvaluateSettings(Section):
    """How the adapter is scored against the base model at the end."""

    metrics: list[MetricSpec] = Field(default_factory=list[MetricSpec])
    """Names from `lorry metrics`, each with its settings if need be, and functions of your own: `metrics.py:has_heading`."""
    rows: int = Field(default=100, ge=0)
    """Rows for which answers are generated and scored by the metrics; 0 for none."""
    rows_in_training: int | None = Field(default=None, ge=0)
    """Evaluation rows, always the same, that are answered and scored by all metrics at each evaluation during training; 0
    for none. Null for none too, unless a metric is watched (`train.best_by`, `early_stop`), or the method learns from the
    model's own answers: then as many as `rows`."""
    max_new_tokens: int = Field(default=128, ge=1)
    """Longest answer, in tokens."""
    batch_size: int = Field(default=16, ge=1)
    """Rows generated at once."""
    samples: int = Field(default=5, ge=0)
    """Answers shown side by side in the report."""
    harness: list[Benchmark] = Field(default_factory=list[HarnessTask])
    """Benchmarks of lm-evaluation-harness, where that is installed, by name: `[hellaswag]`, or with their settings:
    `{name: gsm8k, limit: 200, fewshot: 5, chat: true}`. Base model and adapter are scored by them at the end."""
    gates: Annotated[dict[Name, str | list[str]], AfterValidator(checked_gates)] = Field(
        default_factory=dict[str, str | list[str]]
    )
    """What the adapter's scores must be, by name: `json_valid: ">= 95 %"`, with `on eval` or `on test` behind it if need be
    (else of test rows where there are some). A run that misses one is complete, and ends with exit code 3."""
