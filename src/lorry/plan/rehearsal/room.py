"""A place that a rehearsal has for itself, which is gone afterwards however it ends."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

import psutil

from lorry.errors import InputError

_NAME = "lorry-rehearsal-"
_ENDING = (signal.SIGTERM, signal.SIGHUP) if hasattr(signal, "SIGHUP") else (signal.SIGTERM,)
_LEFT_AFTER = 3600
"""Seconds after which a room whose owner cannot be seen is taken for left: in other containers there are owners unseen."""


@dataclass(frozen=True)
class Room:
    """The folders of one rehearsal."""

    path: Path

    @property
    def home(self) -> Path:
        """A home for lorry, for whatever is run here."""
        return self.path / "home"

    @property
    def scratch(self) -> Path:
        """The folder for temporary files."""
        return self.path / "tmp"

    @property
    def task(self) -> Path:
        """What the worker is to do."""
        return self.path / "task.json"

    @property
    def rows(self) -> Path:
        """The chosen rows."""
        return self.path / "rows"

    @property
    def source(self) -> Path:
        """config.json and tokenizer files of the true model, where they come from several places."""
        return self.path / "source"

    @property
    def model(self) -> Path:
        """The small copy."""
        return self.path / "model"

    @property
    def run(self) -> Path:
        """The run's folder."""
        return self.home / "runs" / "rehearsal"

    @property
    def cut(self) -> Path:
        """The same run, cut off after its first step."""
        return self.path / "cut" / "rehearsal"

    @property
    def log(self) -> Path:
        """What the worker prints."""
        return self.path / "worker.log"


@contextmanager
def room() -> Generator[Room]:
    """A new room, empty; what earlier rehearsals left that were killed is cleared away. Raises InputError without a place.

    Within, SIGTERM and SIGHUP end this process in order, so that nothing stays.
    """
    with _handled_by(_leave, *_ENDING):
        try:
            parent = Path(tempfile.gettempdir())
            _clear_left(parent)
            path = Path(tempfile.mkdtemp(prefix=f"{_NAME}{os.getpid()}-", dir=parent))
        except OSError as error:
            told = f"there is no place for a rehearsal: {error.strerror or error}"
            raise InputError(told, hint="set TMPDIR to a folder on a disk with a gigabyte of room") from error
        made = Room(path)
        try:
            for folder in (made.home, made.scratch):
                folder.mkdir()
            yield made
        finally:
            _remove(path)


def _remove(path: Path) -> None:
    """What was just killed may write a last file meanwhile."""
    for _ in range(20):
        shutil.rmtree(path, ignore_errors=True)
        if not path.exists():
            return
        time.sleep(0.1)


def _clear_left(parent: Path) -> None:
    for left in parent.glob(f"{_NAME}*"):
        owner = left.name.removeprefix(_NAME).partition("-")[0]
        is_old = time.time() - left.stat().st_mtime > _LEFT_AFTER
        if owner.isdigit() and is_old and not psutil.pid_exists(int(owner)):
            shutil.rmtree(left, ignore_errors=True)


@contextmanager
def signals_held() -> Generator[None]:
    """Within, whatever is to end this process waits; it acts when the block is left."""
    came: list[int] = []
    with _handled_by(lambda number, _frame: came.append(number), signal.SIGINT, *_ENDING):
        yield
    for number in came[:1]:
        signal.raise_signal(number)


@contextmanager
def _handled_by(handle: Callable[[int, FrameType | None], object], *numbers: int) -> Generator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
