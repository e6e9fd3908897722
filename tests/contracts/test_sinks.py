"""Every sink keeps the same promises, whoever wrote it; then what each one's tracker shows in the end."""

from __future__ import annotations

import math
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from lorry import plugins
from lorry.errors import InputError, MissingExtraError
from lorry.track.events import KINDS, Event
from lorry.track.sinks._base import Memory, RunFacts, Sink
from run_folders import RECIPE, SCORES
from tracked import scalars, texts, wandb_rows, wandb_runs, wandb_summary

NAMES = plugins.names("sinks")
LOCAL: dict[str, dict[str, Any]] = {"wandb": {"mode": "offline"}}
"""Settings with which a sink needs no network."""


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)


@pytest.fixture(params=NAMES)
def sink(request: pytest.FixtureRequest) -> Sink:
    return made(request.param)


def made(name: str, **settings: Any) -> Sink:
    return cast("Sink", plugins.make("sinks", {"name": name, **LOCAL.get(name, {}), **settings}))


def facts(folder: Path, run: str = "tiny-20260103-143052") -> RunFacts:
    return RunFacts(run, folder, RECIPE)


def event(kind: str, step: int | None = None, **data: Any) -> Event:
    return Event(1, 1_767_450_652.0 + (step or 0), kind, 1, step, data)


def step(number: int, loss: Any = 1.0) -> Event:
    given = {"learning_rate": 2e-4, "grad_norm": 0.5, "tokens_per_second": 500.0, "memory_bytes": 10**9}
    return event("step", number, loss=loss, trained_tokens=400, **given)


def tell(sink: Sink, folder: Path, events: Iterable[Event], memory: Memory | None = None) -> Memory:
    """One session, from opening to closing."""
    memory = {} if memory is None else memory
    session = sink.open(facts(folder), memory)
    try:
        for one in events:
            session.take(one)
        session.flush()
    finally:
        session.close()
    return memory


HOSTILE = [
    step(1, math.nan),
    step(2, -math.inf),
    step(3, None),
    step(4, "0.5"),
    step(5, 10**400),
    step(6, True),
    event("step", None, loss=1.0),
    event("step", 2**62, loss=1.0),
    event("step", -1, loss=1.0),
    event("step", 7),
    event("step", 8, loss=[1.0], learning_rate={"a": 1}),
    event("evaluated", 8, loss=math.nan),
    event("evaluated", 9, loss=1.0, **{"\0\ud800 \x1b[2J": 0.5, "a/b c": 0.5, "": 0.5, "flag": True, "large": 10**400}),
    event("eclipse", 9, sun="gone"),
    event("note", message="x" * 1_000_000),
    event("note", message="\0\ud800\x1b[2J"),
    event("started", steps="many", from_step="none"),
    event("started"),
    event("diverged", return_to=math.nan),
    event("scored", scores=None),
    event("scored", scores={"splits": {"eval": {"scores": {"a/b c": {"base": {"value": "high"}}}, "x": 1}}}),
    event("scored", scores={"splits": [1]}),
    *(event(kind) for kind in KINDS),
]


def test_sink_says_in_one_line_what_it_is(sink: Sink):
    assert 20 < len(type(sink).summary()) <= 120
    assert sink.extra
    assert sink.packages


def test_hostile_events_are_taken_or_passed_over(sink: Sink, tmp_path: Path):
    tell(sink, tmp_path, HOSTILE)


def test_sessions_go_on_with_what_the_memory_holds(sink: Sink, tmp_path: Path):
    memory = tell(sink, tmp_path, [step(1), step(2)])
    kept = dict(memory)
    assert kept
    tell(sink, tmp_path, [step(3)], memory)
    assert set(memory) >= set(kept)


def test_session_without_events_can_be_opened_and_closed(sink: Sink, tmp_path: Path):
    tell(sink, tmp_path, [])


def test_missing_package_is_said_with_what_to_install(sink: Sink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(type(sink), "packages", ("no_such_package",))
    with pytest.raises(MissingExtraError, match="no_such_package") as caught:
        sink.open(facts(tmp_path), {})
    assert caught.value.hint == f"pip install 'lorry[{sink.extra}]'"
    assert (sink.unavailable() or "").endswith(caught.value.hint)


def test_folder_of_the_packages_name_is_no_package(sink: Sink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "left_by_a_tracker").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(type(sink), "packages", ("left_by_a_tracker",))
    assert sink.unavailable()


def test_unknown_setting_is_refused_with_the_known_ones(sink: Sink):
    with pytest.raises(InputError, match="no_such_setting") as caught:
        made(sink.name, no_such_setting=1)
    assert all(name in caught.value.hint for name in type(sink).model_fields)


def test_importing_all_sinks_imports_no_tracker_and_no_torch():
    script = (
        "import sys; from lorry import plugins; [plugins.find('sinks', name) for name in plugins.names('sinks')];"
        "sys.exit(bool({'torch', 'tensorboard', 'wandb', 'tenacity', 'apprise'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


# What TensorBoard draws


@pytest.fixture
def board() -> Sink:
    return made("tensorboard")


def test_tensorboard_draws_training_evaluation_and_scores(board: Sink, tmp_path: Path):
    evaluated = event("evaluated", 1, loss=1.5, exact_match=0.25, seconds=2.0)
    tell(board, tmp_path, [step(1, 2.0), evaluated, step(2, 1.0), event("scored", scores=SCORES)])
    drawn = scalars(tmp_path)
    assert drawn["train/loss"] == [(1, 2.0), (2, 1.0)]
    assert drawn["eval/loss"] == [(1, 1.5)]
    assert drawn["eval/exact_match"] == [(1, 0.25)]
    assert "eval/seconds" not in drawn
    assert drawn["score/eval/loss/adapter"] == [(2, pytest.approx(0.4))]
    tell(board, tmp_path / "another", [step(2, 1.0), event("scored", scores=SCORES["splits"], gates=[])])
    assert scalars(tmp_path / "another")["score/eval/loss/adapter"] == [(2, pytest.approx(0.4))]  # as runs write it
    assert {"train/learning_rate", "train/grad_norm", "speed/tokens_per_second", "machine/memory_bytes"} <= set(drawn)
    assert "org/tiny-1b" in texts(tmp_path)["recipe"]


def test_tensorboard_shows_replayed_steps_once_the_last(board: Sink, tmp_path: Path):
    first = [step(number, 1.0) for number in (1, 2, 3)]
    again = [event("started", steps=9, from_step=1), *(step(number, 2.0) for number in (2, 3, 4))]
    tell(board, tmp_path, [*first, event("evaluated", 3, loss=1.0), *again])
    assert scalars(tmp_path)["train/loss"] == [(1, 1.0), (2, 2.0), (3, 2.0), (4, 2.0)]
    assert scalars(tmp_path).get("eval/loss", []) == []


def test_tensorboard_is_one_run_over_sessions_and_a_kill(board: Sink, tmp_path: Path):
    memory = tell(board, tmp_path, [step(1), step(2)])
    written = dict(memory)
    tell(board, tmp_path, [step(3, 3.0), event("evaluated", 3, loss=3.0)], memory)  # killed: this memory is not kept
    tell(board, tmp_path, [step(3, 3.0), event("evaluated", 3, loss=3.0), step(4)], written)
    assert scalars(tmp_path)["train/loss"] == [(1, 1.0), (2, 1.0), (3, 3.0), (4, 1.0)]
    assert scalars(tmp_path)["eval/loss"] == [(3, 3.0)]


def test_tensorboard_draws_a_loss_that_is_no_number(board: Sink, tmp_path: Path):
    tell(board, tmp_path, [step(1, math.nan), step(2)])
    (_, first), (_, second) = scalars(tmp_path)["train/loss"]
    assert math.isnan(first)
    assert second == 1.0


@pytest.fixture
def small_files() -> Iterator[None]:
    """Files cannot grow beyond 4 kB, as on a disk that is full."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, handler)


def test_tensorboard_on_a_full_disk_fails_and_leaves_whole_records(board: Sink, tmp_path: Path, small_files: None):
    told: list[int] = []
    session = board.open(facts(tmp_path), {})

    def fill() -> None:
        while len(told) < 100:
            session.take(step(len(told) + 1))
            told.append(len(told) + 1)

    with pytest.raises(OSError, match="File too large"):
        fill()
    assert [number for number, _ in scalars(tmp_path)["train/loss"]] == told


# What W&B is told


@pytest.fixture
def wandb_sink() -> Sink:
    return made("wandb", project="commands", tags=["a", "b"])


def test_wandb_is_told_numbers_over_our_own_step(wandb_sink: Sink, tmp_path: Path):
    tell(
        wandb_sink,
        tmp_path,
        [step(1, 2.0), step(3, 1.0), event("evaluated", 3, loss=1.5), event("scored", scores=SCORES)],
    )
    rows = wandb_rows(tmp_path)
    assert [(row["step"], row.get("train/loss"), row.get("eval/loss")) for row in rows] == [
        (1, 2.0, None),
        (3, 1.0, None),
        (3, None, 1.5),
    ]
    assert wandb_summary(tmp_path)["score/eval/loss/adapter"] == 0.4
    (run,) = wandb_runs(tmp_path)
    assert (run.project, list(run.tags), run.run_id) == ("commands", ["a", "b"], "tiny-20260103-143052")


def test_wandb_keeps_replayed_steps(wandb_sink: Sink, tmp_path: Path):
    tell(wandb_sink, tmp_path, [step(1), step(2), event("started", steps=9, from_step=1), step(2, 3.0)])
    assert [(row["step"], row["train/loss"]) for row in wandb_rows(tmp_path)] == [(1, 1.0), (2, 1.0), (2, 3.0)]


def test_wandb_goes_on_with_the_same_run_after_a_resume(wandb_sink: Sink, tmp_path: Path):
    memory = tell(wandb_sink, tmp_path, [step(1)])
    tell(wandb_sink, tmp_path, [step(2)], memory)
    first, second = wandb_runs(tmp_path)
    assert first.run_id == second.run_id == memory["id"]
    assert second.resume


def test_wandb_gets_an_id_that_it_takes(wandb_sink: Sink, tmp_path: Path):
    memory: Memory = {}
    wandb_sink.open(facts(tmp_path, "modèle:" + "x" * 200), memory).close()
    assert len(memory["id"]) <= 64
    assert memory["id"].isascii()
    assert wandb_runs(tmp_path)[0].run_id == memory["id"]
