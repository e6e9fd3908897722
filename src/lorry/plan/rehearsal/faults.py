"""What went wrong in a rehearsal, as a finding: stage, place, what was seen, and what to do."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lorry.errors import InputError, LorryError
from lorry.plan.findings import Finding, error, from_error, refusal

_PLACES: Mapping[str, str] = {
    "tokenizer": "model.id",
    "rows": "data.train",
    "metrics": "evaluate.metrics",
    "model": "model.id",
    "training": "train",
    "evaluation": "evaluate",
    "generation": "evaluate",
    "checkpoint": "train",
    "resume": "train",
    "plain PEFT": "lora",
}
"""Where to look first, by stage, where nothing tells it better."""
_REMEDIES: Mapping[str, str] = {
    "tokenizer": "use the tokenizer that belongs to this model",
    "rows": "change the row, or the chat template",
    "metrics": "correct the metric",
    "model": "`lorry check RECIPE` tells what the model lacks",
    "training": "the traceback tells where; `lorry run RECIPE --smoke` does the same on the true model",
    "evaluation": "the traceback tells where; metrics that are scored during training are computed here, too",
    "generation": "the traceback tells where; a metric must score any text that a model may write",
    "checkpoint": "this is a fault of lorry's, or of the disk: please report it",
    "resume": "this is a fault of lorry's, or of the model's code: please report it",
    "plain PEFT": "leave out settings of `lora` one by one to find which PEFT cannot load",
}
_SIGNS: Sequence[tuple[str, str, str]] = (
    (r"[Tt]arget[ _]module", "lora.target_modules", "name modules that PEFT can adapt, or use all-linear"),
    (r"lora\.ParamWrapper|target_parameters", "lora", "experts take no such adapter: set lora.experts to false"),
    (r"/trainer/methods/|in loss\n", "method", "correct the method, or its settings"),
    (r"/evaluate/metrics/|in score(_all)?\n", "evaluate.metrics", "correct the metric"),
)
"""Words of an error or its traceback, the place that they speak of, and what to do there."""
_LONGEST = 500


def code(stage: str) -> str:
    """The stable code of a failure in a stage: `rehearsal.plain-peft`."""
    return f"rehearsal.{stage.lower().replace(' ', '-')}"


def of_error(stage: str, cause: LorryError) -> Finding:
    """Of what was raised on this side."""
    return from_error(code(stage), cause)


def of_fault(stage: str, fault: Mapping[str, Any], log: Path) -> Finding:
    """Of what the worker, or the trainer within it, says of its failure; `log` holds what it printed."""
    trace = [str(line) for line in fault.get("trace") or _traceback(log, fault)]
    told = str(fault.get("error", "")).strip() or "it failed without a word"
    place, remedy = _read("\n".join([told, *trace]) + "\n")
    hint = str(fault.get("hint", ""))
    if "traceback stands in" in hint:  # in a folder that is gone by now
        hint = ""
    message = f"{stage}: {told.splitlines()[0][:_LONGEST]}"
    say = error if _is_input(fault) else refusal
    return say(
        "rehearsal.memory" if _is_memory(fault) else code(stage),
        message,
        place=str(fault.get("place") or "") or place or _PLACES.get(stage, ""),
        remedy=hint or remedy or _REMEDIES.get(stage, "please report it"),
        evidence="\n".join([*told.splitlines()[1:], *trace]),
    )


def too_late(stage: str, seconds: float, doing: str) -> Finding:
    """Of a rehearsal that took too long."""
    place, remedy = _PLACES.get(stage, ""), "give it longer: `lorry rehearse RECIPE --limit 600`"
    if stage in ("metrics", "generation"):
        place, remedy = "evaluate.metrics", f"see whether a metric hangs; if none does, {remedy}"
    return refusal(
        "rehearsal.time-limit",
        f"{stage}: it was not done after {seconds:.0f} seconds",
        evidence=f"last, {doing}" if doing else "",
        place=place,
        remedy=remedy,
    )


def without_a_word(stage: str, exit_code: int, log: Path) -> Finding:
    """Of a worker that is gone and said nothing."""
    return refusal(
        code(stage),
        f"{stage}: the process that rehearses ended with exit code {exit_code}",
        evidence="\n".join(_last_lines(log)),
        place=_PLACES.get(stage, ""),
        remedy="see what it said; `lorry doctor` shows what is installed",
    )


def _is_input(fault: Mapping[str, Any]) -> bool:
    return fault.get("exit_code") == InputError.exit_code


def _is_memory(fault: Mapping[str, Any]) -> bool:
    told = str(fault.get("error", ""))
    return "out of memory" in told or "can't allocate memory" in told or str(fault.get("kind")) == "MemoryError"


def _read(text: str) -> tuple[str, str]:
    """Place and remedy that an error's words tell."""
    return next(((place, remedy) for sign, place, remedy in _SIGNS if re.search(sign, text)), ("", ""))


def _traceback(log: Path, fault: Mapping[str, Any]) -> list[str]:
    """The last frames that the trainer printed of what nobody foresaw; nothing for an error that explains itself."""
    return _last_lines(log, 6) if fault.get("exception") else []


def _last_lines(log: Path, most: int = 8) -> list[str]:
    try:
        return log.read_text(encoding="utf-8", errors="replace").rstrip().splitlines()[-most:]
    except OSError:
        return []
