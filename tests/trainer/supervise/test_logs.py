from __future__ import annotations

from pathlib import Path

import pytest

from lorry.trainer.supervise.logs import KEPT, Logs

MEGABYTE = 1_000_000


def attempt(folder: Path, *lines: str) -> None:
    """The lines that one attempt of the trainer prints."""
    logs = Logs(folder)
    for line in lines:
        logs.write(line)
    logs.close()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def lines_of(folder: Path) -> list[str]:
    """All lines that are kept, the oldest first."""
    files = sorted(folder.iterdir(), key=lambda path: path.name, reverse=True)
    return [line for path in files for line in path.read_text(encoding="utf-8").splitlines()]


def test_lines_are_written_as_they_come(tmp_path):
    logs = Logs(tmp_path / "run" / "logs")
    logs.write("first")
    logs.write("100 % of %s {} \t äöü 日本 😀")
    assert (tmp_path / "run/logs/trainer.log").read_text(encoding="utf-8") == "first\n100 % of %s {} \t äöü 日本 😀\n"
    logs.close()


def test_attempt_that_prints_nothing_leaves_no_file(tmp_path):
    attempt(tmp_path)
    assert names(tmp_path) == []


def test_each_attempt_has_a_file_of_its_own(tmp_path):
    attempt(tmp_path, "first attempt")
    attempt(tmp_path, "second attempt")
    assert (tmp_path / "trainer.log").read_text() == "second attempt\n"
    assert (tmp_path / "trainer.log.1").read_text() == "first attempt\n"


def test_attempt_that_printed_nothing_takes_no_place(tmp_path):
    attempt(tmp_path, "first attempt")
    for _ in range(10):
        attempt(tmp_path)
    assert lines_of(tmp_path) == ["first attempt"]


def test_files_of_the_last_five_attempts_are_kept(tmp_path):
    for number in range(12):
        attempt(tmp_path, f"attempt {number}")
    assert len(names(tmp_path)) == KEPT == 5
    assert lines_of(tmp_path) == [f"attempt {number}" for number in range(7, 12)]


def test_long_attempt_is_cut_into_files_and_loses_no_line(tmp_path):
    written = [f"{number} {'x' * MEGABYTE}" for number in range(90)]
    attempt(tmp_path, *written)
    assert names(tmp_path) == ["trainer.log", *(f"trainer.log.{number}" for number in range(1, 5))]
    assert lines_of(tmp_path) == written
    assert all(path.stat().st_size <= 20 * MEGABYTE for path in tmp_path.iterdir())


def test_very_long_attempt_keeps_its_last_lines(tmp_path):
    written = [f"{number} {'x' * MEGABYTE}" for number in range(130)]
    attempt(tmp_path, *written)
    kept = lines_of(tmp_path)
    assert len(names(tmp_path)) == KEPT
    assert kept == written[-len(kept) :]


def test_line_with_letters_that_no_encoding_has_is_not_lost(tmp_path):
    attempt(tmp_path, "before", "\ud800 torn", "after")
    assert lines_of(tmp_path) == ["before", "\\ud800 torn", "after"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
def test_full_disk_ends_nothing(tmp_path):
    (tmp_path / "trainer.log").symlink_to("/dev/full")
    logs = Logs(tmp_path)
    logs.write("lost")
    logs.write("lost as well")
    logs.close()


def test_folder_that_was_deleted_ends_nothing(tmp_path):
    logs = Logs(tmp_path / "logs")
    (tmp_path / "logs").rmdir()
    logs.write("lost")
    logs.close()
