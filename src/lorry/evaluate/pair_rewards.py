"""How good a reward model is: how often it gives the answer that people preferred the higher reward.

It writes the same files as the evaluation of a model that answers (see `evaluate/score.py`), with one score:
`reward_accuracy`. A reward model makes no answers: beside each pair stand both of its rewards, and `high_loss.jsonl` holds
the pairs that the adapter gets most wrong, by their loss, -log sigmoid(chosen - rejected).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lorry.data.examples import ExampleSet
from lorry.evaluate import scoring
from lorry.evaluate.folder import write_evaluation
from lorry.evaluate.hard_rows import MOST
from lorry.evaluate.sides import SIDES, WORDS, Progress, Side, base_of
from lorry.track.folder import RunFolder

if TYPE_CHECKING:
    from lorry.data.prepare import Task
    from lorry.evaluate.score import Evaluation
    from lorry.trainer.model import LoadedModel

Json = dict[str, Any]
Rewards = dict[Side, list[float]]
"""Of each example of a split, by side."""

NAME = "reward_accuracy"
_SPLITS = ("eval", "test")


@dataclass(frozen=True)
class RewardEvaluation:
    """One comparison of a reward model with its beginning: the base model under the head before training, which guesses."""

    of: Evaluation

    def run(self, folder: RunFolder, progress: Progress) -> Json:
        """Measures, scores and writes `eval/`; all of its files appear together, or none does."""
        with base_of(self.of.loaded, self.of.recipe, self.of.model_folder) as base:
            by_side = {"base": self._measured(base, "base", progress)}
        by_side["adapter"] = self._measured(self.of.loaded, "adapter", progress)
        rewards: dict[str, Rewards] = {
            split: {side: by_side[side][split] for side in SIDES} for split, _ in self._splits()
        }
        pairs = [row for split, examples in self._splits() for row in self._pairs(split, examples, rewards[split])]
        scores: Json = {
            "splits": {split: _scored(examples, rewards[split]) for split, examples in self._splits()},
            "tokens_per_second": dict.fromkeys(SIDES),
            "dangerous": [],
            "metrics": {},
            "notes": [
                f"{one['name']} was not scored: a reward model gives no answers"
                for one in (*self.of.recipe.evaluate.metrics, *map(dict, self.of.recipe.evaluate.harness))
            ],
        }
        scores["gates"] = self.of.judged(scores["splits"])
        write_evaluation(folder.evaluation, scores, pairs, _hardest(pairs), samples=self.of.recipe.evaluate.samples)
        return scores

    def _splits(self) -> Iterator[tuple[str, ExampleSet]]:
        for split in _SPLITS:
            if examples := getattr(self.of.prepared, split):
                yield split, examples

    def _measured(self, model: LoadedModel, side: Side, progress: Progress) -> dict[str, list[float]]:
        """The rewards of all rows of each split."""
        from lorry.trainer.row_rewards import row_rewards

        size, found = self.of.recipe.evaluate.batch_size, dict[str, list[float]]()
        for split, examples in self._splits():
            part, rows = f"rewards of the {WORDS[side]} on {split} rows", [one.ids for one in examples]
            found[split] = row_rewards(model, rows, size, lambda done: progress(part, done, len(rows)))  # noqa: B023
        return found

    def _pairs(self, split: str, examples: ExampleSet, rewards: Rewards) -> Iterator[Json]:
        """One entry a pair: what was asked, both answers, and the rewards that both sides give them."""
        tasks = {task.index: task for task in self.of.prepared.tasks(split)}
        for at in scoring.chosen_of(examples.kinds):
            both = {side: (rewards[side][at], rewards[side][at + 1]) for side in SIDES}
            yield {
                "split": split,
                "index": at,
                "origin": str(examples.origin(at)),
                **_said(tasks.get(at)),
                "rewards": both,
                **{side: f"chosen {one:.3f}, rejected {other:.3f}" for side, (one, other) in both.items()},
                "scores": {NAME: {side: scoring.is_less(other, one) for side, (one, other) in both.items()}},
            }


def _scored(examples: ExampleSet, rewards: Rewards) -> Json:
    pairs = scoring.chosen_of(examples.kinds)
    right: dict[Side, list[float | None]] = {
        side: [scoring.is_less(rewards[side][at + 1], rewards[side][at]) for at in pairs] for side in SIDES
    }
    mean = scoring.means_of(right)
    return {"rows": examples.unit_count, "generated": 0, "scores": {NAME: mean} if mean else {}}


def _said(task: Task | None) -> Json:
    """The prompt and both answers in words."""
    if task is None:
        return {"prompt": None, "messages": [], "truth": None, "rejected": None}
    return {
        "prompt": scoring.last_content(task),
        "messages": task.messages,
        "truth": task.truth,
        "rejected": "\n".join(str(turn.get("content") or "") for turn in json.loads(task.apart or "[]")),
    }


def _hardest(pairs: list[Json]) -> list[Json]:
    """The pairs of the evaluation rows that the adapter gets most wrong, the worst first."""
    own = [row for row in pairs if row["split"] == "eval"]
    worst = sorted(own, key=lambda row: (-_loss(*row["rewards"]["adapter"]), row["index"]))[:MOST]
    return [
        {
            "loss": _loss(*row["rewards"]["adapter"]),
            **{name: row[name] for name in ("prompt", "truth", "rejected", "origin")},
            "prediction": row["adapter"],
        }
        for row in worst
    ]


def _loss(chosen: float, rejected: float) -> float:
    """-log sigmoid(chosen - rejected), in nats."""
    margin = chosen - rejected
    return max(-margin, 0.0) + math.log1p(math.exp(-abs(margin)))
