"""`lorry run` with several recipes: one machine, one after another."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import yaml

import borrowed
import sshd
import tiny_runs
from lorry.cli import in_turn
from lorry.cli.main import run
from lorry.cli.watching import EndedError
from lorry.compute.control.at_home import ask
from lorry.errors import MayBillError
from lorry.track.events import Event
from lorry.track.folder import RunFolder
from lorry.track.leases import Leases
from lorry.track.run import Run
from lorry.track.store import Store
from renting import open_lease

Capture = pytest.CaptureFixture[str]


pytestmark = pytest.mark.slow


def recipes(folder: Path, **changes: object) -> list[str]:
    """Two recipes that differ in their learning rate."""
    paths = [folder / "first.yaml", folder / "second.yaml"]
    for path, rate in zip(paths, (1e-4, 2e-4), strict=True):
        train = {"steps": 20, "save_every": 5, "learning_rate": rate, **changes}
        path.write_text(yaml.safe_dump(tiny_runs.recipe(folder, train=train)), encoding="utf-8")
    return [str(path) for path in paths]


def runs() -> dict[str, str]:
    """Status by the order in which they were made."""
    return {row.id: row.status for row in sorted(Store.open().list(), key=lambda row: row.created_at)}


def test_recipes_for_here_and_for_elsewhere_are_refused_with_the_remedy(tmp_path: Path, capsys: Capture):
    first, second = recipes(tmp_path)
    Path(second).write_text(f"{Path(second).read_text()}\ncompute: {{on: runpod}}\n")
    assert run(["run", first, second, "--yes"]) == 2
    assert "`--on runpod`" in capsys.readouterr().err
    assert runs() == {}


@sshd.needed()
def test_several_recipes_take_turns_on_one_host(tmp_path: Path, capsys: Capture):
    with borrowed.host(tmp_path) as machine:
        assert run(["run", *recipes(tmp_path), "--on", f"ssh:{machine.name}", "-o", "compute.gpu=[cpu]", "--yes"]) == 0
    first, second = runs()
    assert list(runs().values()) == ["finished", "finished"]
    assert [(row.run_id, row.serves) for row in Leases.open().since()] == [(first, second)]
    told = capsys.readouterr().err
    assert f"goes to `{second}`" in told
    assert "which another run has done with" in told


@sshd.needed()
def test_dry_run_of_several_rents_nothing(tmp_path: Path):
    with borrowed.host(tmp_path) as machine:
        words = ["--on", f"ssh:{machine.name}", "-o", "compute.gpu=[cpu]", "--dry-run"]
        assert run(["run", *recipes(tmp_path), *words]) == 0
    assert runs() == {}
    assert not Leases.open().since()


@sshd.needed()
def test_run_that_is_let_go_leaves_the_next_one_unstarted(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
):
    alone: list[str] = []
    monkeypatch.setattr("lorry.compute.control.controller.go_on_alone", lambda folder: alone.append(folder.id))
    shown: list[Event] = []

    def detaches(_self: object, event: Event) -> None:
        shown.append(event)
        if event.kind == "step":
            ask(RunFolder(Store.open().list()[-1].folder), "detach")

    monkeypatch.setattr("lorry.cli.progress.Progress.show", detaches)
    with borrowed.host(tmp_path) as machine:
        words = ["--on", f"ssh:{machine.name}", "-o", "compute.gpu=[cpu]", "--yes"]
        assert run(["run", *recipes(tmp_path, steps=5000), *words]) == 0
    first, second = runs()
    assert alone == [first]
    assert f"not started: `{second}`" in capsys.readouterr().err
    assert not Leases.open().serving(second)


@sshd.needed()
def test_run_that_was_handed_a_machine_goes_on_alone_where_a_signal_ends_this_process(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
):
    alone: list[str] = []
    monkeypatch.setattr("lorry.compute.control.controller.go_on_alone", lambda folder: alone.append(folder.id))

    def ends(_self: object, event: Event) -> None:
        if event.kind == "handed":
            raise EndedError(signal.SIGTERM)

    monkeypatch.setattr("lorry.cli.progress.Progress.show", ends)
    with borrowed.host(tmp_path) as machine:
        words = ["--on", f"ssh:{machine.name}", "-o", "compute.gpu=[cpu]", "--yes"]
        with pytest.raises(SystemExit) as ended:
            run(["run", *recipes(tmp_path), *words])
    first, second = runs()
    assert ended.value.code == 128 + signal.SIGTERM
    assert alone == [first, second]
    assert f"`{second}` has a machine and goes on without this terminal" in capsys.readouterr().err
    assert [row.serves for row in Leases.open().opened()] == [second]


def test_machine_for_which_no_controller_can_be_started_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuses(_folder: RunFolder) -> int:
        raise OSError("no more processes")

    monkeypatch.setattr("lorry.compute.control.controller.go_on_alone", refuses)
    Leases.open().add(open_lease(run_id="over", runs=[[1.0, "next"]]))
    folder = RunFolder(tmp_path / "next")
    folder.path.mkdir()
    with pytest.raises(MayBillError):
        in_turn._leave([Run(folder)])
