"""The trainer of an agent that died: two trainers of one run must never write at the same time."""

from __future__ import annotations

import json

import psutil

from lorry.track.folder import RunFolder

_PATIENCE = 10.0
"""Seconds in which it may save and end by itself, as the system has told it to."""


def end_orphan(folder: RunFolder) -> None:
    """Waits for the trainer of an earlier agent to end, and ends it if it does not. Call it with the run's lock held."""
    trainer = _trainer(folder)
    if trainer is None:
        return
    try:
        trainer.wait(timeout=_PATIENCE)
    except psutil.TimeoutExpired:
        trainer.kill()
        trainer.wait()


def _trainer(folder: RunFolder) -> psutil.Process | None:
    """The process that the last heartbeat names, if it still is this run's trainer: numbers are used again."""
    try:
        number = int(json.loads(folder.heartbeat.read_text(encoding="utf-8"))["trainer"])
        process = psutil.Process(number)
        words = process.cmdline()
    except (OSError, ValueError, KeyError, TypeError, psutil.Error):
        return None
    return process if "lorry.trainer" in words and str(folder.path) in words else None
