"""The relay: a light process beside a run that tells trackers and people of its events, and never holds the run up.

    python -m lorry.track.relay RUN_FOLDER [SECONDS]

Whoever starts it keeps a pipe to its stdin open for as long as events are written. It ends when that has ended and
everything is delivered, or so many seconds later, 60 by default. It says its troubles on stderr and in
`track/<name>.json`, and leaves with 0 if everyone was told everything, 1 if not, 2 if there is no such run, 3 if another
relay works on it.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event as Signal
from threading import Thread

from filelock import FileLock, Timeout

from lorry.errors import LorryError, RefusedError
from lorry.secrets.masking import mask
from lorry.track import events
from lorry.track.delivery import Delivery, Pace
from lorry.track.folder import RunFolder
from lorry.track.position import Position
from lorry.track.targets import facts_of, settings_of, targets


@dataclass(frozen=True)
class Patience:
    """Seconds of waiting."""

    after_end: float = 60.0
    """For everyone to take the rest, once no more events come."""
    silence: float = 30.0
    """Without an answer, before that is said."""
    lock: float = 90.0
    """For a relay of the same run that is about to end."""


@dataclass(frozen=True)
class Told:
    """How far one receiver is."""

    name: str
    delivered: int
    """The number of the last event that it was told."""
    outstanding: int
    """Events that it was not told yet."""
    error: str

    @property
    def is_complete(self) -> bool:
        """Whether it was told everything."""
        return not self.outstanding and not self.error


class Relay:
    """All deliveries of one run. Only one relay works on a run at a time."""

    def __init__(self, folder: RunFolder, *, pace: Pace | None = None, patience: Patience | None = None) -> None:
        self._folder = folder
        self._pace = pace
        self._patience = patience or Patience()
        self._complaints: dict[str, str] = {}

    def work(self, ended: Signal) -> list[Told]:
        """Delivers until `ended` is set and the rest is delivered or given up; how far each is.

        Raises RefusedError when another relay works on the run, and InputError where there is none.
        """
        run = facts_of(self._folder)
        wanted = targets(settings_of(run))
        self._folder.track.mkdir(exist_ok=True)
        try:
            with FileLock(self._folder.track / ".lock", timeout=self._patience.lock):
                deliveries = [Delivery(target, run, ended, self._pace) for target in wanted]
                for delivery in deliveries:
                    delivery.start()
                self._watch(deliveries, ended)
                return how_far(self._folder)
        except Timeout:
            hint = "wait until it has ended"
            raise RefusedError("a relay of this run is telling its trackers right now", hint=hint) from None

    def _watch(self, deliveries: Sequence[Delivery], ended: Signal) -> None:
        """Waits for the deliveries, and says who fails or hangs."""
        deadline: float | None = None
        while any(delivery.is_alive() for delivery in deliveries):
            if ended.wait(0.2) and deadline is None:
                deadline = time.monotonic() + self._patience.after_end
            for delivery in deliveries:
                self._complain(delivery)
            if deadline is not None and time.monotonic() > deadline:
                break
            if deadline is not None:
                time.sleep(0.05)
        for delivery in deliveries:
            if delivery.is_alive():
                delivery.position.complain(
                    f"did not take everything within {self._patience.after_end:.0f} s of the end"
                )
            self._complain(delivery)

    def _complain(self, delivery: Delivery) -> None:
        """Says a new trouble, and that an old one is over, once."""
        error = delivery.position.error
        since = delivery.busy_since
        if not error and since is not None and time.monotonic() - since > self._patience.silence:
            error = f"has not answered for {self._patience.silence:.0f} s"
        if error != self._complaints.get(delivery.name, ""):
            self._complaints[delivery.name] = error
            say(f"{delivery.name}: {error or 'is told again'}")


def how_far(folder: RunFolder) -> list[Told]:
    """How far everyone is whom the run's recipe wants to have told."""
    found: list[Told] = []
    for target in targets(settings_of(facts_of(folder))):
        position = Position(folder.track / f"{target.name}.json", folder.events)
        rest = sum(1 for _ in events.read(folder.events, after=position.delivered))
        found.append(Told(target.name, position.delivered, rest, position.error))
    return found


def say(text: str) -> None:
    """One line on stderr; nobody may be reading it any more."""
    try:
        sys.stderr.write(f"{mask(text)}\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        return


def main(arguments: Sequence[str]) -> int:
    """The process: from the arguments to the exit code."""
    if not arguments:
        say("usage: python -m lorry.track.relay RUN_FOLDER [SECONDS]")
        return 2
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the run, and with it our stdin: then we go
    ended = Signal()
    Thread(target=_until_stdin_ends, args=(ended,), daemon=True).start()
    try:
        patience = Patience(after_end=float(arguments[1])) if len(arguments) > 1 else Patience()
        told = Relay(RunFolder(Path(arguments[0]).absolute()), patience=patience).work(ended)
    except LorryError as error:
        say(f"relay: {error}")
        return error.exit_code
    for one in told:
        if not one.is_complete:
            say(f"{one.name}: {one.outstanding} events are left; `lorry track {Path(arguments[0]).name}` sends them")
    return 0 if all(one.is_complete for one in told) else 1


def _until_stdin_ends(ended: Signal) -> None:
    try:
        while sys.stdin is not None and sys.stdin.buffer.read(1 << 16):
            pass
    except (OSError, ValueError):
        pass
    ended.set()


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(code)  # a receiver that hangs may not keep the process
