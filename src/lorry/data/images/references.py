"""What rows name as images: a path, a URL, base64 text, or bytes; and how each becomes bytes."""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote, urlsplit

from lorry.data.bad_rows import BadRowError
from lorry.data.images.fetching import MOST_BYTES, fetched
from lorry.data.images.opened import CorruptImageError, looks_like_image
from lorry.data.images.sources import FAILED, Seen, state_of

_INLINE = re.compile(r"data:[^,;]*(;[^,;]*)*,", re.IGNORECASE)
_LONGEST_PATH = 4095
_NAMES = ("bytes", "image", "image_url", "url", "path", "base64", "data", "file_name")
"""Keys of an object that stands for an image, as data sets and chat APIs write it; bytes come before the path beside them."""
_URLS = ("http://", "https://")


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
    """Where the images of some rows are looked for."""

    folders: tuple[Path, ...]
    """Relative paths start from the first of these in which there is such a file."""
    are_remote: bool = False
    """Whether the rows come from elsewhere: of this machine's files they reach those within `folders` alone."""
    seen: Seen = field(default_factory=Seen)
    """Is told which files were looked for, and how they were."""

    def read(self, wanted: Reference) -> bytes:
        """The bytes of an image. Raises BadRowError, CorruptImageError for bad bytes."""
        if wanted.content is not None:
            return wanted.content
        text = wanted.text
        if inline := _INLINE.match(text):
            return _unpacked(text[inline.end() :], wanted.field)
        if is_url(text):
            return fetched(text, wanted.field, public_only=self.are_remote)
        tried: Seen = {}
        found = self._file(text, tried)
        content = None if found else _as_base64(text)
        if content is not None:
            return content
        for name, state in tried.items():
            self.seen.setdefault(name, state)
        if found is None:
            raise BadRowError(f"there is no image `{text[:100]}`", field=wanted.field, hint=self._hint())
        return _content(found, wanted.field)

    def failed(self, wanted: Reference) -> None:
        """Notes that an image could not be had, so that it is asked for again."""
        if is_url(wanted.text):
            self.seen[wanted.text] = FAILED

    def _file(self, text: str, tried: Seen) -> Path | None:
        """The file of this name; `tried` is told of it, and of those that were looked for before it."""
        if len(text) > _LONGEST_PATH or "\n" in text or "\0" in text:
            return None
        try:
            path = Path(unquote(urlsplit(text).path) if text.startswith("file://") else text).expanduser()
            for folder in self.folders:
                file = folder / path
                if self.are_remote and not _is_within(file, folder):
                    continue
                tried[str(file)] = state_of(file)
                if file.is_file():
                    return file
        except (OSError, ValueError, RuntimeError):  # a name that no file, or no home, can have
            return None
        return None

    def _hint(self) -> str:
        if self.are_remote and not self.folders:
            return "rows of data sets from elsewhere hold bytes, base64 or URLs; `data.image_folder` names a folder for paths"
        looked = " and ".join(f"`{folder}`" for folder in self.folders) or "no folder"
        return f"looked in {looked}; name another folder with `data.image_folder`"


def is_url(text: str) -> bool:
    """Whether a row's text names an image in the net."""
    return text.startswith(_URLS)


def _is_within(file: Path, folder: Path) -> bool:
    return file.resolve().is_relative_to(folder.resolve())


def _content(file: Path, field: str) -> bytes:
    try:
        with file.open("rb") as opened:
            if os.fstat(opened.fileno()).st_size > MOST_BYTES:
                told = f"{file} has more than {MOST_BYTES // 2**20} MiB"
                raise BadRowError(told, field=field, hint="scale the image down, or take the row out")
            return opened.read()
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


_FORMS = "an image is a path, a URL, base64 text, or bytes"
