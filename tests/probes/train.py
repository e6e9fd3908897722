"""Probes of `train`, `evaluate`, `budget` and `name`: whole tiny runs, seen in what they leave behind."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lorry.track.events import read
from lorry.track.run import Run
from lorry.trainer.checkpoint import steps as saved_steps
from lorry.trainer.methods._base import Share
from lorry.trainer.methods.sft import SupervisedFineTuning
from lorry.trainer.order import plan_order
from lorry.trainer.process import work
from lorry.trainer.supervise.journal import Journal
from lorry.trainer.supervise.vitals import Vitals
from probes.probe import Probe, Values, understood
from tiny_runs import begin, events_of, train_here


def trained(values: Values) -> Run:
    """A run that has ended well."""
    run = train_here(values)
    assert events_of(run, "finished"), [event.data for event in read(run.folder.events)]
    return run


def steps(values: Values) -> list[dict[str, Any]]:
    """The record of each step."""
    return [event.data for event in events_of(trained(values), "step")]


def losses(values: Values) -> list[float]:
    return [record["loss"] for record in steps(values)]


def at(kind: str) -> Any:
    """The steps at which events of a kind happened."""
    return lambda values: [event.step for event in events_of(trained(values), kind)]


def last_step_of_a_slow_run(values: Values) -> int:
    """The last of 24 steps of a run whose plan says that scoring takes a hundred days, with an hour to spend."""
    values["train"] |= {"steps": 24, "eval_every": 100}
    values["budget"] = {**values.get("budget", {}), "hours": 1.0}
    run = begin(values, estimated=True)
    plan = json.loads(run.folder.plan.read_text(encoding="utf-8"))
    plan["expected"]["duration"]["scoring"] = {"low": 9e3, "likely": 9e6, "high": 9e9}
    run.folder.plan.write_text(json.dumps(plan), encoding="utf-8")
    work(run.folder.path)
    return max(event.step or 0 for event in events_of(run, "step"))


def checkpoints(values: Values) -> list[int]:
    return sorted(saved_steps(trained(values).folder.checkpoints))


def computed_tokens(values: Values) -> int:
    return steps(values)[0]["computed_tokens"]


def micro_batches(values: Values) -> list[int]:
    """Rows of each micro-batch of the first step."""
    return [len(rows) for rows in _order(values).micro_batches(1)]


def rows_of_first_step(values: Values) -> list[int]:
    return sorted(_order(values).micro_batches(1)[0])


def scores(values: Values) -> dict[str, Any]:
    return json.loads((trained(values).folder.evaluation / "scores.json").read_text("utf-8"))["splits"]["eval"]


def named_scores(values: Values) -> list[str]:
    """The scores beside loss and perplexity."""
    return sorted({*scores(values)["scores"]} - {"loss", "perplexity"})


def generated(values: Values) -> int:
    return scores(values)["generated"]


def answers(values: Values) -> list[str]:
    """What the base model answers."""
    lines = (trained(values).folder.evaluation / "answers.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line)["base"] for line in lines]


def samples(values: Values) -> int:
    return len((trained(values).folder.evaluation / "samples.jsonl").read_text("utf-8").splitlines())


def gates(values: Values) -> list[bool]:
    """Whether each is met."""
    (scored,) = events_of(trained(values), "scored")
    return [one["met"] for one in scored.data["gates"]]


def benchmarks(values: Values) -> int:
    """How many are told of: one that nobody knows is not scored, be the harness installed or not."""
    found = json.loads((trained(values).folder.evaluation / "scores.json").read_text("utf-8"))
    return sum("no_such_task" in note for note in found["notes"])


def generations(values: Values) -> int:
    """How many batches of answers the adapter made."""
    parts = [event.data["part"] for event in events_of(trained(values), "scoring")]
    return parts.count("answers of the adapter on eval rows")


def watched(values: Values) -> list[str]:
    """The scores that an evaluation during training makes."""
    return sorted(events_of(trained(values), "evaluated")[0].data.keys() - {"seconds"})


def divergences(values: Values) -> list[int | None]:
    """The steps at which a loss that is ten times too high from the eleventh step on counts as divergence."""
    plain, calls = SupervisedFineTuning.loss, list[None]()

    def loss(self: Any, *given: Any) -> Share:
        calls.append(None)
        share = plain(self, *given)
        return replace(share, loss=share.loss * (1 if len(calls) <= 1 + 10 else 10))  # one more for the trial

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SupervisedFineTuning, "loss", loss)
        return [event.step for event in events_of(train_here(values), "diverged")]


def stalls_within_six_minutes(values: Values) -> bool:
    """Whether a trainer that has been silent for six minutes is ended."""
    now = [0.0]
    run = begin(values)
    vitals = Vitals(run.folder, understood(values), Journal(run.folder.events, 1), clock=lambda: now[0])
    vitals.begin(1)
    vitals.moved("training", 1)
    for now[0] in range(0, 360, 20):
        vitals.tick()
    return vitals.stalled


def run_name(values: Values) -> str:
    return begin(values).id.rsplit("-", 2)[0]


def _order(values: Values) -> Any:
    return plan_order(np.full(20, 60), understood(values).train)


ONE_STEP = {"train.steps": 1, "data.eval_split": 0}
THREE_STEPS = {"train.steps": 3, "data.eval_split": 0}
EPOCHS = {"train.steps": None, "train.micro_batch": 5, "data.eval_split": 0}
SCORED = {"train.steps": 1}
ONLY_DROPOUT = {**ONE_STEP, "train.micro_batch": 24, "model.adapter": "adapter", "lora.dropout": 0.5}
"""Neither the adapter's first weights nor the order of rows differ here."""
SAVED_OFTEN = {**THREE_STEPS, "train.save_every": 1}
EVALUATED = {"train.steps": 4, "train.eval_every": 1}
NEVER_BETTER = {"train.early_stop.min_delta": 100}
IMPATIENT = {"train.early_stop.patience": 1}
WATCHED = {**SCORED, "evaluate.metrics": ["exact_match"]}
WATCHED_TWICE = {"train.steps": 2, "train.eval_every": 1, "evaluate.metrics": ["exact_match"]}
"""Two steps make the loss lower, and match nothing yet."""
DIVERGING = {"train.steps": 2, "train.learning_rate": 1.0, "lora.alpha": 64, "train.warmup": 0, "train.eval_every": 1}

PROBES = [
    Probe("name", (None, "mine"), run_name, ("model-lora-r4-lr1e-2-steps4", "mine")),
    Probe("train.steps", (1, 2), at("step"), ([1], [1, 2]), {"data.eval_split": 0}),
    Probe("train.epochs", (0.2, 0.5), at("step"), ([1], [1, 2, 3]), EPOCHS),
    Probe("train.micro_batch", (2, 4), micro_batches, ([2], [4])),
    Probe("train.accumulation", (1, 2), micro_batches, ([4], [4, 4])),
    Probe("train.learning_rate", (1e-2, 1e-3), losses, given=THREE_STEPS),
    Probe("train.schedule", ("linear", "constant"), losses, given={**THREE_STEPS, "train.steps": 4}),
    Probe("train.schedule", ("linear", "cosine"), losses, given={**THREE_STEPS, "train.steps": 4}),
    Probe("train.warmup", (0, 2), losses, given=THREE_STEPS),
    Probe("train.weight_decay", (0, 10), losses, given=THREE_STEPS),
    Probe("train.router_aux_loss_coef", (0, 5), losses, given={**THREE_STEPS, "model.id": "./mixture"}),
    Probe("train.max_grad_norm", (0, 1e-9), losses, given=THREE_STEPS),
    Probe("train.share_prefixes", (True, False), computed_tokens, given=ONE_STEP),
    Probe("train.seed", (0, 1), rows_of_first_step),
    Probe("train.seed", (0, 1), losses, given=THREE_STEPS),
    Probe("train.seed", (0, 1), losses, given=ONLY_DROPOUT),
    Probe("train.log_every", (1, 3), at("step"), ([1, 2, 3], [1, 3]), THREE_STEPS),
    Probe("train.eval_every", (1, 2), at("evaluated"), ([1, 2, 3, 4], [2, 4]), {"train.steps": 4}),
    Probe("train.save_every", (1, 2), at("saved"), ([1, 2, 3, 4], [2, 4]), {**ONE_STEP, "train.steps": 4}),
    Probe("train.save_minutes", (5, 1e-9), at("saved"), ([3], [1, 2, 3]), {**THREE_STEPS, "train.save_every": 3}),
    Probe("train.keep", (1, 2), checkpoints, ([3], [2, 3]), {**SAVED_OFTEN, "train.keep_best": 0}),
    Probe("train.keep_best", (0, 1), checkpoints, ([3], [1, 3]), {**SAVED_OFTEN, "train.keep": 1}),
    Probe("train.early_stop.metric", ("loss", "exact_match"), watched, (["loss"], ["exact_match", "loss"]), WATCHED),
    Probe("train.best_by", ("loss", "exact_match"), at("delivered"), ([2], [1]), WATCHED_TWICE),
    Probe("train.early_stop.patience", (1, 2), at("early_stop"), ([2], [3]), {**EVALUATED, **NEVER_BETTER}),
    Probe("train.early_stop.min_delta", (0, 100), at("early_stop"), ([], [2]), {**EVALUATED, **IMPATIENT}),
    Probe("train.diverge_at", (0, 2), divergences, ([], [11]), {"train.steps": 11, "train.save_every": 10}),
    Probe("train.stall_minutes", (5, 10), stalls_within_six_minutes, (True, False)),
    Probe("train.deliver", ("best", "last"), at("delivered"), ([1], [2]), DIVERGING),
    Probe("evaluate.metrics", ([], ["exact_match"]), named_scores, ([], ["exact_match"]), SCORED),
    Probe("evaluate.rows", (0, 3), generated, (0, 3), SCORED),
    Probe("evaluate.rows_in_training", (0, 2), watched, (["loss"], ["exact_match", "loss"]), WATCHED),
    Probe("evaluate.max_new_tokens", (1, 3), answers, given=SCORED),
    Probe("evaluate.batch_size", (4, 1), generations, (1, 4), {**SCORED, "evaluate.rows": 4}),
    Probe("evaluate.samples", (0, 2), samples, (0, 2), SCORED),
    Probe("evaluate.gates", ({}, {"loss": "< 99"}), gates, ([], [True]), SCORED),
    Probe("evaluate.harness", ([], ["no_such_task"]), benchmarks, (0, 1), SCORED),
    Probe("budget.usd", (None, 1e-6), at("step"), ([1, 2, 3], [1]), {**THREE_STEPS, "budget.price_per_hour": 1e6}),
    Probe("budget.price_per_hour", (1e-6, 1e6), at("step"), ([1, 2, 3], [1]), {**THREE_STEPS, "budget.usd": 1e-6}),
    Probe("budget.hours", (None, 1e-9), at("step"), ([1, 2, 3], [1]), THREE_STEPS),
    Probe("budget.overrun", ("stop", "continue"), last_step_of_a_slow_run, (20, 24)),
]
