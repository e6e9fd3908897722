"""Several runs, one after another, on a machine that is rented once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import borrowed
import sshd
import tiny_runs
from borrowed import Host, steps_of
from lorry.compute.control import controller
from lorry.compute.control.controller import InTurn, Settings
from lorry.emulators import launch
from lorry.emulators.launch import Emulator
from lorry.errors import RefusedError
from lorry.track.events import Event
from lorry.track.leases import Leases
from lorry.track.run import Run
from lorry.track.state import state

pytestmark = [sshd.needed(), pytest.mark.slow]
QUICK = Settings(borrowed.QUICK)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Host]:
    with borrowed.host(tmp_path) as found:
        yield found


@pytest.fixture
def runpod(tmp_path: Path) -> Iterator[Emulator]:
    """An emulated RunPod whose machines train by the script."""
    with launch.running("runpod", tmp_path / "cloud") as cloud:
        (tmp_path / "image" / "bin").mkdir(parents=True)
        python = borrowed.image(tmp_path / "image", scripted=True)
        scripted = {"LORRY_PYTHON": str(python), "LORRY_SCRIPTED_STEP": "0.02"}
        cloud.control.settings(boot_seconds=0.2, ssh_seconds=0, environment=scripted)
        yield cloud
        cloud.control.wait(lambda _machines: not cloud.control.left())


def in_turn(*runs: Run) -> list[str]:
    """Carries the runs out, and gives how each ended."""
    endings: list[str] = []
    with InTurn() as turns:
        for run in runs:
            turns.keep(run.folder)
        for run in runs:
            left = turns.begin(run.folder)
            endings.append(controller.train(run.folder, lambda _event: None, settings=QUICK, then=left).kind)
    return endings


def rented_rows() -> list[list[str]]:
    """Of each machine that was rented the runs that it served."""
    return [[row.run_id, *(str(one[1]) for one in row.runs)] for row in Leases.open().since() if row.rented_at]


def on_runpod(folder: Path, **sections: object) -> Run:
    train = {"steps": 30, "save_every": 5}
    return tiny_runs.begin(
        tiny_runs.recipe(folder, **{"compute": {"on": ["runpod"], "gpu": ["cpu"]}, "train": train, **sections})  # type: ignore[arg-type]
    )


def test_host_serves_all_runs_in_the_order_in_which_they_were_named(tmp_path: Path, machine: Host):
    runs = [borrowed.begin(tmp_path, machine) for _ in range(3)]
    assert in_turn(*runs) == ["finished"] * 3
    assert [steps_of(run) for run in runs] == [list(range(1, 31))] * 3
    assert rented_rows() == [[run.id for run in runs]]
    assert not Leases.open().opened()


def test_machine_is_rented_once_and_each_run_pays_its_own_part(tmp_path: Path, runpod: Emulator):
    runs = [on_runpod(tmp_path) for _ in range(2)]
    assert in_turn(*runs) == ["finished"] * 2
    assert rented_rows() == [[run.id for run in runs]]
    (billed,) = runpod.control.machines()
    (row,) = Leases.open().since()
    paid = [state(run.events()).usd(0.0) or 0.0 for run in runs]
    assert all(usd > 0 for usd in paid)
    assert sum(paid) == pytest.approx(row.usd(0.0))
    assert sum(paid) == pytest.approx(billed.usd, rel=0.25)


def test_second_run_has_the_machine_sooner_than_the_first(tmp_path: Path, runpod: Emulator):
    runs = [on_runpod(tmp_path) for _ in range(2)]
    in_turn(*runs)
    (first, second) = [next(one for one in run.events() if one.kind == "ready") for run in runs]
    assert set(second.data["steps_of_setup"]) == {"look"}, "everything is there"
    assert second.data["seconds"] < first.data["seconds"]


def test_handed_machine_that_is_taken_back_is_followed_by_one_that_is_rented(tmp_path: Path, runpod: Emulator):
    first, second = (on_runpod(tmp_path, train={"steps": 100, "save_every": 5}) for _ in range(2))

    def arm(event: Event) -> None:
        if event.kind == "handed":
            runpod.control.arm("interrupt", machine="*", after=0)

    controller.train(first.folder, arm, settings=QUICK, then=[second.folder])
    assert controller.train(second.folder, lambda _event: None, settings=QUICK).kind == "finished"
    assert rented_rows() == [[first.id, second.id], [second.id]]
    assert steps_of(second)[-1] == 100
    assert not Leases.open().opened()


def test_run_that_wants_another_image_gets_a_machine_of_its_own(tmp_path: Path, runpod: Emulator):
    first = on_runpod(tmp_path)
    second = on_runpod(tmp_path, compute={"on": ["runpod"], "gpu": ["cpu"], "image": "somebody/else:1"})
    assert in_turn(first, second) == ["finished"] * 2
    assert rented_rows() == [[first.id], [second.id]]


def test_run_that_failed_gives_its_machine_back_and_the_next_rents(tmp_path: Path, machine: Host):
    first = borrowed.begin(
        tmp_path, machine, compute={"code": "file:///nowhere@0123456789abcdef0123456789abcdef01234567"}
    )
    second = borrowed.begin(tmp_path, machine)
    assert in_turn(first, second) == ["failed", "finished"]
    assert rented_rows() == [[first.id], [second.id]]


def test_machine_that_does_not_answer_any_more_is_handed_to_nobody(tmp_path: Path, machine: Host):
    first, second = (borrowed.begin(tmp_path, machine) for _ in range(2))

    def hang_up(event: Event) -> None:
        if event.kind == "fetched":
            machine.server.stop()

    controller.train(first.folder, hang_up, settings=QUICK, then=[second.folder])
    assert [(row.state, row.serves) for row in Leases.open().since()] == [("ended", first.id)]


def test_run_whose_turn_has_not_come_is_kept_from_others(tmp_path: Path, machine: Host):
    first, second = (borrowed.begin(tmp_path, machine) for _ in range(2))
    with InTurn() as turns:
        for one in (first, second):
            turns.keep(one.folder)
        assert turns.begin(first.folder) == [second.folder]
        assert not controller.is_controlled(first.folder)
        assert controller.is_controlled(second.folder)
        with pytest.raises(RefusedError):
            InTurn().keep(second.folder)
    assert not controller.is_controlled(second.folder)


def test_handed_machine_is_taken_up_by_the_next_controller_where_the_first_dies(tmp_path: Path, machine: Host):
    first, second = (borrowed.begin(tmp_path, machine) for _ in range(2))
    controller.train(first.folder, lambda _event: None, settings=QUICK, then=[second.folder])
    assert [row.serves for row in Leases.open().opened()] == [second.id]
    assert not Leases.open().serving(first.id)
    assert not (machine.folder / ".lorry" / "run").exists(), "the idle limit holds until somebody goes on"
    assert controller.train(second.folder, lambda _event: None, settings=QUICK).kind == "finished"
    assert rented_rows() == [[first.id, second.id]]


def test_run_whose_controller_dies_after_handing_over_rents_no_machine_of_its_own(tmp_path: Path, machine: Host):
    class KilledError(BaseException):
        """As it is when somebody kills the process."""

    first, second = (borrowed.begin(tmp_path, machine) for _ in range(2))

    def die(event: Event) -> None:
        if event.kind == "handed":
            raise KilledError

    with pytest.raises(KilledError):
        controller.train(first.folder, die, settings=QUICK, then=[second.folder])
    assert controller.train(first.folder, lambda _event: None, settings=QUICK).kind == "finished"
    assert [event.kind for event in first.events()].count("over") == 1
    assert controller.train(second.folder, lambda _event: None, settings=QUICK).kind == "finished"
    assert rented_rows() == [[first.id, second.id]]
