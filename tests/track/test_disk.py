"""Room while a run goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from lorry.track.disk import SPARE, fits, room, warn_low

MB = 1_000_000


@pytest.mark.parametrize(
    ("free", "says"),
    [
        (SPARE + 1000 * MB, None),
        (SPARE + 200 * MB, None),
        (SPARE + 199 * MB, "room for one more checkpoint of 100.0 MB"),
        (SPARE + 99 * MB, "no further checkpoint fits"),
        (0, "no further checkpoint fits"),
    ],
)
def test_low_room_is_told_in_checkpoints(free: int, says: str | None):
    told = warn_low(free, 100 * MB)
    assert told is None if says is None else says in str(told)


def test_full_disk_is_told_before_the_first_checkpoint():
    assert warn_low(SPARE, 0) is None
    assert "hardly anything fits" in str(warn_low(SPARE - 1, 0))


def test_checkpoint_fits_with_room_for_the_rest():
    assert fits(SPARE + 1, 1)
    assert not fits(SPARE, 1)


def test_room_of_a_folder_that_does_not_exist_yet_is_its_disks(tmp_path: Path):
    assert room(tmp_path / "a" / "b") > 0
