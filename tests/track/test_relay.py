"""The relay as a process: who starts it, who fails, who comes back."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event as Signal
from typing import Any

import pytest
from filelock import FileLock

from lorry.errors import InputError, RefusedError
from lorry.track.delivery import Pace
from lorry.track.events import EventLog
from lorry.track.folder import RunFolder
from lorry.track.relay import Patience, Relay, how_far
from run_folders import RECIPE, add_step, begun
from tracked import scalars, wandb_rows
from webhook import Webhook, webhook

QUICK = Pace(look=0.02, retries=(0, 0, 0), rest=0.02, save=0)


@pytest.fixture
def hook() -> Iterator[Webhook]:
    with webhook() as received:
        yield received


def begin(folder: Path, *to: str, sinks: tuple[Any, ...] = ()) -> EventLog:
    """A run under way that tells these addresses and sinks; its events are of now."""
    track = {"sinks": list(sinks), "alerts": {"to": list(to), "about": ["started", "oom", "completed"]}}
    log = begun(folder, recorded=2, recipe={**RECIPE, "track": track})
    return EventLog(RunFolder(folder).events, clock=time.time) if log else log


def relay(folder: Path, *, seconds: str = "10", **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "lorry.track.relay", str(folder), seconds],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def work(folder: Path, patience: Patience | None = None) -> dict[str, Any]:
    """A relay in this process that starts at the end; what is left for each, by name."""
    ended = Signal()
    ended.set()
    told = Relay(RunFolder(folder), pace=QUICK, patience=patience).work(ended)
    return {one.name: one.outstanding for one in told}


def until(true: Any, *, seconds: float = 15.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_relay_tells_what_comes_and_ends_with_its_stdin(tmp_path: Path, hook: Webhook):
    log = begin(tmp_path, hook.address)
    process = relay(tmp_path)
    log.append("oom", where="training", error="CUDA out of memory")
    until(lambda: any("out of memory" in title for title in hook.titles))
    log.append("finished", seconds=3.0)
    _, said = process.communicate(timeout=15)
    assert (process.returncode, said) == (0, "")
    assert hook.titles[-1] == f"{tmp_path.name}: completed"


def test_killed_relay_is_followed_by_one_that_repeats_nothing(tmp_path: Path, hook: Webhook):
    log = begin(tmp_path, hook.address)
    log.append("oom", where="training", error="e")
    first = relay(tmp_path)
    until(lambda: RunFolder(tmp_path).track.exists() and how_far(RunFolder(tmp_path))[0].outstanding == 0)
    first.kill()
    first.communicate()
    log.append("finished", seconds=3.0)
    relay(tmp_path).communicate(timeout=15)
    assert [title.split(": ")[1] for title in hook.titles].count("out of memory") == 1
    assert hook.titles[-1].endswith("completed")


def test_address_that_fails_is_caught_up_later_and_stops_no_other(tmp_path: Path, hook: Webhook):
    with webhook() as broken:
        broken.refuses = True
        log = begin(tmp_path, broken.address, hook.address)
        log.append("oom", where="training", error="e")
        left = work(tmp_path)
        assert sorted(left.values()) == [0, 1]
        assert len(hook.titles) == 2
        broken.refuses = False
        assert list(work(tmp_path).values()) == [0, 0]
        assert [title.split(": ")[1] for title in broken.titles][-1] == "out of memory"
    assert len(hook.titles) == 2


def test_variable_that_is_not_set_is_said_with_what_is_left(tmp_path: Path):
    begin(tmp_path, "$LORRY_TEST_NOWHERE")
    assert work(tmp_path) == {"alerts-LORRY_TEST_NOWHERE": 6}
    (told,) = how_far(RunFolder(tmp_path))
    assert told.error == "InputError: $LORRY_TEST_NOWHERE is not set"


def test_secret_address_is_written_nowhere(tmp_path: Path, hook: Webhook):
    begin(tmp_path, "$HOOK").append("oom", where="training", error="e")
    hook.refuses = True
    secret = hook.address.replace("/lorry", "/s3cr3t-k3y")
    _, said = relay(tmp_path, seconds="1", HOOK=secret).communicate(timeout=30)
    written = [path.read_text("utf-8") for path in tmp_path.rglob("*") if path.is_file()]
    assert f"events are left; `lorry track {tmp_path.name}` sends them" in said
    assert not any("s3cr3t" in text for text in [said, *written])


def test_relay_imports_nothing_heavy_and_no_tracker_that_was_not_asked_for(tmp_path: Path):
    code = (
        "import sys, lorry.track.relay\n"
        "print([n for n in ('torch', 'transformers', 'wandb', 'tensorboard', 'apprise', 'sqlalchemy') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_sink_that_cannot_be_made_stops_no_other(tmp_path: Path, hook: Webhook):
    begin(tmp_path, hook.address, sinks=("no_such_sink", "tensorboard"))
    left = work(tmp_path)
    assert left["no_such_sink"] == 6
    assert left["tensorboard"] == 0
    assert "no sink is called `no_such_sink`" in how_far(RunFolder(tmp_path))[0].error


def test_recipe_of_another_version_is_said(tmp_path: Path):
    begun(tmp_path, recipe={**RECIPE, "track": {"pigeons": 2}})
    with pytest.raises(InputError, match=r"track\.pigeons"):
        work(tmp_path)


def test_second_relay_of_a_run_is_refused(tmp_path: Path):
    begin(tmp_path)
    RunFolder(tmp_path).track.mkdir()
    with FileLock(RunFolder(tmp_path).track / ".lock"), pytest.raises(RefusedError):
        work(tmp_path, Patience(lock=0.1))


def test_folder_without_a_run_is_an_error(tmp_path: Path):
    process = relay(tmp_path)
    _, said = process.communicate(timeout=15)
    assert (process.returncode, said) == (2, f"relay: there is no run in {tmp_path}\n")


def test_run_that_asks_for_nobody_ends_at_once(tmp_path: Path):
    begun(tmp_path)
    assert work(tmp_path) == {}


def test_receiver_that_hangs_is_given_up_and_said(tmp_path: Path, hook: Webhook):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never answers
        begin(tmp_path, f"json://127.0.0.1:{silent.getsockname()[1]}/x", hook.address).append(
            "oom", where="t", error="e"
        )
        began = time.monotonic()
        left = work(tmp_path, Patience(after_end=1.0))
        assert time.monotonic() - began < 4
    assert 0 in left.values()
    assert max(left.values()) > 0
    assert len(hook.titles) == 2
    errors = [json.loads(path.read_text())["error"] for path in RunFolder(tmp_path).track.glob("*.json")]
    assert "did not take everything within 1 s of the end" in errors


def test_trackers_are_told_what_was_there_and_what_comes(tmp_path: Path):
    log = begin(tmp_path, sinks=("tensorboard", {"name": "wandb", "mode": "offline"}))
    add_step(log, 3, loss=1.5)
    process = relay(tmp_path)
    add_step(log, 4, loss=1.25)
    _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (0, "")
    assert [number for number, _ in scalars(tmp_path)["train/loss"]] == [1, 2, 3, 4]
    assert [row["step"] for row in wandb_rows(tmp_path)] == [1, 2, 3, 4]


def test_killed_relay_loses_nothing_at_wandb(tmp_path: Path):
    begin(tmp_path, sinks=({"name": "wandb", "mode": "offline"},))
    first = relay(tmp_path)
    until(lambda: any((tmp_path / "wandb").glob("offline-run-*")))
    time.sleep(0.5)
    first.kill()
    first.communicate()
    relay(tmp_path).communicate(timeout=30)
    assert [row["step"] for row in wandb_rows(tmp_path)][-2:] == [1, 2]
    assert how_far(RunFolder(tmp_path))[0].is_complete
