"""What comes home is put in place once, whoever is faster."""

from __future__ import annotations

from pathlib import Path

import pytest

from lorry.compute.fetching import _in_its_place


def folder(path: Path, text: str = "") -> Path:
    path.mkdir(parents=True)
    (path / "manifest.json").write_text(text)
    return path


def test_checkpoint_that_is_new_is_in_its_place(tmp_path: Path):
    final = tmp_path / "checkpoints" / "step-000005"
    assert _in_its_place(folder(tmp_path / "aside"), final)
    assert (final / "manifest.json").is_file()


def test_checkpoint_that_another_process_has_brought_meanwhile_is_left(tmp_path: Path):
    final = folder(tmp_path / "step-000005", "theirs")
    aside = folder(tmp_path / "aside", "ours")
    assert not _in_its_place(aside, final)
    assert (final / "manifest.json").read_text() == "theirs"
    assert not aside.exists()


def test_trouble_of_the_disk_is_raised(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        _in_its_place(tmp_path / "missing", tmp_path / "step-000005")
