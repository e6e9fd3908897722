"""The progress of a running run, drawn from its events: one live line on a terminal, now and then a line elsewhere."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection

from lorry import units
from lorry.cli import output
from lorry.cli.narrate import line
from lorry.track.events import Event
from lorry.track.state import RunState

_PLAIN_EVERY = 15.0
"""Seconds of the run between two lines where no line can change in place."""

_WINDOW = 20
"""Recorded steps from which the speed is taken; fewer would make the time left jump, more would make it lag."""

_NOT_SHOWN = frozenset({"failed", "stopped", "checked", "scored"})
"""Said otherwise: by the error, the plan and the report at the end."""

_SEVERE = frozenset({"oom", "overrun", "rejected", "budget", "limit", "diverged", "stalled", "slow", "crashed"}) | {
    "waiting",
    "lost",
    "may_bill",
}
"""What a person who looks away should find again: these stand out as warnings."""


class Progress:
    """Shows events as they come, on stderr. `price_per_hour` is in US dollars; above 0 money is shown too.

    Warnings that the person was `told` already are not shown again.

    A failure is not shown: the command that watches the run prints it as its error.
    """

    def __init__(self, *, price_per_hour: float = 0.0, told: Collection[str] = ()) -> None:
        self._told = frozenset(told)
        self._price = price_per_hour
        self._now = RunState()
        self._paces: deque[tuple[int, float]] = deque(maxlen=_WINDOW)
        self._plain_at: float | None = None

    def show(self, event: Event) -> None:
        """Draws what this event changes."""
        self._now.take(event)
        if event.kind == "step" and event.step is not None:
            self._pace(event.step, event.at)
            self._draw(self.status_line(), event.at, last=event.step == self._now.steps)
        elif event.kind == "scoring":
            self._draw(line(event), event.at, last=event.data["done"] == event.data["total"])
        elif event.kind == "warning" and event.data["message"] in self._told:
            pass
        elif event.kind == "warning":
            output.warn(str(event.data["message"]))
        elif event.kind in _SEVERE:
            output.warn(line(event))
        elif event.kind not in _NOT_SHOWN and not self._goes_without_saying(event):
            output.note(line(event))

    def _goes_without_saying(self, event: Event) -> bool:
        """The memory rung, while it is the one that the recipe asks for."""
        return event.kind == "rung" and not any(one.kind == "oom" for one in self._now.incidents)

    def close(self) -> None:
        """Removes the live line."""
        output.live("")

    def status_line(self) -> str:
        """Step, loss, speed, memory, time left, money; only what is known."""
        now = self._now
        data = now.records[now.step].data if now.step is not None else {}
        parts = [
            f"step {now.step or 0}/{now.steps if now.steps is not None else '?'}",
            f"loss {units.value(data.get('loss'))}",
            f"{units.rate(data.get('tokens_per_second') or 0)} tokens/s",
            f"{units.size(data.get('memory_bytes') or 0)}",
        ]
        left = self.seconds_left()
        if left:
            parts.append(f"{units.duration(left)} left")
        return "  ".join([*parts, *self._money(left)])

    def seconds_left(self) -> float | None:
        """Seconds until the last step at the present pace, evaluations included; None before the second step."""
        if len(self._paces) < 2 or self._now.steps is None:
            return None
        (first, began), (last, ended) = self._paces[0], self._paces[-1]
        return (self._now.steps - last) * (ended - began) / (last - first)

    def _pace(self, step: int, at: float) -> None:
        if self._paces and step <= self._paces[-1][0]:  # an earlier checkpoint is continued from
            self._paces.clear()
        self._paces.append((step, at))

    def _money(self, left: float | None) -> list[str]:
        now = self._now
        if now.created_at is None or now.updated_at is None:
            return []
        usd = now.usd(now.updated_at)
        if usd is not None:
            price = [one.usd_per_hour for one in now.borrowed.values()][-1]
            more = f" of {units.money(usd + price * left / 3600)}" if left is not None else ""
            return [f"{units.money(usd)}{more}"]
        if self._price <= 0:
            return []
        spent = now.updated_at - now.created_at
        expected = f" of {units.money(self._price * (spent + left) / 3600)}" if left is not None else ""
        return [f"{units.money(self._price * spent / 3600)}{expected}"]

    def _draw(self, text: str, at: float, *, last: bool) -> None:
        if output.stderr_is_live():
            output.live(text)
        elif last or self._plain_at is None or at - self._plain_at >= _PLAIN_EVERY:
            self._plain_at = at
            output.note(text)
