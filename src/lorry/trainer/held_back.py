"""Evaluation rows during training: their loss, and the one metric that early stopping watches."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from lorry.data.examples import ExampleSet
from lorry.data.prepare import Prepared, renderer_for
from lorry.data.tokenizer import Tokenizer
from lorry.errors import RecipeError
from lorry.evaluate import scoring
from lorry.evaluate.generation import Limits, generate
from lorry.evaluate.metrics._base import Answer, Metric
from lorry.evaluate.score import drawn
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
    beat: Callable[[], None] = field(default=lambda: None)
    """Called before each batch."""

    def __post_init__(self) -> None:
        """Finds the metric that is watched."""
        self.loaded = self.policy.loaded
        self.metric = watched_metric(self.recipe)
        self._asked: tuple[Tokenizer, Sequence[Task], list[list[int]]] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to score."""
        return not self.prepared.eval or (self.asker is not None and not self.recipe.evaluate.rows)

    def scores(self, rung: Rung) -> dict[str, float]:
        """The method's own `loss` over all evaluation rows as if they were one step, and what else it tells of them."""
        rows = self.prepared.eval
        if not rows:
            return {"loss": math.nan}
        if self.asker is not None:
            return self._judged(self.asker, rows, rung.generation_batch)
        with self.loaded.answering():
            if not rows.kinds.any():
                return {"loss": mean_loss(row_losses(self.loaded, rows, range(len(rows)), rung.eval_batch, self.beat))}
            return self._by_method(rows, rung.eval_batch)

    def _judged(self, asker: Asker, rows: ExampleSet, size: int) -> dict[str, float]:
        """Means of the rewards of greedy answers to the evaluation's prompts, and how the answers are."""
        tasks = drawn(self.prepared.tasks("eval"), self.recipe.evaluate.rows)
        prompts = [rows[task.index].ids.tolist() for task in tasks]
        answers = asker.answers(prompts, size, self.beat)
        judged = asker.jury.judge(asker.completions(tasks, prompts, answers))
        ended = [asker.has_ended(answer) for answer in answers]
        lengths = [len(answer) for answer in answers]
        return {
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
                self.beat()
                with torch.no_grad(), self.loaded.computing():
                    whole.add(self.method.look(self.policy, self._planted(rows, looked_at)))
        for batch in batches:
            self.beat()
            trained, _ = self.method.divided(rows, batch)
            with torch.no_grad(), self.loaded.computing():
                share = self.method.loss(self.policy, self._planted(rows, trained), whole)
            sums.add({"loss": float(share.loss), **share.told})
        return dict(sums)

    def _planted(self, rows: ExampleSet, chosen: Sequence[int]) -> Forest:
        return plant([rows[row] for row in chosen], share=self.loaded.forward.shares, members=chosen)

    def watched(self, rung: Rung) -> float | None:
        """The mean of the watched metric over freshly made answers; None where the loss is watched."""
        if self.metric is None:
            return None
        tokenizer, tasks, prompts = self._asked = self._asked or self._questions()
        limits = Limits(self.recipe.evaluate.max_new_tokens, rung.generation_batch)
        with self.loaded.answering():
            texts = generate(self.loaded, tokenizer, prompts, limits, lambda _done, _total: self.beat()).texts
        pairs = zip(tasks, texts, strict=True)
        answers = [Answer(text, task.truth, task.messages, str(task.origin)) for task, text in pairs]
        scores = [score for score in self.metric.score_all(answers) if score is not None]
        return sum(scores) / len(scores) if scores else math.nan

    def _questions(self) -> tuple[Tokenizer, Sequence[Task], list[list[int]]]:
        renderer = renderer_for(self.recipe, self.base, Tokenizer.open(self.model_folder))
        tasks = drawn(self.prepared.tasks("eval"), self.recipe.evaluate.rows)
        return renderer.tokenizer, tasks, [renderer.prompt(task.messages, task.tools) for task in tasks]


def watched_metric(recipe: Recipe) -> Metric | None:
    """The metric that early stopping watches; None for the loss, or without early stopping. Raises RecipeError."""
    settings = recipe.train.early_stop
    if settings is None or settings.metric == "loss":
        return None
    metrics = scoring.metrics_of(recipe.evaluate.metrics)
    if settings.metric not in metrics:
        known = ", ".join(["loss", *metrics])
        hint = f"name one of {known}, or add it to evaluate.metrics"
        raise RecipeError(f"`{settings.metric}` is not scored", place="train.early_stop.metric", hint=hint)
    return metrics[settings.metric]
