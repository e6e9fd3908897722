"""The relay as the agent holds it: a process beside the trainer that tells trackers and people, and never holds a run up."""

from __future__ import annotations

import subprocess
import sys
import time

from lorry.recipe.schema import Recipe
from lorry.track.folder import RunFolder

_PATIENCE = 75.0
"""Seconds that the relay has to tell the rest when the run has ended; it ends by itself before."""
_STARTS = 5
"""How often it is started again before the agent lets it be; `lorry track` delivers the rest."""
_PAUSE = 60.0
"""Seconds between two starts."""


class Relayed:
    """Keeps a relay running for as long as events are written. Where nobody is to be told, there is none."""

    def __init__(self, folder: RunFolder, recipe: Recipe) -> None:
        self._folder = folder
        self._starts = _STARTS if recipe.track.tells_somebody else 0
        self._process: subprocess.Popen[bytes] | None = None
        self._started = float("-inf")

    def tend(self) -> None:
        """Starts the relay where it does not run."""
        is_gone = self._process is None or self._process.poll() is not None
        if is_gone and self._starts and time.monotonic() - self._started >= _PAUSE:
            self._starts -= 1
            self._started = time.monotonic()
            self._process = self._start()

    def close(self) -> None:
        """Lets it tell the rest; one that does not end is ended."""
        if self._process is None:
            return
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _start(self) -> subprocess.Popen[bytes] | None:
        words = [sys.executable, "-P", "-m", "lorry.track.relay", str(self._folder.path)]
        try:
            return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        except OSError as error:
            sys.stderr.write(f"the relay to trackers and alerts could not be started: {error}\n")
            return None
