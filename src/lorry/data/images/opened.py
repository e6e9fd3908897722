"""Opening images: the size from the header, whether all of it can be decoded, and the picture itself, upright and in RGB."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from lorry.data.bad_rows import BadRowError

if TYPE_CHECKING:
    from PIL.Image import Image, Transpose

_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
"""What is opened. Pillow knows more, and starts other programs for some of them."""
_ORIENTATION = 274
"""The EXIF tag that tells how a picture lies."""
_ON_ITS_SIDE = frozenset({5, 6, 7, 8})
_NO_SCALE = frozenset({"I", "F"})
"""Modes in which nothing says which value is white."""
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\x00", b"MM\x00*", b"RIFF", b"\x00\x00\x00")
"""How the files of the usual kinds begin."""
MOST_PIXELS = 89_478_485
"""Above this Pillow takes an image for a file made to fill the memory."""


class CorruptImageError(BadRowError):
    """An image whose bytes are not, or not wholly, those of a picture."""


def looks_like_image(content: bytes) -> bool:
    """Whether these bytes begin as an image does."""
    return content.startswith(_SIGNATURES)


def size_of(content: bytes, field: str) -> tuple[int, int]:
    """Width and height in pixels, upright, after all of it has been decoded once. Raises CorruptImageError."""
    try:
        with _opened(content) as image:
            size = image.size
            if image.width * image.height > MOST_PIXELS:
                raise CorruptImageError(
                    f"the image has {image.width:,} x {image.height:,} pixels", field=field, hint=_BOMB
                )
            if image.mode in _NO_SCALE:
                told = f"the image holds numbers without a scale (Pillow's mode {image.mode})"
                raise CorruptImageError(told, field=field, hint="save it with 8 or 16 bits a channel")
            image.draft("RGB", (1, 1))  # a JPEG is decoded at an eighth of its size then, and still to its end
            image.load()
            is_turned = _orientation(image) in _ON_ITS_SIDE
    except CorruptImageError:
        raise
    except Exception as error:  # decoders raise whatever broken bytes lead them to
        reason = str(error).partition("<_io")[0].strip() or type(error).__name__
        raise CorruptImageError(f"the image cannot be decoded: {reason}", field=field, hint=_BROKEN) from error
    return (size[1], size[0]) if is_turned else size


def decoded(content: bytes, size: tuple[int, int]) -> Image:
    """The picture, upright, in RGB and of this size."""
    from PIL.Image import Resampling

    with _opened(content) as opened:
        opened.load()
        turn = _turns().get(_orientation(opened))
        image = _in_rgb(opened)
    image = image if turn is None else image.transpose(turn)
    return image if image.size == size else image.resize(size, Resampling.BICUBIC)


@contextmanager
def _opened(content: bytes) -> Generator[Image]:
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tags that nobody needs
        with Image.open(io.BytesIO(content), formats=_formats()) as image:
            yield image


@cache
def _formats() -> tuple[str, ...]:
    from PIL import Image

    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _orientation(loaded: Image) -> int:
    """How a decoded picture still lies, from 1 (upright) to 8; Pillow turns a TIFF while it decodes it."""
    try:
        found = loaded.getexif().get(_ORIENTATION)
    except Exception:  # broken notes beside a picture that is whole
        return 1
    return found if isinstance(found, int) else 1


@cache
def _turns() -> dict[int, Transpose]:
    from PIL.Image import Transpose

    flat, across, down = Transpose.FLIP_LEFT_RIGHT, Transpose.ROTATE_180, Transpose.FLIP_TOP_BOTTOM
    sides = {5: Transpose.TRANSPOSE, 6: Transpose.ROTATE_270, 7: Transpose.TRANSVERSE, 8: Transpose.ROTATE_90}
    return {2: flat, 3: across, 4: down, **sides}


def _in_rgb(image: Image) -> Image:
    from PIL import Image

    if not image.mode.startswith("I;16"):
        return image.convert("RGB")
    # Pillow would clip such values to 255 instead of scaling them.
    values = np.asarray(image).astype(np.uint32)
    return Image.fromarray(((values * 255 + 32_767) // 65_535).astype(np.uint8)).convert("RGB")


def fitted(width: int, height: int, max_pixels: int | None) -> tuple[int, int]:
    """The size of an image that is scaled down to at most so many pixels, in its own proportions."""
    if max_pixels is None or width * height <= max_pixels:
        return width, height
    scale = math.sqrt(max_pixels / (width * height))
    return max(1, int(width * scale)), max(1, int(height * scale))


_BROKEN = "fetch or write the image again, or take the row out"
_BOMB = "scale it down, or take the row out"
