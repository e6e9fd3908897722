"""What rows name as images: a path, a URL, base64 text, or bytes; and how each becomes bytes."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote, urlsplit

from lorry.data.bad_rows import BadRowError
from lorry.data.images.opened import CorruptImageError, looks_like_image

_INLINE = re.compile(r"data:[^,;]*(;[^,;]*)*,", re.IGNORECASE)
_LONGEST_PATH = 4095
_NAMES = ("bytes", "image", "image_url", "url", "path", "base64", "data", "file_name")
"""Keys of an object that stands for an image, as data sets and chat APIs write it; bytes come before the path beside them."""
MOST_BYTES = 64 * 2**20
"""Of an image that is fetched; a larger file is none that a model is shown."""
_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Reference:
    """One image as a row names it."""

    field: str
    """Where in the row, for errors."""
    content: bytes | None = None
    text: str = ""
    """A path, a URL or base64 text, where there are no bytes."""

    @property
    def weight(self) -> int:
        """Characters or bytes that it takes in memory."""
        return len(self.content or self.text)


def reference(value: Any, field: str) -> Reference:
    """What a row says of one image. Raises BadRowError for what cannot be one."""
    if isinstance(value, bytes | bytearray | memoryview):
        return Reference(field, content=bytes(value))
    if isinstance(value, str) and value.strip():
        return Reference(field, text=value.strip())
    if isinstance(value, Mapping):
        held = cast("Mapping[str, Any]", value)
        for name in _NAMES:
            if held.get(name) is not None:
                return reference(held[name], field)
    raise BadRowError("names no image", field=field, hint=_FORMS)


@dataclass(frozen=True)
class Sources:
    """Where images are looked for."""

    folders: tuple[Path, ...]
    """Relative paths start from the first of these in which there is such a file."""

    def read(self, wanted: Reference) -> tuple[bytes, Path | None]:
        """The bytes of an image, and the file that they were read from. Raises BadRowError, CorruptImageError for bad bytes."""
        if wanted.content is not None:
            return wanted.content, None
        text = wanted.text
        if inline := _INLINE.match(text):
            return _unpacked(text[inline.end() :], wanted.field), None
        if text.startswith(("http://", "https://")):
            return _fetched(text, wanted.field), None
        found = self._file(text)
        if found is not None:
            return _content(found, wanted.field), found
        content = _as_base64(text)
        if content is not None:
            return content, None
        raise BadRowError(f"there is no image `{text[:100]}`", field=wanted.field, hint=self._hint())

    def _file(self, text: str) -> Path | None:
        if len(text) > _LONGEST_PATH or "\n" in text or "\0" in text:
            return None
        path = Path(unquote(urlsplit(text).path) if text.startswith("file://") else text).expanduser()
        try:
            return next((folder / path for folder in self.folders if (folder / path).is_file()), None)
        except OSError:  # a name that no file can have
            return None

    def _hint(self) -> str:
        looked = " and ".join(f"`{folder}`" for folder in self.folders) or "no folder"
        return f"looked in {looked}; name another folder with `data.image_folder`"


def _content(file: Path, field: str) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise BadRowError(
            f"{file} cannot be read: {error.strerror}", field=field, hint="check its permissions"
        ) from error


def _unpacked(text: str, field: str) -> bytes:
    try:
        return base64.b64decode(re.sub(r"\s+", "", text), validate=True)
    except (binascii.Error, ValueError) as error:
        raise CorruptImageError(f"the image is no base64: {error}", field=field, hint="write it again") from error


def _as_base64(text: str) -> bytes | None:
    """The bytes of bare base64 text; None where it is no image. A JPEG's begins with `/9j/`, as a path may."""
    try:
        found = base64.b64decode(re.sub(r"\s+", "", text), validate=True)
    except (binascii.Error, ValueError):
        return None
    return found if looks_like_image(found) else None


def _fetched(url: str, field: str) -> bytes:
    import httpx

    try:
        with httpx.stream("GET", url, follow_redirects=True, timeout=_SECONDS) as answer:
            answer.raise_for_status()
            parts, size = list[bytes](), 0
            for part in answer.iter_bytes():
                parts.append(part)
                size += len(part)
                if size > MOST_BYTES:
                    raise BadRowError(f"{url[:100]} has more than 64 MiB", field=field, hint="name a smaller image")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        code = getattr(getattr(error, "response", None), "status_code", None)
        why = f"the server answers {code}" if code else str(error) or type(error).__name__
        hint = "put the image beside the rows, or take the row out"
        raise BadRowError(f"{url[:100]} cannot be fetched: {why}", field=field, hint=hint) from error
    return b"".join(parts)


_FORMS = "an image is a path, a URL, base64 text, or bytes"
