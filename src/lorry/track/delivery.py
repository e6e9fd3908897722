"""Tells one receiver a run's events, in a thread of its own, through its failures: it stops nothing and nobody else."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event as Signal
from threading import Thread

from lorry.track.events import Event, Tail, last_number
from lorry.track.folder import RunFolder
from lorry.track.position import Position
from lorry.track.replay import surviving
from lorry.track.sinks._base import Memory, RunFacts, Session


@dataclass(frozen=True)
class Target:
    """Who is told: a tracker, or one address of alerts. The name is that of its file, and holds no secret."""

    name: str
    open: Callable[[RunFacts, Memory], Session]


@dataclass(frozen=True)
class Pace:
    """Seconds between things."""

    look: float = 0.5
    """Between two looks for new events."""
    retries: tuple[float, ...] = (1.0, 2.0, 4.0)
    """Before each further attempt."""
    rest: float = 60.0
    """After the last one, before all of that is tried again."""
    save: float = 1.0
    """Between two writings of the position while steps come; anything but a step is written down at once."""


class Delivery(Thread):
    """Delivers until `ended` is set and nothing is left, or until a last attempt after that has failed."""

    def __init__(self, target: Target, run: RunFacts, ended: Signal, pace: Pace | None = None) -> None:
        super().__init__(name=target.name, daemon=True)
        self._events = RunFolder(run.folder).events
        self.position = Position(RunFolder(run.folder).track / f"{target.name}.json", self._events)
        self.busy_since: float | None = None
        """When the receiver was last asked for something that it has not answered yet (`time.monotonic`)."""
        self._target = target
        self._run = run
        self._ended = ended
        self._pace = pace or Pace()
        self._tail: Tail | None = None
        self._pending: list[Event] = []
        self._session: Session | None = None
        self._opened_at = self.position.delivered
        self._saved_at = 0.0

    def run(self) -> None:
        """The thread's work. Also what is wrong on our own side, as a full disk, is waited for and tried again."""
        last = False
        while not last:
            last = self._ended.is_set()
            pause = self._pace.look
            try:
                self._round(last)
            except Exception as error:
                pause = self._pace.rest
                with contextlib.suppress(OSError):
                    self.position.complain(told(error))
            if not last:
                self._ended.wait(pause)

    def _round(self, last: bool) -> None:
        """Delivers what there is. Raises what kept it from that; where things stand is written down first."""
        if self._tail is None:
            # A log that lost its end counts on from there, so the numbers told beyond it come again with other events.
            self.position.delivered = min(self.position.delivered, last_number(self._events))
            self._tail, self._pending = Tail(self._events, after=self.position.delivered), []
        try:
            self._pending = surviving([*self._pending, *self._tail.read()])
        except Exception:
            self._tail = None  # what was read is lost with it
            raise
        try:
            self._deliver()
            if last:
                self._close()
        finally:
            self._save()

    def _deliver(self) -> None:
        """Everything that is pending, in order. Raises what the receiver raised after all attempts; the rest stays."""
        pending, done = self._pending, 0
        if not pending and self._session is None and not self.position.error:
            return
        try:
            for event in pending:
                self._patiently(lambda session, event=event: session.take(event))
                done += 1
                self._note(event)
            self._patiently(lambda session: session.flush())
        finally:
            self._pending = pending[done:]
        self.position.error = ""

    def _note(self, event: Event) -> None:
        self.position.delivered = event.seq
        now = time.monotonic()
        if event.kind != "step" or now - self._saved_at >= self._pace.save:
            self._saved_at = now
            self._save()

    def _save(self) -> None:
        unsure = self._session is not None and self._session.confirms_on_close
        self.position.save(self._opened_at if unsure else self.position.delivered)

    def _patiently(self, ask: Callable[[Session], None]) -> None:
        """Asks, and asks again after each pause, with a new session each time."""
        from tenacity import Retrying, retry_if_not_exception_type, stop_after_attempt

        pauses = (*self._pace.retries, 0.0)
        attempts = Retrying(
            stop=stop_after_attempt(len(pauses)),
            wait=lambda tried: pauses[tried.attempt_number - 1],
            retry=retry_if_not_exception_type(_UnconfirmedError),
            reraise=True,
        )
        attempts(self._ask, ask)

    def _ask(self, ask: Callable[[Session], None]) -> None:
        try:
            with self._waiting():
                if self._session is None:
                    self._opened_at = self.position.delivered
                    self._session = self._target.open(self._run, self.position.memory)
                ask(self._session)
        except Exception as error:
            with contextlib.suppress(Exception):
                self._close()
            if self._tail is None:
                raise _UnconfirmedError(told(error)) from error
            raise

    def _close(self) -> None:
        """Ends the session. Where that fails and would have confirmed what was told, all of it is told again."""
        session, self._session = self._session, None
        if session is None:
            return
        try:
            with self._waiting():
                session.close()
        except Exception:
            if session.confirms_on_close:
                self.position.delivered, self._tail = self._opened_at, None
            raise

    @contextmanager
    def _waiting(self) -> Generator[None]:
        self.busy_since = time.monotonic()
        try:
            yield
        finally:
            self.busy_since = None


class _UnconfirmedError(Exception):
    """A session failed, and with it what it was told: asking again for the last event alone would leave a gap."""


def told(error: Exception) -> str:
    """An error in one line."""
    if isinstance(error, _UnconfirmedError):
        return str(error)
    first = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
