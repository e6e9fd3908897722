"""What may come from a machine: names, sizes and kinds of files, and what may be loaded of them. Nothing there is trusted."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any, cast

from lorry.compute.outcomes import Outcome, OutcomeError

_MOST_NAME, _MOST_WORD = 1000, 200
"""Bytes of a path, and of one name in it: with `.`, `.part` and the folder before it, it must still be a name."""
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
"""Names that are devices on Windows."""
_MOST_JSON = 256 << 20
_MOST_HEADER = 100 << 20
"""As the safetensors library has it."""
_MOST_AXES = 64
_BITS = {
    **{"BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64},
    **{"F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64},
    **{"F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8},
    **{"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6},
}


@dataclass(frozen=True)
class Rules:
    """Which files are wanted of a machine. It is asked for no others, and one that tells of others is not what it should be.

    Patterns must not match what is a link there, such as `checkpoints/best`: links are refused, not passed over.
    """

    allowed: Mapping[str, int]
    """The most bytes of a file whose whole name below the root the regular expression matches; the first that does counts."""
    files: int = 10_000
    total: int = 1 << 40
    """Bytes of all files together."""
    left_free: int = 0
    """Bytes of this computer's disk that they leave free, or they do not come."""

    def most(self, name: str) -> int | None:
        """Bytes that a file of this name may have; None for none such."""
        return next((most for pattern, most in self._patterns if pattern.fullmatch(name)), None)

    @cached_property
    def _patterns(self) -> list[tuple[re.Pattern[str], int]]:
        return [(re.compile(pattern), most) for pattern, most in self.allowed.items()]


@dataclass(frozen=True)
class RemoteFile:
    """A file on a machine, as the machine says."""

    name: str
    """Relative to the root that was asked for, with `/`."""
    size: int
    sha256: str | None
    """None where it would have to be read for that."""
    mtime: float
    """Seconds since 1970."""
    inode: int = 0


def refused(why: str) -> OutcomeError:
    """The error for what a machine must not send."""
    hint = "nothing of it was kept; look at what runs on that machine before you use it again"
    return OutcomeError(Outcome.UNTRUSTED, f"the machine sent what it must not send: {why}", hint=hint)


def shown(text: object) -> str:
    """What a machine said, fit for a terminal: short, on one line, without control characters."""
    found = text.decode(errors="replace") if isinstance(text, bytes) else str(text)
    clean = "".join(sign if sign.isprintable() else " " for sign in found[:4000])
    return " ".join(clean.split())[:300]


def why_not(name: object) -> str:
    """What is wrong with a relative path, empty for nothing: what is said here holds on every platform."""
    if not isinstance(name, str) or not name:
        return "a file without a name"
    words = name.split("/")
    if not name.isprintable() or "\\" in name or ":" in name:
        return f"a name with forbidden characters ({shown(ascii(name))})"
    if name.startswith("/") or any(word in ("", ".", "..") for word in words):
        return f"a name that leads elsewhere ({shown(name)})"
    if len(name.encode()) > _MOST_NAME or any(len(word.encode()) > _MOST_WORD for word in words):
        return f"a name that is too long ({shown(name[:40])}...)"
    if any(word.endswith((".", " ")) or _RESERVED.fullmatch(word) for word in words) or _is_part(words[-1]):
        return f"a name with a meaning of its own ({shown(name)})"
    return ""


class Accepted:
    """The files of one listing, each checked against the rules as it comes. `add` raises OutcomeError UNTRUSTED."""

    def __init__(self, rules: Rules) -> None:
        self.files: list[RemoteFile] = []
        self._rules = rules
        self._total = 0
        self._names: set[str] = set()
        self._folders: set[str] = set()

    def add(self, entry: object) -> None:
        """Takes what a machine says of one file: name, size, time in nanoseconds, kind, hash, inode."""
        name, size, mtime, kind, sha256, inode = _typed(entry)
        if why := why_not(name):
            raise refused(why)
        most = self._rules.most(name)
        if most is None:
            raise refused(f"a file that nobody asked for ({shown(name)})")
        if kind != "file":
            raise refused(f"{shown(name)} is no file ({shown(kind)})")
        self._check_alone(name)
        self._total += size
        if not 0 <= size <= most:
            raise refused(f"{shown(name)} has {size:,} bytes, and {most:,} are the most")
        if self._total > self._rules.total:
            raise refused(f"more than {self._rules.total:,} bytes in all")
        self.files.append(RemoteFile(name, size, sha256, mtime / 1e9, inode))
        if len(self.files) > self._rules.files:
            raise refused(f"more than {self._rules.files:,} files")

    def _check_alone(self, name: str) -> None:
        """Refuses two names that are one to some file system, and a file where another one has its folder."""
        folded = unicodedata.normalize("NFC", name).casefold()
        folders = {folded[: match.start()] for match in re.finditer("/", folded)}
        if folded in self._names or folded in self._folders or folders & self._names:
            raise refused(f"two files of one name ({shown(name)})")
        self._names.add(folded)
        self._folders |= folders


def safe_to_load(path: Path) -> None:
    """Returns where a file is what its name says, safetensors or JSON, so that loading it runs no code.

    Reads only a safetensors file's header; JSON up to 256 MiB. Raises OutcomeError UNTRUSTED for all else.
    """
    if path.is_symlink() or not path.is_file():
        raise refused(f"{path.name} is no file")
    if path.suffix == ".safetensors":
        _check_safetensors(path)
    elif path.suffix == ".json":
        if path.stat().st_size > _MOST_JSON:
            raise refused(f"{path.name} is larger than JSON ever is")
        _json(path.read_bytes(), path.name)
    else:
        raise refused(f"{path.name} is neither safetensors nor JSON, and nothing else is loaded")


def _check_safetensors(path: Path) -> None:
    """The format is eight bytes of length, so much JSON, and the tensors without gaps (huggingface.co/docs/safetensors)."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or not 2 <= length <= min(_MOST_HEADER, size - 8):
            raise refused(f"{path.name} is no safetensors file")
        header = _json(file.read(length), path.name)
    if not isinstance(header, dict):
        raise refused(f"{path.name} is no safetensors file")
    header.pop("__metadata__", None)
    ranges = sorted(_range(tensor, path.name) for tensor in header.values())
    end = 0
    for start, stop in ranges:
        if start != end:
            raise refused(f"{path.name} has tensors that overlap or leave gaps")
        end = stop
    if end != size - 8 - length:
        raise refused(f"{path.name} is not as long as its tensors")


def _range(tensor: Any, name: str) -> tuple[int, int]:
    """Where a tensor's bytes lie: as many as its shape and type make."""
    try:
        (start, stop), shape = tensor["data_offsets"], list(tensor["shape"])
        bits = _BITS[tensor["dtype"]]
    except (KeyError, TypeError, ValueError) as error:
        raise refused(f"{name} describes a tensor that cannot be") from error
    are_counts = all(type(one) is int and 0 <= one < 1 << 63 for one in (start, stop, *shape))
    if len(shape) > _MOST_AXES or not are_counts or 8 * (stop - start) != bits * prod(shape):
        raise refused(f"{name} describes a tensor that cannot be")
    return start, stop


def _json(data: bytes, name: str) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise refused(f"{name} is not what its name says") from error


def _typed(entry: object) -> tuple[str, int, int, str, str | None, int]:
    kinds = (str, int, int, str, (str, type(None)), int)
    if not isinstance(entry, list) or len(cast("list[Any]", entry)) != len(kinds):
        raise refused("a list of files that is none")
    found = cast("list[Any]", entry)
    if any(not isinstance(one, kind) or isinstance(one, bool) for one, kind in zip(found, kinds, strict=True)):
        raise refused("a list of files that is none")
    name, size, mtime, kind, sha256, inode = found
    if max(abs(size), abs(mtime), abs(inode)) >= 1 << 64 or (
        sha256 is not None and not re.fullmatch("[0-9a-f]{64}", sha256)
    ):
        raise refused("a list of files that is none")
    return name, size, mtime, kind, sha256, inode


def _is_part(word: str) -> bool:
    return word.startswith(".") and word.endswith(".part")
