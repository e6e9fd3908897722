"""An event as one readable line; `logs` prints all of them, the live progress those that change the run's state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lorry import units
from lorry.report import gates
from lorry.track.events import Event

Data = Mapping[str, Any]


def line(event: Event) -> str:
    """What happened, in one line; a kind that is not known here is shown as it is."""
    tell = _LINES.get(event.kind)
    told = tell(event.data) if tell else f"{event.kind}: {dict(event.data)}"
    return f"step {event.step}: {told}" if event.step is not None else told


def _checked(data: Data) -> str:
    findings = data["findings"]
    if not findings:
        return "checked: nothing found"
    return f"checked: {len(findings)} finding{'s' if len(findings) > 1 else ''}"


def _data(data: Data) -> str:
    names = [("train_rows", "training rows"), ("eval_rows", "evaluation rows"), ("test_rows", "test rows")]
    rows = [f"{units.count(data[key])} {name}" for key, name in names if data.get(key)]
    tokens = [f"{units.count(data['train_tokens'])} training tokens"] if data.get("train_tokens") else []
    return f"data: {', '.join([*rows, *tokens])}"


def _loaded(data: Data) -> str:
    numbers = f"{units.count(data['parameters'])} parameters, {units.count(data['trainable'])} of them trained"
    return f"model: {numbers}, {data['precision']} on {data['device']}"


def _saved(data: Data) -> str:
    """Where a checkpoint lies, and for how long training stood still for it."""
    took = f"on disk after {units.duration(data['seconds'])}, training paused for {units.duration(data['pause'])}"
    return f"checkpoint saved ({took}): {data['path']}"


def _copied(data: Data) -> str:
    if data.get("to"):
        return f"copied on to {data['to']}: {data['path']}{_of_bytes(data)}"
    return f"checkpoint copied home: {data['path']}"


def _rung(data: Data) -> str:
    rows = f"{data['micro_batch']} rows at once, {data['accumulation']} times a step"
    twice = ", activations computed twice" if data["activation_checkpointing"] else ""
    scoring = f"; scoring {data['eval_batch']} rows at once, answering {data['generation_batch']}"
    return f"memory: {rows}{twice}{scoring}"


def _started(data: Data) -> str:
    after = f", going on after step {data['from_step']}" if data.get("from_step") else ""
    return f"training for {units.count(data['steps'])} steps{after}"


def _diverged(data: Data) -> str:
    if data["return_to"] is None:
        return f"training diverged: {data['reason']}"
    skipped = f", leaving out {len(data['rows'])} of its rows" if data["rows"] else ""
    return f"training diverged: {data['reason']}; back to step {data['return_to']}{skipped}"


def _step(data: Data) -> str:
    parts = [
        f"loss {units.value(data['loss'])}",
        f"learning rate {data['learning_rate']:.3g}",
        f"gradient norm {units.value(data['grad_norm'])}",
        f"{units.rate(data['tokens_per_second'] or 0)} tokens/s",
        f"memory {units.size(data['memory_bytes'] or 0)}",
    ]
    return ", ".join(parts)


def _failed(data: Data) -> str:
    hint = f" (hint: {data['hint']})" if data.get("hint") else ""
    return f"failed: {data['error']}{hint}"


def _crashed(data: Data) -> str:
    return f"training process ended with code {data['exit_code']}: {_first_line(data['error'])}; {data['action']}"


def _first_line(text: object) -> str:
    return next(iter(str(text).splitlines()), "")


def _of_bytes(data: Data) -> str:
    return f" ({units.size(data['bytes'])})" if data.get("bytes") else ""


def _smoke(data: Data) -> str:
    return f"smoke: {data['check']}: {'yes' if data['passed'] else 'NO'}, {data['message']}"


def _evaluated(data: Data) -> str:
    """Its loss, or its reward, comes first."""
    told = {name: value for name, value in data.items() if isinstance(value, (int, float)) and name != "seconds"}
    first = next((name for name in ("loss", "reward") if name in told), None)
    lead = [f"evaluation {first} {units.value(told.pop(first))}"] if first else []
    return ", ".join([*lead, *(f"{name} {units.value(value)}" for name, value in told.items())]) or "evaluated"


def _scored(data: Data) -> str:
    """The scores stand in the report."""
    judged = gates.listed(data.get("gates"))
    missed = "; ".join(gates.sentence(one) for one in judged if not one.get("met"))
    told = f"scored; gates: {gates.counted(judged)}" if judged else "scored"
    return f"{told}; {missed}" if missed else told


def _rollout(data: Data) -> str:
    return f"{units.count(data['answers'])} answers, mean reward {units.value(data['reward'])}"


_LINES: dict[str, Callable[[Data], str]] = {
    "created": lambda data: f"run {data['run']}",
    "checked": _checked,
    "data": _data,
    "machine": lambda data: "; ".join(str(one["message"]) for one in data["findings"]),
    "waiting": lambda data: f"waiting: {data['message']}",
    "rented": lambda data: f"rented {data.get('message') or data['machine']} ({data['provider']}, {data['machine']})",
    "sent": lambda data: f"the run is on the machine{_of_bytes(data)}",
    "ready": lambda data: f"training is started there, {units.duration(data['seconds'])} after the machine was rented",
    "lost": lambda data: f"{data['message']}; {data['action']}",
    "copied": _copied,
    "fetched": lambda data: f"adapter and scores are home{_of_bytes(data)}",
    "over": lambda data: f"{data['message']}; its machine is given back",
    "returned": lambda data: (
        f"{data.get('message') or data['lease']}, {units.money(data['usd'])}; its end is confirmed"
    ),
    "handed": lambda data: f"{data.get('message') or data['lease']}, {units.money(data['usd'])} up to here",
    "may_bill": lambda data: f"{data['message']}; {data['hint']}",
    "loaded": _loaded,
    "note": lambda data: str(data["message"]),
    "warning": lambda data: f"warning: {data['message']}",
    "rung": _rung,
    "oom": lambda data: f"out of memory while {data['where']}: {_first_line(data['error'])}",
    "rejected": lambda data: f"checkpoint passed over, it does not verify: {data['path']}: {data['reason']}",
    "resumed": lambda data: f"going on from the checkpoint of step {data['from_step']}: {data['path']}",
    "started": _started,
    "step": _step,
    "rollout": _rollout,
    "evaluated": _evaluated,
    "saved": _saved,
    "forecast": lambda data: str(data["message"]),
    "overrun": lambda data: f"budget: {data['message']}",
    "budget": lambda data: f"budget: {data['message']}",
    "early_stop": lambda data: f"stopping early: {data['message']}",
    "diverged": _diverged,
    "stalled": lambda data: f"nothing has moved for {units.duration(data['seconds'])} while {data['phase']}",
    "slow": lambda data: f"slow: {data['message']}",
    "crashed": _crashed,
    "limit": lambda data: f"limit reached: {data['message']}",
    "trained": lambda data: f"trained {units.count(data['steps'])} steps in {units.duration(data['seconds'])}",
    "delivered": lambda data: f"adapter delivered: {data['path']}",
    "scoring": lambda data: f"scoring {data['part']}: {data['done']} of {data['total']}",
    "scored": _scored,
    "smoke": _smoke,
    "finished": lambda data: f"finished after {units.duration(data['seconds'])}",
    "failed": _failed,
    "stopped": lambda data: f"stopped: {data['reason']}",
}
