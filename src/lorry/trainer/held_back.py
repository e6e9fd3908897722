"""Evaluation rows during training: their loss, and metrics of answers to some of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from lorry.data.examples import ExampleSet
from lorry.data.prepare import Prepared, renderer_for
from lorry.data.prompt import Prompt
from lorry.data.tokenizer import Tokenizer
from lorry.errors import RecipeError
from lorry.evaluate.chosen import metrics_of
from lorry.evaluate.generation import Generated, Limits, Lowered, generate
from lorry.evaluate.grading import grade
from lorry.evaluate.metrics._base import Metric, cause_and_remedy
from lorry.evaluate.score import drawn
from lorry.evaluate.scoring import answers_of, pool
from lorry.trainer import watched
from lorry.trainer.forest import Forest, plant
from lorry.trainer.ladder import Rung
from lorry.trainer.methods._base import Method, Sums
from lorry.trainer.policy import Policy
from lorry.trainer.rollouts.collect import Asker
from lorry.trainer.row_loss import mean_loss, row_losses

if TYPE_CHECKING:
    from pathlib import Path

    from lorry.data.prepare import Task
    from lorry.recipe.schema import Recipe


@dataclass
class HeldBack:
    """The rows that training never sees, ready to be scored."""

    policy: Policy
    method: Method
    prepared: Prepared
    recipe: Recipe
    base: Path
    model_folder: Path
    asker: Asker | None = None
    """Where the method learns from the model's own answers: who has it answer and judges that."""
    kept: ExampleSet | None = None
    """The evaluation rows with what the reference says of them, where that was asked beforehand."""
    beat: Callable[[str], None] = field(default=lambda _phase: None)
    """Told before each batch what is being done: `evaluating`, or `answering`."""
    lowered: Lowered = field(default=lambda _size, _error: None)

    def __post_init__(self) -> None:
        """Finds the metrics that score answers. Raises RecipeError for one that is watched and cannot work here."""
        self.loaded = self.policy.loaded
        self.metrics = answered_metrics(self.recipe, self.base)
        self.faults: list[str] = []
        """What rewards and metrics failed at in the last evaluation."""
        self._asked: tuple[Tokenizer, Sequence[Task], list[Prompt]] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to score."""
        return not self.prepared.eval or (self.asker is not None and not watched.rows_answered(self.recipe))

    def scores(self, rung: Rung) -> dict[str, float]:
        """The method's own `loss` over all evaluation rows as if they were one step, and what else it tells of them."""
        self.faults = []
        rows = self.kept or self.prepared.eval
        if not rows:
            return {"loss": math.nan}
        if self.asker is not None:
            return self._judged(self.asker, rows, rung.generation_batch)
        with self.loaded.answering():
            if not rows.kinds.any():
                return {"loss": mean_loss(row_losses(self.loaded, rows, range(len(rows)), rung.eval_batch, self._beat))}
            return self._by_method(rows, rung.eval_batch)

    def _judged(self, asker: Asker, rows: ExampleSet, size: int) -> dict[str, float]:
        """Means of the rewards of greedy answers to the evaluation's prompts, and how the answers are."""
        tasks = self._drawn()
        prompts = [rows[task.index].ids.tolist() for task in tasks]
        answers = asker.answers(prompts, size, self._beat_answering)
        completions = asker.completions(tasks, answers)
        asker.jury.beat = self._beat_answering
        judged = asker.jury.judge(completions)
        self.faults = [f"a reward failed in the evaluation: {fault}" for fault in judged.faults]
        ended = [asker.has_ended(answer) for answer in answers]
        lengths = [len(answer) for answer in answers]
        return {
            **self._scored(tasks, Generated([one.text for one in completions], 0, 0.0, ids=tuple(answers))),
            **judged.means(),
            "answer_tokens": sum(lengths) / max(len(lengths), 1),
            "ended": sum(ended) / max(len(ended), 1),
        }

    def _by_method(self, rows: ExampleSet, size: int) -> dict[str, float]:
        lengths = rows.lengths
        units = sorted(rows.units, key=lambda unit: int(lengths[unit].sum()))
        batches = [[row for unit in units[at : at + size] for row in unit] for at in range(0, len(units), size)]
        whole, sums = Sums(), Sums()
        for batch in batches:
            trained, looked_at = self.method.divided(rows, batch)
            whole.add(self.method.counts(self._planted(rows, trained)))
            if looked_at:
                self._beat()
                with torch.no_grad(), self.loaded.computing():
                    whole.add(self.method.look(self.policy, self._planted(rows, looked_at)))
        for batch in batches:
            self._beat()
            trained, _ = self.method.divided(rows, batch)
            with torch.no_grad(), self.loaded.computing():
                share = self.method.loss(self.policy, self._planted(rows, trained), whole)
            sums.add({"loss": float(share.loss), **share.told})
        return dict(sums)

    def _planted(self, rows: ExampleSet, chosen: Sequence[int]) -> Forest:
        return plant([rows[row] for row in chosen], share=self.loaded.forward.shares, members=chosen)

    def answered(self, rung: Rung) -> dict[str, float]:
        """The mean of each metric over freshly made answers to always the same rows.

        Nothing where none are asked for, and where the answers that are judged are scored as well.
        """
        if not self.metrics or self.asker is not None:
            return {}
        tokenizer, tasks, prompts = self._asked = self._asked or self._questions()
        limits = Limits(self.recipe.evaluate.max_new_tokens, rung.generation_batch, lowered=self.lowered)
        with self.loaded.answering():
            made = generate(self.loaded, tokenizer, prompts, limits, lambda _done, _total: self._beat_answering())
        return self._scored(tasks, made)

    def _beat(self) -> None:
        self.beat("evaluating")

    def _beat_answering(self) -> None:
        self.beat("answering")

    def _scored(self, tasks: Sequence[Task], made: Generated) -> dict[str, float]:
        """Every score of every metric; NaN for one that applies to no answer."""
        graded = grade(self.metrics, answers_of(tasks, made), self._beat_answering)
        self.faults += [f"in the evaluation, {fault}" for fault in graded.faults]
        found: dict[str, float] = {}
        for metric in self.metrics.values():
            for name, about in metric.about.items():
                pooled = pool(graded.scores[name], about)
                found[name] = math.nan if pooled is None else pooled.value
        return found

    def _drawn(self) -> list[Task]:
        """The rows that are answered, always the same ones, with what metrics look at."""
        tasks = drawn(self.prepared.tasks("eval"), watched.rows_answered(self.recipe))
        return self.prepared.with_columns("eval", tasks)

    def _questions(self) -> tuple[Tokenizer, Sequence[Task], list[Prompt]]:
        renderer = renderer_for(self.recipe, self.base, Tokenizer.open(self.model_folder))
        tasks = self._drawn()
        return renderer.tokenizer, tasks, [renderer.prompt(task.messages, task.tools, task.pictures) for task in tasks]


def answered_metrics(recipe: Recipe, base: Path) -> dict[str, Metric]:
    """The metrics that score answers during training. Raises RecipeError for one that is watched and cannot work here."""
    if not watched.rows_answered(recipe):
        return {}
    metrics = metrics_of(recipe.evaluate.metrics, base)
    missing = {name: why for name, metric in metrics.items() if (why := metric.unavailable())}
    lacking = {score: missing[name] for name, metric in metrics.items() if name in missing for score in metric.about}
    for place, name in watched.named(recipe).items():
        if name in lacking:
            why, hint = cause_and_remedy(lacking[name])
            raise RecipeError(f"`{name}` cannot be scored here: {why}", place=place, hint=hint)
    return {name: metric for name, metric in metrics.items() if name not in missing}
