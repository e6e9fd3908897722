from __future__ import annotations

from dataclasses import replace

import pytest

from lorry.plan.checks.budget import BudgetCheck
from lorry.plan.checks.memory import MemoryCheck
from lorry.plan.planner import Planner
from subjects import gpu, machine, subject


def found(check, folder, room: int | None = None, **sections):
    hardware = machine(replace(gpu(), memory=room)) if room is not None else machine()
    return list(check.run(subject(folder, hardware=hardware, **sections)))


def peak(folder, **train) -> int:
    return Planner(subject(folder, train=train, hardware=machine(gpu()))).on_this_computer()[0].memory.peak


def test_answers_of_evaluations_during_training_are_counted(tmp_path):
    def seconds(**evaluate) -> float:
        asked = subject(tmp_path, train={"steps": 8}, evaluate={"metrics": ["exact_match"], "rows": 0, **evaluate})
        expected = Planner(asked).estimate().expected
        return expected.duration.evaluation.likely

    assert seconds() == seconds(rows_in_training=0)
    assert seconds() < seconds(rows_in_training=2) < seconds(rows_in_training=4) == seconds(rows_in_training=99)


def test_run_that_fits_is_told_with_its_parts(tmp_path):
    (one,) = found(MemoryCheck(), tmp_path, 40 * 10**9)
    assert (one.code, one.severity) == ("memory.fits", "note")
    assert "activations" in one.evidence


def test_micro_batch_that_does_not_fit_is_answered_with_one_that_does(tmp_path):
    train = {"micro_batch": 16, "accumulation": 1, "steps": 4}
    room = (peak(tmp_path, **train) + peak(tmp_path, **{**train, "micro_batch": 8, "accumulation": 2})) // 2
    (one,) = found(MemoryCheck(), tmp_path, room, train=train)
    assert (one.code, one.place) == ("memory.ladder", "train.micro_batch")
    assert one.remedy == "set train.micro_batch to 8 and train.accumulation to 2"


@pytest.mark.parametrize(("share", "severity"), [(0.5, "error"), (0.95, "warning")])
def test_model_that_fits_on_no_rung_is_refused_where_the_estimate_leaves_no_doubt(tmp_path, share, severity):
    least = peak(tmp_path, micro_batch=1, accumulation=1, steps=4, activation_checkpointing=True)
    (one,) = found(MemoryCheck(), tmp_path, round(share * least), train={"micro_batch": 1, "steps": 4})
    assert (one.code, one.severity) == ("memory.too-little", severity)


def test_architecture_without_known_sizes_is_no_error(tmp_path, monkeypatch):
    monkeypatch.setattr("lorry.plan.planner.model_shape", lambda _config: None)
    (one,) = found(MemoryCheck(), tmp_path)
    assert (one.code, one.severity) == ("memory.unknown", "note")


@pytest.mark.parametrize(
    ("budget", "codes"),
    [
        ({}, []),
        ({"hours": 100}, []),
        ({"hours": 1e-4}, ["budget.hours"]),
        ({"usd": 1000, "price_per_hour": 1}, []),
        ({"usd": 0.001, "price_per_hour": 100}, ["budget.usd"]),
        ({"hours": 1e-4, "usd": 0.001, "price_per_hour": 100}, ["budget.hours", "budget.usd"]),
    ],
)
def test_budget_is_held_against_the_estimate(tmp_path, budget, codes):
    assert [one.code for one in found(BudgetCheck(), tmp_path, budget=budget, train={"steps": 50})] == codes
