"""A summary in words: the headline, and the facts as pairs of label and text that every report shows alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from lorry import units
from lorry.report import gates
from lorry.report.sources import mapping
from lorry.trainer.watched import LOSS

Summary = Mapping[str, Any]


def headline(summary: Summary) -> str:
    """The one sentence to read if one reads no more."""
    status = str(summary["status"])
    if status == "failed":
        return f"The run failed: {mapping(summary['error']).get('error', 'without saying why')}"
    if status != "finished":
        return f"The run is not finished: it is {status}, at step {summary['step'] or 0} of {summary['steps'] or '?'}."
    verdicts, missed = _verdicts(summary), _missed(summary)
    if not verdicts:
        return f"The run finished; the adapter was not compared with the base model.{missed}"
    parts = [f"{kind} on {', '.join(names)}" for kind, names in verdicts.items()]
    return f"Against the base model the adapter is {'; '.join(parts)}.{missed}"


def facts(summary: Summary) -> list[tuple[str, str]]:
    """What is known, in the order in which people ask."""
    found = [
        ("Status", str(summary["status"])),
        ("Model", _text(summary["model"])),
        ("Method", _text(summary["method"])),
        ("Gates", gates.counted(gates.listed(summary.get("gates")))),
        ("Steps", _steps(summary)),
        ("Training loss", _course(summary["loss"])),
        ("Evaluation loss", _course(summary["eval_loss"])),
        ("Best step", _best(mapping(summary.get("best")))),
        ("Reward", _course(summary.get("reward"), "reward", "highest")),
        ("Evaluation reward", _course(summary.get("eval_reward"), "reward", "highest")),
        ("Data", _data(mapping(summary["data"]))),
        ("Time", _time(mapping(summary["seconds"]))),
        ("Planned", _planned(mapping(summary.get("planned")))),
        ("Training speed", _speed(mapping(summary["tokens"]).get("per_second"))),
        ("Peak memory", _size(summary["peak_memory_bytes"])),
        ("Checkpoints", _saves(mapping(summary.get("saves")))),
        ("Trained on", _machines(summary.get("machines") or [])),
        ("Cost", _cost(summary)),
        ("Adapter", _adapter(mapping(summary["adapter"]))),
        ("Generation", _generation(mapping(summary["inference_tokens_per_second"]))),
    ]
    return [(label, text) for label, text in found if text]


def _missed(summary: Summary) -> str:
    """Which gates it missed, as a sentence of its own; empty where it missed none."""
    judged = gates.listed(summary.get("gates"))
    names = [f"{one['score']} {one['asked']}" for one in judged if not one.get("met")]
    return f" It missed {len(names)} of {len(judged)} gates: {', '.join(names)}." if names else ""


def _machines(machines: Sequence[Mapping[str, Any]]) -> str:
    """Each kind of machine once, with how many there were."""
    counts = Counter(str(one["machine"]) for one in machines)
    return "; ".join(f"{count} times {name}" if count > 1 else name for name, count in counts.items())


def _cost(summary: Summary) -> str:
    """What was spent, and whether that is all."""
    usd = summary["cost_usd"]
    if usd is None:
        return ""
    machines = summary.get("machines") or []
    there = sum(one["until"] is None for one in machines)
    if not machines:
        return units.money(usd)
    if there:
        return f"{units.money(usd)} so far; {there} of {len(machines)} machines not confirmed to have ended"
    if any(one.get("handed_to") for one in machines):
        return f"{units.money(usd)}; the machine went on to another run"
    every = "the machine is" if len(machines) == 1 else f"all of the {len(machines)} machines are"
    return f"{units.money(usd)}; {every} confirmed to have ended"


def _verdicts(summary: Summary) -> dict[str, list[str]]:
    """The metrics by verdict, those that say something first; named with the split where there are several."""
    scores = mapping(summary["scores"])
    order: dict[str, list[str]] = {"better": [], "worse": [], "not distinguishable": []}
    for split, rows in scores.items():
        for row in rows:
            name = f"{row['metric']} ({split})" if len(scores) > 1 else str(row["metric"])
            if row["verdict"] in order:
                order[row["verdict"]].append(name)
    return {kind: names for kind, names in order.items() if names}


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _steps(summary: Summary) -> str:
    if summary["steps"] is None:
        return ""
    done = f"{units.count(summary['step'] or 0)} of {units.count(summary['steps'])}"
    return done if summary["attempts"] == 1 else f"{done}, in {summary['attempts']} attempts"


def _course(course: Mapping[str, Any] | None, name: str = "loss", best_is: str = "lowest") -> str:
    if not course:
        return ""
    first, final, best = (course[name] for name in ("first", "final", "best"))
    text = f"{units.value(first[name])} at step {first['step']}"
    if final["step"] != first["step"]:
        text += f", {units.value(final[name])} at step {final['step']}"
    if best["step"] not in (first["step"], final["step"]):
        text += f", {best_is} {units.value(best[name])} at step {best['step']}"
    return text


def _best(best: Mapping[str, Any]) -> str:
    """Nothing where it is that of the lowest loss, which is told already."""
    return f"{best['step']}, with {best['by']} {units.value(best['value'])}" if best and best["by"] != LOSS else ""


def _data(data: Mapping[str, Any]) -> str:
    names = [("train_rows", "training rows"), ("eval_rows", "evaluation rows"), ("test_rows", "test rows")]
    parts = [f"{units.count(data[key])} {name}" for key, name in names if data.get(key)]
    if data.get("train_tokens"):
        parts.append(f"{units.count(data['train_tokens'])} training tokens")
    return ", ".join(parts)


def _time(seconds: Mapping[str, Any]) -> str:
    total, training = seconds.get("total"), seconds.get("training")
    if total is None:
        return ""
    return units.duration(total) + (f", {units.duration(training)} of it training" if training is not None else "")


def _planned(planned: Mapping[str, Any]) -> str:
    if not planned:
        return ""
    low, likely, high = (units.duration(float(planned[name])) for name in ("low", "likely", "high"))
    said = planned.get("after_first_steps")
    return f"{likely} ({low} to {high})" + (f"; {units.duration(float(said))} after the first steps" if said else "")


def _speed(per_second: float | None) -> str:
    return "" if per_second is None else f"{units.rate(per_second)} tokens per second (median of the recorded steps)"


def _saves(saves: Mapping[str, Any]) -> str:
    count, pause = saves.get("count"), saves.get("pause_seconds")
    if not count or pause is None:
        return ""
    return f"{units.count(count)} saved; training paused for {units.duration(pause)} each (median)"


def _size(count: float | None) -> str:
    return "" if count is None else units.size(count)


def _adapter(adapter: Mapping[str, Any]) -> str:
    parts = [_size(adapter.get("bytes"))]
    trained, whole = adapter.get("parameters"), adapter.get("model_parameters")
    if trained:
        share = f" ({100 * trained / whole:.2f} % of the model's)" if whole else ""
        parts.append(f"{units.count(trained)} trained parameters{share}")
    if adapter.get("delivered_step") is not None:
        parts.append(f"from step {adapter['delivered_step']}")
    return ", ".join(part for part in parts if part)


def _generation(speeds: Mapping[str, Any]) -> str:
    named = [("adapter", "with the adapter"), ("base", "with the base model")]
    parts = [f"{units.rate(speeds[key])} {name}" for key, name in named if speeds.get(key) is not None]
    return f"tokens per second: {', '.join(parts)}" if parts else ""
