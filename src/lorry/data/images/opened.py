"""Opening images: the size from the header, whether all of it can be decoded, and the picture itself, upright and in RGB."""

from __future__ import annotations

import io
import math
import warnings
from typing import TYPE_CHECKING

from lorry.data.bad_rows import BadRowError

if TYPE_CHECKING:
    from PIL.Image import Image

_TURNED = frozenset({5, 6, 7, 8})
"""Values of the EXIF tag 274 by which a picture lies on its side."""
_ORIENTATION = 274
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
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.width * image.height > MOST_PIXELS:
                raise CorruptImageError(
                    f"the image has {image.width:,} x {image.height:,} pixels", field=field, hint=_BOMB
                )
            is_turned = image.getexif().get(_ORIENTATION) in _TURNED
            width, height = image.size
            image.draft("RGB", (1, 1))  # a JPEG is decoded at an eighth of its size then, and still to its end
            image.load()
    except CorruptImageError:
        raise
    except Exception as error:  # decoders raise whatever broken bytes lead them to
        reason = str(error).partition("<_io")[0].strip() or type(error).__name__
        raise CorruptImageError(f"the image cannot be decoded: {reason}", field=field, hint=_BROKEN) from error
    return (height, width) if is_turned else (width, height)


def decoded(content: bytes, size: tuple[int, int]) -> Image:
    """The picture, upright, in RGB and of this size."""
    from PIL import Image, ImageOps

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tags that nobody needs
        image = ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB")
    return image if image.size == size else image.resize(size, Image.Resampling.BICUBIC)


def fitted(width: int, height: int, max_pixels: int | None) -> tuple[int, int]:
    """The size of an image that is scaled down to at most so many pixels, in its own proportions."""
    if max_pixels is None or width * height <= max_pixels:
        return width, height
    scale = math.sqrt(max_pixels / (width * height))
    return max(1, int(width * scale)), max(1, int(height * scale))


_BROKEN = "fetch or write the image again, or take the row out"
_BOMB = "scale it down, or take the row out"
