"""Alerts: which events a person is told of who does not look, and in which words. Pure; `alert_sender` sends them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from lorry import units
from lorry.recipe.schema import AlertKind
from lorry.track.events import Event
from lorry.track.replay import returns_to

Severity = Literal["info", "success", "warning", "failure"]
"""As Apprise has them: they choose colour and picture."""

_GRAVEST_FIRST: tuple[Severity, ...] = ("failure", "warning", "success", "info")

Data = Mapping[str, Any]


@dataclass(frozen=True)
class Alert:
    """One message."""

    kind: AlertKind
    severity: Severity
    title: str
    body: str
    at: float
    """When it happened; seconds since 1970."""


@dataclass(frozen=True)
class Seen:
    """What the events before say, as far as messages need it; a few numbers, which can be kept as JSON."""

    started_at: float | None = None
    """When the first attempt began to train."""
    steps: int | None = None
    step: int = 0
    loss: float | None = None
    eval_loss: float | None = None
    told_at: float | None = None
    """When progress was told last, or would have been."""

    def after(self, event: Event, *, progress_hours: float | None = None) -> Seen:
        """What is known after one more event."""
        return replace(self, **self._changes(event), **self._clock(event, progress_hours))

    def _changes(self, event: Event) -> dict[str, Any]:
        back_to = returns_to(event)
        changes: dict[str, Any] = {} if back_to is None else {"step": min(self.step, back_to)}
        if event.kind == "started":
            return {**changes, "steps": event.data.get("steps"), "started_at": self.started_at or event.at}
        if event.kind == "step":
            return {"step": event.step or 0, "loss": event.data.get("loss")}
        return {**changes, "eval_loss": event.data.get("loss")} if event.kind == "evaluated" else changes

    def _clock(self, event: Event, progress_hours: float | None) -> dict[str, Any]:
        if event.kind == "started":
            return {"told_at": event.at}
        return {"told_at": event.at} if is_progress_due(event, self, progress_hours) else {}


def alert_for(event: Event, seen: Seen, *, run: str, progress_hours: float | None = None) -> Alert | None:
    """What to tell of this event, given what was seen before it; None for what is no news."""
    if is_progress_due(event, seen, progress_hours):
        return Alert("progress", "info", f"{run}: {_share(event, seen)}", _progress(event, seen), event.at)
    if _is_no_news(event, seen):
        return None
    found = _TABLE.get(event.kind)
    if found is None:
        return None
    kind, severity, says, body = found
    where = f"\nstep {seen.step} of {seen.steps}" if seen.steps and event.kind != "started" else ""
    return Alert(kind, severity, f"{run}: {says}", body(event.data) + where, event.at)


def is_progress_due(event: Event, seen: Seen, hours: float | None) -> bool:
    """Whether progress is to be told with this event: a step, so many hours after the last time or the attempt's start."""
    if event.kind != "step" or hours is None or seen.told_at is None:
        return False
    return not 0 <= event.at - seen.told_at < hours * 3600  # the clock may have been set back


def summary_of(missed: list[Alert], run: str) -> Alert:
    """Several messages that could not be sent in time, as one."""
    lines = [f"{units.moment(alert.at)}  {alert.title.removeprefix(f'{run}: ')}" for alert in missed]
    title = f"{run}: {len(missed)} earlier messages"
    last = missed[-1]
    return Alert(last.kind, _gravest(missed), title, "\n".join(lines), last.at)


def _is_no_news(event: Event, seen: Seen) -> bool:
    """What comes again with every attempt, and what the person did."""
    if event.kind == "started":
        return seen.started_at is not None
    return event.kind == "stopped" and event.data.get("cause") != "preempted"


def _share(event: Event, seen: Seen) -> str:
    return f"step {event.step} of {seen.steps}" if seen.steps else f"step {event.step}"


def _progress(event: Event, seen: Seen) -> str:
    parts = [f"loss {units.value(event.data.get('loss'))}"]
    if seen.eval_loss is not None:
        parts.append(f"evaluation loss {units.value(seen.eval_loss)}")
    if event.data.get("tokens_per_second"):
        parts.append(f"{units.rate(event.data['tokens_per_second'])} tokens/s")
    if seen.started_at is not None:
        parts.append(f"{units.duration(event.at - seen.started_at)} since the start")
    return ", ".join(parts)


def _gravest(alerts: list[Alert]) -> Severity:
    found = {alert.severity for alert in alerts}
    return next(severity for severity in _GRAVEST_FIRST if severity in found)


def _overrun(data: Data) -> str:
    does = {"ask": "it goes on until somebody says no", "stop": "it stops", "continue": "it goes on"}
    return f"{_line(data, 'message')}; {does.get(str(data.get('action')), '')}"


def _failed(data: Data) -> str:
    return f"{_line(data, 'error')}\n{data['hint']}" if data.get("hint") else _line(data, "error")


def _crashed(data: Data) -> str:
    return "; ".join(part for part in (_line(data, "error"), _line(data, "action")) if part)


def _diverged(data: Data) -> str:
    return_to = data.get("return_to")
    then = "training ended" if return_to is None else f"training went back to step {return_to}"
    return f"{_line(data, 'reason')}; {then}"


def _line(data: Data, key: str) -> str:
    """The first line of a text, short enough for a phone."""
    return next(iter(str(data.get(key, "")).splitlines()), "")[:500]


def _says(key: str, form: str = "{}") -> Callable[[Data], str]:
    return lambda data: form.format(_line(data, key))


_TABLE: dict[str, tuple[AlertKind, Severity, str, Callable[[Data], str]]] = {
    "started": ("started", "info", "training has started", _says("steps", "{} steps")),
    "resumed": ("resumed", "info", "training goes on from a checkpoint", _says("from_step", "after step {}")),
    "finished": ("completed", "success", "completed", lambda data: f"after {units.duration(data.get('seconds') or 0)}"),
    "failed": ("failed", "failure", "FAILED", _failed),
    "oom": ("oom", "warning", "out of memory", _says("where", "while {}")),
    "stopped": ("preempted", "warning", "preempted", _says("reason")),
    "overrun": ("overrun", "warning", "the budget would be passed", _overrun),
    "budget": ("budget", "warning", "most of the budget is used", _says("message")),
    "limit": ("limit", "warning", "the budget is reached", _says("message")),
    "stalled": ("stalled", "warning", "nothing moves", _says("phase", "while {}")),
    "waiting": ("waiting", "warning", "waits for a machine", _says("message")),
    "lost": ("lost", "warning", "lost a machine", lambda data: f"{_line(data, 'message')}; {_line(data, 'action')}"),
    "may_bill": (
        "may_bill",
        "failure",
        "A MACHINE MAY STILL BILL",
        lambda data: f"{_line(data, 'message')}\n{_line(data, 'hint')}",
    ),
    "slow": ("slow", "warning", "slow", _says("message")),
    "diverged": ("diverged", "failure", "training diverged", _diverged),
    "rejected": ("rejected", "warning", "a checkpoint does not verify", _says("reason")),
    "crashed": ("crashed", "warning", "the training process ended", _crashed),
}
"""For each kind of event that is told: the alert's kind, how grave it is, its title and its text."""
