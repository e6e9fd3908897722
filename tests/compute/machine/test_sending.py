"""What goes onto a machine: the checkpoints that its trainer needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from lorry.compute.machine.sending import _useful
from lorry.track.folder import RunFolder
from lorry.trainer import checkpoint
from lorry.trainer.watched import Watched
from small_checkpoints import saved


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """Steps 5 to 25, of which 10 was the best and 15 the next; 2 was evaluated and not saved."""
    found = RunFolder(tmp_path / "run-1")
    losses = {2: 0.1, 5: 9.0, 10: 1.0, 15: 2.0, 20: 3.0, 25: float("nan")}
    for step in (5, 10, 15, 20, 25):
        scores = {str(at): {"loss": loss} for at, loss in losses.items() if at <= step}
        saved(found.checkpoints, step, {"scores": scores})
    return found


def damage(folder: RunFolder, step: int) -> None:
    (checkpoint.path_of(folder.checkpoints, step) / checkpoint.OPTIMIZER).write_bytes(b"")


def test_newest_and_best_are_sent(folder):
    assert _useful(folder, Watched()) == [25, 10]


def test_damaged_ones_are_put_aside_for_those_before(folder):
    damage(folder, 25)
    damage(folder, 10)
    assert _useful(folder, Watched()) == [20, 15]
    assert {path.name for path in folder.checkpoints.glob("damaged-*")} == {
        "damaged-step-000025",
        "damaged-step-000010",
    }


def test_one_that_is_not_trusted_is_not_sent(folder):
    checkpoint.put_aside(checkpoint.path_of(folder.checkpoints, 25), "untrusted")
    assert _useful(folder, Watched()) == [20, 10]


def test_newest_whose_best_did_not_come_home_is_passed_over(folder):
    scores = {"10": {"loss": 1.0}, "28": {"loss": 0.01}, "30": {"loss": 5.0}}
    saved(folder.checkpoints, 30, {"scores": scores})
    saved(folder.checkpoints, 27, {"scores": {"10": {"loss": 1.0}}})
    assert _useful(folder, Watched()) == [27, 10], (
        "from 30 on, the run would end with another adapter than that of step 28"
    )
    assert _useful(folder, None) == [30]


def test_best_goes_by_what_the_recipe_watches(folder):
    scores = {str(step): {"loss": 1.0, "exact_match": match} for step, match in ((5, 0.2), (15, 0.9), (20, 0.4))}
    saved(folder.checkpoints, 30, {"scores": scores})
    assert _useful(folder, Watched("exact_match", higher_is_better=True)) == [30, 15]
    assert _useful(folder, Watched()) == [30, 5]
