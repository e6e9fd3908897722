from __future__ import annotations

import signal

import pytest

from lorry.trainer import launch
from tiny_runs import begin, events_of, recipe, train_here


def ended_at(kind: str, tmp_path, **sections):
    """A run whose training process gets SIGTERM when it says `kind`, and the event that ended it."""
    run = begin(recipe(tmp_path, **sections))
    process = launch.start(run.folder)
    ending = launch.watch(
        run.folder, process, lambda event: process.send_signal(signal.SIGTERM) if event.kind == kind else None
    )
    return run, ending, process.returncode


def test_signal_while_scoring_stops_and_keeps_the_adapter(tmp_path):
    slow = {"rows": 20, "max_new_tokens": 200, "batch_size": 1}
    run, ending, code = ended_at("delivered", tmp_path, data={"eval_split": 12}, evaluate=slow)
    assert (ending.kind, code) == ("stopped", 130)
    assert "delivered" in ending.data["reason"]
    assert (run.adapter / "adapter_model.safetensors").exists()


def test_variables_of_accelerate_do_not_change_the_gradients(tmp_path, monkeypatch):
    values = recipe(tmp_path, train={"steps": 1})
    run = begin(values)
    with monkeypatch.context() as around:
        around.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
        around.setenv("WORLD_SIZE", "2")
        launch.watch(run.folder, launch.start(run.folder), lambda _event: None)
    alone = train_here(values)
    first, second = (events_of(one, "step")[0].data["grad_norm"] for one in (run, alone))
    assert first == pytest.approx(second, rel=1e-4)


def test_interrupt_while_the_agent_is_started_is_passed_on_to_it(tmp_path):
    run = begin(recipe(tmp_path, train={"steps": 100_000}))
    with launch.interrupts_held() as held:
        process = launch.start(run.folder)
        signal.raise_signal(signal.SIGINT)
    ending = launch.watch(run.folder, process, lambda _event: None, sent=held)
    assert (ending.kind, ending.data["cause"]) == ("stopped", "person")
    # It may come before the agent has begun to listen.
    assert process.returncode in (130, -signal.SIGINT)


def test_interrupt_is_an_interrupt_again_when_the_agent_is_started():
    with launch.interrupts_held() as held:
        pass
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert held == []


def test_trainer_takes_no_part_in_a_run_around_it(monkeypatch):
    theirs = (
        "RANK",
        "MASTER_ADDR",
        "LOCAL_WORLD_SIZE",
        "ACCELERATE_USE_CPU",
        "LORRY_RUNG",
        "LORRY_BEGAN",
        "VAST_API_KEY",
    )
    for name in (*theirs, "RANKING", "LORRY_HOME"):
        monkeypatch.setenv(name, "1")
    assert not launch.environment().keys() & set(theirs)
    assert launch.environment().keys() >= {"RANKING", "LORRY_HOME"}
