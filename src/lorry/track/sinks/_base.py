"""What a sink is: a tracker that is told a run's events, one after the other, and shows them in its own way."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from lorry.errors import MissingExtraError
from lorry.plugins import Plugin
from lorry.track.events import Event

Memory = dict[str, Any]
"""What a session keeps over restarts, as JSON: it is written down together with the number of the last event told."""


@dataclass(frozen=True)
class RunFacts:
    """The run that is told of."""

    id: str
    """Unique, and the same for every attempt of the run."""
    folder: Path
    recipe: Mapping[str, Any]
    """Every setting; it holds no secret."""


class Session(ABC):
    """A run in one tracker, open for writing. It is used by one thread, which does nothing else.

    What it promises: an event that `take` returned from is not lost when this process is killed, or `confirms_on_close`
    is set. Any method may raise, and may block: the caller tries again with a new session, and disturbs no other
    tracker meanwhile.
    """

    confirms_on_close: ClassVar[bool] = False
    """Whether `take` only hands events to something that keeps or sends them later. Then those of a session that was not
    closed are told again: some may come twice, none is lost."""

    @abstractmethod
    def take(self, event: Event) -> None:
        """Tells the tracker what it can show of this event; kinds that are not known are passed over.

        An event may come a second time, when the process was killed before its number was written down. After a
        `started`, or a `diverged` that returns, steps come again: what the tracker shows of them is the last.
        """

    def flush(self) -> None:
        """Called when there are no more events for the moment: what was held back goes out."""
        return

    def close(self) -> None:
        """Ends the session, not the run, which may go on later. Returns once the tracker has everything."""
        return


class Sink(Plugin):
    """A tracker. Its fields are its settings; importing its file must not import the tracker's library."""

    extra: ClassVar[str] = ""
    """What `pip install 'lorry[...]'` needs for it."""
    packages: ClassVar[tuple[str, ...]] = ()
    """Modules that must be there."""

    @abstractmethod
    def open(self, run: RunFacts, memory: Memory) -> Session:
        """A session that goes on with the run as the tracker knows it, or begins it.

        The session may change `memory`, which is empty at first. Raises MissingExtraError where a package is missing.
        """

    def unavailable(self) -> str | None:
        """Why this sink cannot work here, a colon, and what to do about it; None when it can. Asks no network."""
        missing = self._missing()
        return f"{', '.join(missing)} is not installed: pip install 'lorry[{self.extra}]'" if missing else None

    def address(self) -> str | None:
        """The URL of the service that this sink tells, without a secret in it; None where it only writes files."""
        return None

    def refused(self, seconds: float) -> str | None:  # noqa: ARG002 - for those who override it
        """Why the service does not take the key that is set, a colon, and what to do; None when it does.

        Asks the service itself. Raises OSError when it does not answer in so many seconds.
        """
        return None

    def require_packages(self) -> None:
        """Raises MissingExtraError where a package is missing."""
        missing = self._missing()
        if missing:
            told = f"the sink `{self.name}` needs {', '.join(missing)}"
            raise MissingExtraError(told, hint=f"pip install 'lorry[{self.extra}]'")

    def _missing(self) -> list[str]:
        """Packages that are not there; a folder of that name in the current one, as W&B makes them, is no package."""
        found = {name: find_spec(name) for name in self.packages}
        return [name for name, spec in found.items() if spec is None or spec.origin is None]
