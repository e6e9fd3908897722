"""How good an adapter is, measured against its base model and written into the run's `eval` folder.

    scores.json      {"splits": {"eval": {"rows", "generated", "scores": {NAME: {"base", "adapter", "rows"}}}},
                      "tokens_per_second": {"base", "adapter"}, "dangerous": [...], "metrics": {...}, "notes": [...],
                      "gates": [{"score", "asked", "split", "reached", "low", "high", "met", "missed_by", "why"}]}
    samples.jsonl    some rows with the answers of both sides
    answers.jsonl    all rows for which answers were made, in the same form
    high_loss.jsonl  the 30 rows that the adapter finds hardest

A side of a score is {"value", "low", "high"}: the bounds are null where one row, or one value of an unbounded score, is all
there is, the side is null where nothing could be scored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from lorry.data.prompt import Prompt
from lorry.data.render import Renderer
from lorry.evaluate import gates, harness, scoring
from lorry.evaluate.any_rows import Rows
from lorry.evaluate.chosen import metrics_of
from lorry.evaluate.danger import blame
from lorry.evaluate.folder import write_evaluation
from lorry.evaluate.generation import Limits, Lowered
from lorry.evaluate.hard_rows import hard_rows
from lorry.evaluate.metrics._base import Metric
from lorry.evaluate.metrics.dangerous_command import DangerousCommand
from lorry.evaluate.pair_rewards import RewardEvaluation
from lorry.evaluate.sides import SIDES, WORDS, Measured, Progress, Questions, Side, base_of, measure
from lorry.plugins import find
from lorry.recipe.gates import gates_of
from lorry.recipe.schema import Recipe
from lorry.track.folder import RunFolder
from lorry.trainer.methods._base import Method

if TYPE_CHECKING:
    from lorry.data.prepare import Task
    from lorry.data.tokenizer import Tokenizer
    from lorry.trainer.model import LoadedModel
    from lorry.trainer.rollouts.collect import Asker

Json = dict[str, Any]

SPLITS = ("eval", "test")


@dataclass(frozen=True)
class Evaluation:
    """One comparison of a trained model with its base model.

    Losses are of all rows. Answers are made for at most `evaluate.rows` tasks a split, the same for both sides, drawn
    with a fixed seed and not from the top, for files are often sorted.
    """

    loaded: LoadedModel
    renderer: Renderer
    """Renders prompts as in training."""
    prepared: Rows
    recipe: Recipe
    model_folder: Path | None = None
    """Where the base model lies; needed where there is no adapter to switch off."""
    asker: Asker | None = None
    """Who judges answers, where the method learns from the model's own."""
    lowered: Lowered = field(default=lambda _size, _error: None)
    base: Path = field(default_factory=Path)
    """Where the recipe's relative paths start from."""

    def run(self, folder: RunFolder, progress: Progress) -> Json:
        """Measures, scores and writes `eval/`; all of its files appear together, or none does."""
        if cast("type[Method]", find("methods", self.recipe.method["name"])).head == "score":
            return RewardEvaluation(self).run(folder, progress)
        with base_of(self.loaded, self.recipe, self.model_folder) as base:
            by_side = {"base": self._measure(base, "base", progress)}
            benchmarks: dict[Side, tuple[dict[str, Json], list[str]]] = {
                "base": self._benchmarks(base, "base", progress)
            }
        by_side["adapter"] = self._measure(self.loaded, "adapter", progress)
        benchmarks["adapter"] = self._benchmarks(self.loaded, "adapter", progress)
        measured: dict[str, dict[Side, Measured]] = {
            split: {side: by_side[side][split] for side in SIDES} for split in self.tasks
        }
        answers, failed = self._answers(measured, progress)
        rewards, faults = self._judge(answers, measured)
        scores: Json = {
            "splits": {split: self._split(split, sides, answers) for split, sides in measured.items()},
            "tokens_per_second": {side: _speed(measured, side) for side in SIDES},
            "dangerous": self._dangerous(answers),
            "metrics": _described(self.metrics)
            | {
                name: {"higher_is_better": better, "unit": "reward", "settings": {}} for name, better in rewards.items()
            },
            "notes": [*self._notes(measured), *failed, *faults],
        }
        self._add_benchmarks(scores, benchmarks)
        scores["gates"] = self.judged(scores["splits"])
        hard = hard_rows(self, measured["eval"]["adapter"], answers) if "eval" in measured else []
        write_evaluation(folder.evaluation, scores, answers, hard, samples=self.recipe.evaluate.samples)
        return scores

    def judged(self, splits: Mapping[str, Any]) -> list[Json]:
        """Whether the scores are what the recipe's gates ask for."""
        lacking = {
            score: why for metric in self._named.values() if (why := metric.unavailable()) for score in metric.about
        }
        return gates.judged(gates_of(self.recipe.evaluate.gates), splits, lacking)

    @cached_property
    def metrics(self) -> dict[str, Metric]:
        """The metrics that the recipe names and that can work here."""
        return {name: metric for name, metric in self._named.items() if metric.unavailable() is None}

    @cached_property
    def _named(self) -> dict[str, Metric]:
        return metrics_of(self.recipe.evaluate.metrics, self.base)

    @cached_property
    def tasks(self) -> dict[str, Sequence[Task]]:
        """The tasks that are answered, by split; a split without rows is missing, one of raw text has no tasks."""
        return {
            split: self.prepared.with_columns(split, drawn(self.prepared.tasks(split), self.recipe.evaluate.rows))
            for split in SPLITS
            if getattr(self.prepared, split)
        }

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer with the recipe's chat template."""
        return self.renderer.tokenizer

    @cached_property
    def limits(self) -> Limits:
        """How answers are made; what memory did not suffice for on one side is not tried on the other."""
        most = self.recipe.evaluate.max_new_tokens
        if self.asker is not None:
            most = self.asker.method.max_new_tokens  # rewards judge answers as long as those that were learnt from
        return Limits(most, self.recipe.evaluate.batch_size, lowered=self.lowered)

    def prompt(self, task: Task) -> Prompt:
        """What generation starts from."""
        return self.renderer.prompt(task.messages, task.tools, task.pictures)

    def _measure(self, model: LoadedModel, side: Side, progress: Progress) -> dict[str, Measured]:
        asked = [
            Questions(split, getattr(self.prepared, split), [self.prompt(task) for task in tasks], self.limits)
            for split, tasks in self.tasks.items()
        ]
        return measure(model, self.tokenizer, side, asked, progress)

    def _benchmarks(self, model: LoadedModel, side: Side, progress: Progress) -> tuple[dict[str, Json], list[str]]:
        """What tasks of lm-evaluation-harness give of one side, and what failed."""
        tasks = self.recipe.evaluate.harness
        if not tasks or self.model_folder is None:
            return {}, []
        why = harness.unavailable()
        if why:
            return {}, [f"{', '.join(task.name for task in tasks)} not scored: {why}"]
        trusted = self.recipe.model.trust_remote_code is not None
        tokenizer = harness.tokenizer_of(self.model_folder, self.tokenizer, trusted=trusted)
        beat = scoring.Beat(f"benchmarks of the {WORDS[side]}", 0, progress)
        return harness.run(model, tokenizer, tasks, self.recipe.evaluate.batch_size, beat)

    def _add_benchmarks(self, scores: Json, found: Mapping[Side, tuple[dict[str, Json], list[str]]]) -> None:
        """Lays their scores beside those of the splits."""
        scores["notes"] += list(dict.fromkeys(told for _, failed in found.values() for told in failed))
        split, about = harness.as_split({side: results for side, (results, _) in found.items()})
        if split["scores"]:
            scores["splits"][harness.SPLIT] = split
            scores["metrics"] |= {name: {**one._asdict(), "settings": {}} for name, one in about.items()}

    def _answers(
        self, measured: Mapping[str, Mapping[Side, Measured]], progress: Progress
    ) -> tuple[list[Json], list[str]]:
        """Everything that was answered, with its scores; and what failed."""
        found, failed = list[Json](), list[str]()
        for split, tasks in self.tasks.items():
            rows, faults = scoring.rows(split, tasks, measured[split], self.metrics, progress)
            found += rows
            failed += [f"on {split} rows, {fault}" for fault in faults]
        return found, failed

    def _split(self, split: str, sides: Mapping[Side, Measured], answers: list[Json]) -> Json:
        own = [row for row in answers if row["split"] == split]
        scores = scoring.losses(sides, getattr(self.prepared, split).kinds)
        about = {name: one for metric in self.metrics.values() for name, one in metric.about.items()}
        for name in dict.fromkeys(name for row in own for name in row["scores"]):
            if name not in about:
                found = scoring.means_of({side: [row["scores"][name][side] for row in own] for side in SIDES}, None)
            else:
                found = scoring.pooled(own, name, about[name])
            if found is not None:
                scores[name] = found
        return {"rows": getattr(self.prepared, split).unit_count, "generated": len(own), "scores": scores}

    def _judge(
        self, answers: list[Json], measured: Mapping[str, Mapping[Side, Measured]]
    ) -> tuple[dict[str, bool], list[str]]:
        """Adds to each answer's scores what the rewards say; whether more is better of each score, and what failed."""
        if self.asker is None:
            return {}, []
        given, names, faults = self.asker.method.gives, dict[str, bool](), dict[str, None]()
        for split, tasks in self.tasks.items():
            own = [row for row in answers if row["split"] == split]
            for side in SIDES:
                said = measured[split][side].answers.ids
                judged = self.asker.jury.judge(self.asker.completions(tasks, said))
                faults |= dict.fromkeys(f"a reward failed at some answers: {fault}" for fault in judged.faults)
                parts = {f"reward_{name}": scores for name, scores in judged.each.items()}
                for name, scores in {"reward": judged.totals.tolist(), **(parts if len(parts) > 1 else {})}.items():
                    names[name] = given.get(name, True)
                    for row, score in zip(own, scores, strict=True):
                        row["scores"].setdefault(name, {})[side] = score
        return names, list(faults)

    def _dangerous(self, answers: list[Json]) -> list[Json]:
        metric = self.metrics.get("dangerous_command")
        if not isinstance(metric, DangerousCommand):
            return []
        return blame.marked(metric, answers, self.prepared.train, self.tokenizer)

    def _notes(self, measured: Mapping[str, Mapping[Side, Measured]]) -> list[str]:
        lacking = {name: metric.unavailable() for name, metric in self._named.items()}
        notes = [f"{name} was not scored: {why}" for name, why in lacking.items() if why]
        for split, tasks in self.tasks.items():
            there = len(self.prepared.tasks(split))
            if len(tasks) < there:
                notes.append(f"answers were made for {len(tasks)} of {there} {split} tasks, drawn with a fixed seed")
            if full := len(measured[split]["adapter"].answers.no_room):
                notes.append(f"{full} {split} prompts fill the model's context: their answers are empty")
        return notes


def drawn(tasks: Sequence[Task], most: int) -> Sequence[Task]:
    """At most so many of the tasks, in their order, always the same ones."""
    if len(tasks) <= most:
        return tasks
    chosen = np.random.default_rng(0).permutation(len(tasks))[:most]
    return [tasks[index] for index in sorted(chosen.tolist())]


def _speed(measured: Mapping[str, Mapping[Side, Measured]], side: Side) -> float | None:
    answers = [sides[side].answers for sides in measured.values()]
    tokens, seconds = sum(part.tokens for part in answers), sum(part.seconds for part in answers)
    return tokens / seconds if tokens and seconds else None


def _described(metrics: Mapping[str, Metric]) -> Json:
    """What each score is, and the settings that it was made with."""
    return {
        name: {**one._asdict(), "settings": metric.model_dump(mode="json")}
        for metric in metrics.values()
        for name, one in metric.about.items()
    }
