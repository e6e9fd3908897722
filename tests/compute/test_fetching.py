"""What lies at home of checkpoints that did not come whole."""

from __future__ import annotations

from pathlib import Path

from lorry.compute import fetching
from lorry.track.folder import RunFolder

GONE = 2**22 - 1
"""The number of a process that there is not."""


def folder_with(tmp_path: Path, *names: str) -> RunFolder:
    for name in names:
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
        (tmp_path / "checkpoints" / name / "state.json").write_text("{}")
    return RunFolder(tmp_path)


def names_in(folder: RunFolder) -> list[str]:
    return sorted(path.name for path in folder.checkpoints.iterdir())


def test_part_of_an_older_checkpoint_is_forgotten_and_that_of_a_newer_one_kept(tmp_path):
    folder = folder_with(tmp_path, "step-000010", ".step-000005.part", ".step-000015.part")
    fetching.forget(folder, {10, 15})
    assert names_in(folder) == [".step-000015.part", "step-000010"]


def test_nothing_but_whole_checkpoints_is_left_when_a_run_is_over(tmp_path):
    folder = folder_with(tmp_path, "step-000010", ".step-000015.part", f".step-000005.{GONE}")
    (tmp_path / ".fetched" / "adapter").mkdir(parents=True)
    fetching.clear(folder)
    assert names_in(folder) == ["step-000010"]
    assert not (tmp_path / ".fetched").exists()


def test_clearing_a_run_that_never_came_to_checkpoints_is_no_fault(tmp_path):
    fetching.clear(RunFolder(tmp_path))
