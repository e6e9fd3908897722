"""Images as cameras, scanners and broken programs write them: what is said of their size is what is decoded of them."""

from __future__ import annotations

import io
import struct
import subprocess

import numpy as np
import pytest
from PIL import Image

from lorry.data.images.opened import CorruptImageError, decoded, size_of
from tiny_vision import picture


def saved(image: Image.Image, form: str, **more: object) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **more)
    return out.getvalue()


def corners(image: Image.Image) -> list[int]:
    """Brightness at the four corners, row by row."""
    grey = image.convert("L")
    right, bottom = grey.width - 1, grey.height - 1
    return [int(grey.getpixel(at)) // 60 for at in ((0, 0), (right, 0), (0, bottom), (right, bottom))]  # type: ignore[arg-type]


def lying(form: str, orientation: int) -> bytes:
    """48 x 32 pixels, each quarter of another brightness, with a note of how they lie."""
    quarters = np.kron(np.array([[0, 60], [120, 180]], dtype=np.uint8) + 20, np.ones((16, 24), dtype=np.uint8))
    exif = Image.Exif()
    exif[274] = orientation
    return saved(Image.fromarray(quarters).convert("RGB"), form, exif=exif)


UPRIGHT = {
    **{1: [0, 1, 2, 3], 2: [1, 0, 3, 2], 3: [3, 2, 1, 0], 4: [2, 3, 0, 1]},
    **{5: [0, 2, 1, 3], 6: [2, 0, 3, 1], 7: [3, 1, 2, 0], 8: [1, 3, 0, 2]},
}


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_picture_is_upright_and_as_large_as_was_said(form, orientation):
    content = lying(form, orientation)
    size = size_of(content, "images[0]")
    assert size == ((32, 48) if orientation > 4 else (48, 32))
    image = decoded(content, size)
    assert image.size == size
    assert corners(image) == UPRIGHT[orientation]


def test_broken_exif_beside_a_whole_picture_does_no_harm():
    # Orientation 6 as a short, then a tag of text whose value is a rational: what Pillow reads, and cannot write.
    entries = struct.pack("<HHIHH", 274, 3, 1, 6, 0) + struct.pack("<HHII", 700, 12, 1, 38) + struct.pack("<I", 0)
    exif = b"Exif\0\0II*\0\x08\0\0\0\x02\0" + entries + b"\xff" * 4
    for broken in (exif, exif[:20], b"Exif\0\0" + b"\xff" * 40):
        content = saved(Image.new("RGB", (48, 32)), "JPEG", exif=broken)
        size = size_of(content, "images[0]")
        assert decoded(content, size).size == size


def test_sixteen_bits_of_grey_are_scaled():
    values = np.linspace(0, 65_535, 64, dtype=np.uint16).reshape(8, 8)
    for form in ("PNG", "TIFF"):
        content = saved(Image.fromarray(values), form)
        red = np.asarray(decoded(content, size_of(content, "images[0]")))[..., 0]
        assert np.abs(red.astype(int) - values // 257).max() <= 1


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_numbers_without_a_scale_are_refused(kind):
    content = saved(Image.fromarray(np.arange(64, dtype=kind).reshape(8, 8)), "TIFF")
    with pytest.raises(CorruptImageError, match="without a scale"):
        size_of(content, "images[0]")


def test_no_program_is_started_for_an_image(monkeypatch):
    def started(*_: object, **__: object) -> None:
        raise AssertionError("a program was started")

    monkeypatch.setattr(subprocess, "Popen", started)
    monkeypatch.setattr(subprocess, "check_call", started)
    drawn = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"
    with pytest.raises(CorruptImageError, match="cannot identify"):
        size_of(drawn, "images[0]")


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_usual_kinds_are_read(form):
    assert size_of(picture(1, form=form), "images[0]") == (40, 30)
