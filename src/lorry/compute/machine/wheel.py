"""lorry's own wheel, made from whatever lorry is running: an installed one or a checkout with changes in it."""

from __future__ import annotations

import atexit
import base64
import hashlib
import os
import shutil
import tempfile
import zipfile
from functools import cache
from importlib import metadata
from importlib.metadata import Distribution
from pathlib import Path
from threading import Lock

import lorry
from lorry.errors import InputError

_WHEEL = "Wheel-Version: 1.0\nGenerator: lorry\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_CONTENT_DIGITS = 12


def build(folder: Path) -> Path:
    """Writes the wheel of the running lorry into a folder, and gives its path.

    Same content, same bytes: no times, no compression. The version's local part is a hash of the content
    (`0.1.0+c3f0a9b1d2e4f`), so that a changed checkout is another version. Raises InputError where lorry runs from a folder
    that was never installed: its name and its requirements are not known then.
    """
    contents = _package() | _about()
    base = installed().version.partition("+")[0]
    version = f"{base}+c{_digest(contents)}"
    name = f"lorry-{version}.dist-info"
    found = {path.replace("*", name, 1): content for path, content in contents.items()}
    found[f"{name}/METADATA"] = found[f"{name}/METADATA"].replace(
        b"\nVersion: *\n", f"\nVersion: {version}\n".encode(), 1
    )
    found[f"{name}/RECORD"] = _record(found, f"{name}/RECORD")
    path = folder / f"lorry-{version}-py3-none-any.whl"
    folder.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    with zipfile.ZipFile(part, "w") as wheel:
        for member, content in found.items():
            wheel.writestr(_entry(member), content)
    part.replace(path)
    return path


_BUILDING = Lock()


def own() -> Path:
    """The running lorry's wheel, built once a process, however many threads ask; it is gone when the process is."""
    with _BUILDING:
        return _own()


@cache
def _own() -> Path:
    folder = tempfile.mkdtemp(prefix="lorry-wheel-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return build(Path(folder))


def version_of(wheel: Path) -> str:
    """The version in a wheel's file name."""
    return wheel.name.split("-")[1]


def installed() -> Distribution:
    """What is known of the running lorry as a package. Raises InputError where it was never installed."""
    try:
        return metadata.distribution("lorry")
    except metadata.PackageNotFoundError:
        hint = "install it, so that what it needs is known: `pip install --editable .`"
        raise InputError("this lorry was never installed, so it cannot be sent to a machine", hint=hint) from None


def _package() -> dict[str, bytes]:
    """Every file of the package, sorted by name."""
    top = Path(str(lorry.__file__)).parent
    found = {path.relative_to(top): path for path in top.rglob("*") if path.is_file()}
    names = {f"lorry/{name.as_posix()}": path for name, path in found.items() if _belongs(name)}
    return {name: names[name].read_bytes() for name in sorted(names)}


def _belongs(path: Path) -> bool:
    """Not so what Python, an editor or a checker leaves behind."""
    return path.suffix != ".pyc" and not any(part == "__pycache__" or part.startswith(".") for part in path.parts)


def _about() -> dict[str, bytes]:
    """What tells about the package, below `*`, with the version left open: it is a hash over this too."""
    own = installed()
    metadata_text = own.read_text("METADATA") or ""
    version = f"\nVersion: {own.version}\n"
    found = {
        "*/METADATA": metadata_text.replace(version, "\nVersion: *\n", 1).encode(),
        "*/WHEEL": _WHEEL.encode(),
        "*/entry_points.txt": (own.read_text("entry_points.txt") or "").encode(),
    }
    for name in own.metadata.get_all("License-File") or []:
        text = own.read_text(f"licenses/{name}")
        if text is not None:
            found[f"*/licenses/{name}"] = text.encode()
    return found


def _digest(contents: dict[str, bytes]) -> str:
    whole = hashlib.sha256()
    for path, content in contents.items():
        whole.update(f"{path}\0{len(content)}\0".encode() + content)
    return whole.hexdigest()[:_CONTENT_DIGITS]


def _record(found: dict[str, bytes], own: str) -> bytes:
    """The list of all files with their hashes, itself without one, as the specification of wheels has it."""
    lines = [f"{path},sha256={_urlsafe(content)},{len(content)}" for path, content in found.items()]
    return ("\n".join([*lines, f"{own},,"]) + "\n").encode()


def _urlsafe(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def _entry(member: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(member, date_time=(1980, 1, 1, 0, 0, 0))
    entry.external_attr = 0o100644 << 16
    entry.create_system = 3
    return entry
