"""Taking images in: what rows from elsewhere may name, how large a file may be, and how much is held at once."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest

from lorry.data.bad_rows import BadRowError
from lorry.data.images import taking
from lorry.data.images.picture import AlbumWriter, Picture
from lorry.data.images.references import MOST_BYTES, Reference
from lorry.data.images.taking import Taking
from lorry.data.rows import Origin, Row
from tiny_vision import picture


def row(*named: str, file: str = "rows.jsonl") -> Row:
    return Row(Origin(file, 1), messages=[], images=tuple(Reference("images[0]", text=text) for text in named))


def take(tmp_path: Path, wanted: Row, folder: Path | None = None) -> Row | BadRowError:
    (taken,) = Taking(AlbumWriter(tmp_path), tmp_path, folder).take([wanted])
    return taken


@pytest.fixture
def images(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "one.png").write_bytes(picture(1))
    (tmp_path / "private.png").write_bytes(picture(2))
    return tmp_path / "images"


def test_rows_from_elsewhere_name_no_file_of_this_machine(tmp_path, images):
    for named in ("images/one.png", str(images / "one.png"), f"file://{images}/one.png"):
        assert isinstance(take(tmp_path, row(named)), Row)
        found = take(tmp_path, row(named, file="hub:who/what/rows.jsonl"))
        assert isinstance(found, BadRowError)
        assert "there is no image" in found.message
    inline = base64.b64encode(picture(1)).decode()
    for named in (inline, f"data:image/png;base64,{inline}"):
        assert isinstance(take(tmp_path, row(named, file="hub:who/what/rows.jsonl")), Row)


def test_rows_from_elsewhere_stay_within_the_folder_that_the_person_names(tmp_path, images):
    (images / "out.png").symlink_to(tmp_path / "private.png")
    for named, is_read in {"one.png": True, "../private.png": False, "out.png": False, "/etc/hostname": False}.items():
        found = take(tmp_path, row(named, file="hub:who/what/rows.jsonl"), images)
        assert isinstance(found, Row) == is_read


def test_file_larger_than_any_image_is_not_read(tmp_path):
    with (tmp_path / "large.png").open("wb") as out:
        os.truncate(out.fileno(), MOST_BYTES + 1)
    found = take(tmp_path, row("large.png"))
    assert isinstance(found, BadRowError)
    assert "more than 64 MiB" in found.message


def test_few_images_are_held_at_once(tmp_path, monkeypatch):
    begun, held = [0], [0]

    def sized(content: bytes, field: str) -> tuple[int, int]:
        begun[0] += 1
        return 4, 4

    class Counting(AlbumWriter):
        def add(self, content: bytes, width: int, height: int) -> Picture:
            held.append(begun[0] - len(held))
            return super().add(content, width, height)

    monkeypatch.setattr(taking, "size_of", sized)
    (tmp_path / "one.png").write_bytes(picture(1))
    rows = [row("one.png")] * 200
    taken = Taking(Counting(tmp_path), tmp_path).take(rows)
    assert all(isinstance(one, Row) for one in taken)
    assert len(held) == 201
    assert max(held) <= 2 * taking._THREADS
