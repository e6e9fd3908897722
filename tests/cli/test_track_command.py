"""`lorry track` and `lorry sinks`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

import run_folders
from lorry.cli.main import run
from lorry.track.folder import RunFolder
from lorry.track.store import Store
from webhook import Webhook, webhook

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def hook() -> Iterator[Webhook]:
    with webhook() as received:
        yield received


def ended(home: Path, **alerts: Any) -> RunFolder:
    """A run that has ended long ago and whose alerts nobody has sent."""
    path = home / "runs" / "tiny-done"
    recipe = {**run_folders.RECIPE, "track": {"alerts": alerts}}
    run_folders.begun(path, recorded=2, recipe=recipe).append("finished", seconds=60.0)
    Store.open().add("tiny-done", name="n", folder=path, model="m", method="sft", created_at=1.0)
    return RunFolder(path)


def test_what_was_not_told_is_told_now_and_once(lorry_home: Path, hook: Webhook, capsys: Capture):
    ended(lorry_home, to=[hook.address])
    assert run(["track"]) == 0
    assert hook.titles == ["tiny-done: 2 earlier messages"]
    assert capsys.readouterr().out.splitlines()[1].split()[1:] == ["7", "0", "-"]
    assert run(["track"]) == 0
    assert len(hook.titles) == 1


def test_what_cannot_be_told_is_said_with_exit_code_1(lorry_home: Path, hook: Webhook, capsys: Capture):
    folder = ended(lorry_home, to=[hook.address])
    hook.refuses = True
    assert run(["track", "tiny-done", "--seconds", "1", "--json"]) == 1
    (told,) = json.loads(capsys.readouterr().out)
    assert "did not take everything within 1 s" in told["error"]
    assert folder.track.is_dir()


def test_run_that_tells_nobody_says_so(lorry_home: Path, capsys: Capture):
    ended(lorry_home)
    assert run(["track"]) == 0
    assert "names no sinks and no addresses" in capsys.readouterr().err


def test_run_whose_own_relay_works_is_left_to_it(lorry_home: Path, hook: Webhook, capsys: Capture):
    folder = ended(lorry_home, to=[hook.address])
    folder.track.mkdir()
    with FileLock(folder.track / ".lock"):
        assert run(["track"]) == 3
    assert "relay is at work" in capsys.readouterr().err


def test_sinks_are_listed_with_their_settings(capsys: Capture):
    assert run(["sinks"]) == 0
    out = capsys.readouterr().out
    assert "tensorboard" in out
    assert "mode=online" in out
    assert run(["sinks", "--json"]) == 0
    assert [sink["name"] for sink in json.loads(capsys.readouterr().out)] == ["tensorboard", "wandb"]
