"""Who outlives whom: the trainer of an agent that died, for two of one run must never write, and what a trainer has left."""

from __future__ import annotations

import json
import os
from contextlib import suppress

import psutil

from lorry.track.folder import RunFolder
from lorry.trainer.channel import AGENT

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


def end_left(trainer: psutil.Process) -> bool:
    """Kills what a trainer of this process has started and left, such as an engine that holds a GPU's memory; whether any was.

    What it started has its environment, whatever parent and session it has by now. Call it when the trainer has ended.
    """
    began, found = trainer.create_time(), False
    for one in psutil.process_iter(["environ"]):
        environment = one.info["environ"] or {}
        if environment.get(AGENT) != str(os.getpid()) or one.pid in (trainer.pid, os.getpid()):
            continue
        with suppress(psutil.Error):
            if one.create_time() >= began:  # an earlier agent may have had this number
                one.kill()
                found = True
    return found


def _trainer(folder: RunFolder) -> psutil.Process | None:
    """The process that the last heartbeat names, if it still is this run's trainer: numbers are used again."""
    try:
        number = int(json.loads(folder.heartbeat.read_text(encoding="utf-8"))["trainer"])
        process = psutil.Process(number)
        words = process.cmdline()
    except (OSError, ValueError, KeyError, TypeError, psutil.Error):
        return None
    return process if "lorry.trainer" in words and str(folder.path) in words else None
