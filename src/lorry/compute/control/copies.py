"""Where checkpoints are kept beside the machine that makes them: at home, on the network volume, or at a URL that fsspec knows.

Home is what the next attempt starts from. With `volume` that is the volume itself, and only the newest checkpoint comes home in
the end. A URL is one more place: what has come home is uploaded there as well, and never deleted there.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorry.errors import InputError, LorryError, MissingExtraError
from lorry.recipe.schema import ComputeSettings
from lorry.secrets.masking import mask
from lorry.trainer.checkpoint import MANIFEST, steps
from lorry.units import duration

if TYPE_CHECKING:
    from lorry.compute.control.at_home import RunAtHome

HOME, VOLUME = "home", "volume"
_URL = re.compile(r"[a-z][a-z0-9+.-]*://\S+", re.ASCII)
_PLACE = "compute.copies"
_PROBE = ".lorry-can-write-here"
_TRYING = 60.0
"""Seconds in which a place must take a small file."""
_AT_THE_END = 3600.0
"""Seconds for what is left when the run has ended."""


def refuse_unusable(compute: ComputeSettings) -> None:
    """Raises InputError where copies could not be kept as the recipe says; a place must take a small file now."""
    if compute.copies == HOME:
        return
    if compute.copies == VOLUME:
        if compute.volume is None:
            hint = "name one in `compute.volume`; `lorry volume create` makes one"
            raise InputError("copies are to be kept on a volume, and there is none", place=_PLACE, hint=hint)
        return
    if not _URL.fullmatch(compute.copies):
        hint = "write `home`, `volume`, or a URL: `s3://bucket/folder`"
        raise InputError(f"`{mask(compute.copies)}` is no place for copies", place=_PLACE, hint=hint)
    asyncio.run(_tried(Elsewhere(compute.copies, "")))


async def copy_on(home: RunAtHome, step: int) -> None:
    """Uploads a checkpoint that is home to where its recipe wants copies besides. What fails there harms nothing here."""
    if home.recipe.compute.copies not in (HOME, VOLUME):
        await _copied_on(home, f"checkpoints/step-{step:06d}")


async def copy_all_on(home: RunAtHome) -> None:
    """The same for everything that is home in the end, the adapter among it, when the machine costs nothing any more."""
    if home.recipe.compute.copies in (HOME, VOLUME):
        return
    names = [f"checkpoints/step-{step:06d}" for step in reversed(steps(home.folder.checkpoints))]
    names += ["adapter"] if home.folder.adapter.is_dir() else []
    try:
        async with asyncio.timeout(_AT_THE_END):
            for name in names:
                if not await _copied_on(home, name):
                    return
    except TimeoutError:
        home.tell("warning", message=f"not everything was copied on within {duration(_AT_THE_END)}; it is all home")


async def _copied_on(home: RunAtHome, name: str) -> bool:
    """Uploads a folder of the run, unless it is there already; whether it is there."""
    url = home.recipe.compute.copies
    try:
        sent = await asyncio.to_thread(lambda: Elsewhere(url, home.id).put(home.folder.path / name, name))
    except LorryError as error:
        home.tell("warning", message=f"{name} is home, and not copied on: {error.message}")
        return False
    if sent:
        home.tell("copied", path=name, to=mask(url), bytes=sent)
    return True


class Elsewhere:
    """A run's folder at a URL. Methods block; credentials come from the environment, as fsspec's own plugins read them."""

    def __init__(self, url: str, run_id: str) -> None:
        self._system, root = _opened(url)
        self._root = f"{root.rstrip('/')}/{run_id}".rstrip("/")

    def put(self, folder: Path, name: str) -> int:
        """Uploads a folder as `name`, the manifest last; bytes that were sent, 0 where it is there already.

        Raises LorryError where the place does not take it.
        """
        there = f"{self._root}/{name}"
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        files.sort(key=lambda path: path.name == MANIFEST)
        try:
            if self._holds(f"{there}/{MANIFEST}", folder / MANIFEST):
                return 0
            for path in files:
                target = f"{there}/{path.relative_to(folder).as_posix()}"
                self._system.makedirs(target.rpartition("/")[0], exist_ok=True)
                self._system.put_file(str(path), target)
        except Exception as error:  # each plugin has errors of its own
            raise _refused(error) from error
        return sum(path.stat().st_size for path in files)

    def try_out(self) -> None:
        """Writes a small file and takes it away again. Raises LorryError where that cannot be done."""
        probe = f"{self._root}/{_PROBE}"
        try:
            self._system.makedirs(self._root, exist_ok=True)
            self._system.pipe_file(probe, b"lorry\n")
        except Exception as error:  # each plugin has errors of its own
            raise _refused(error) from error
        with suppress(Exception):  # who may only write may not delete
            self._system.rm_file(probe)

    def _holds(self, there: str, here: Path) -> bool:
        return here.is_file() and self._system.exists(there) and self._system.cat_file(there) == here.read_bytes()


async def _tried(place: Elsewhere) -> None:
    try:
        async with asyncio.timeout(_TRYING):
            await asyncio.to_thread(place.try_out)
    except TimeoutError:
        told = f"the place for copies has not answered within {_TRYING:.0f} s"
        raise InputError(told, place=_PLACE, hint="check its address, and that this computer reaches it") from None
    except LorryError as error:
        raise InputError(error.message, place=_PLACE, hint=error.hint) from error


def _opened(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it."""
    try:
        core: Any = import_module("fsspec.core")
    except ModuleNotFoundError as error:
        hint = "install it: `pip install fsspec`, and the plugin for the place (`s3fs`, `gcsfs`, `adlfs`)"
        raise MissingExtraError("copies at a URL need `fsspec`, which is not installed", hint=hint) from error
    try:
        system, path = core.url_to_fs(url)
    except ImportError as error:
        hint = "install what it names, beside lorry: `pip install s3fs`, `gcsfs`, `adlfs`"
        raise MissingExtraError(f"copies at `{url.partition('://')[0]}://` need more: {error}", hint=hint) from error
    except ValueError as error:
        raise InputError(f"{mask(str(error))}", place=_PLACE, hint="write `home`, `volume`, or a URL") from error
    return system, str(path)


def _refused(error: Exception) -> LorryError:
    told = mask(str(error)) or type(error).__name__
    hint = "check the address in `compute.copies`, and the credentials in the environment"
    return LorryError(f"the place for copies does not take them: {told[:300]}", hint=hint)
