"""The numbers in an event that a tracker draws, each under the name that every tracker shows it by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard, cast

from lorry.track.events import Event
from lorry.visible import clean

_OF_A_STEP = {
    "loss": "train/loss",
    "learning_rate": "train/learning_rate",
    "grad_norm": "train/grad_norm",
    "router_aux_loss": "train/router_aux_loss",
    "router_max_share": "train/router_max_share",
    "tokens_per_second": "speed/tokens_per_second",
    "trained_tokens": "speed/trained_tokens",
    "memory_bytes": "machine/memory_bytes",
    "utilisation": "machine/gpu_utilisation_percent",
}


def numbers(event: Event) -> dict[str, float]:
    """What of a `step` or an `evaluated` can be drawn over steps; empty for other kinds. NaN and infinity are numbers."""
    if event.step is None:
        return {}
    named: dict[str, object] = {}
    if event.kind == "step":
        named = {name: event.data.get(key) for key, name in _OF_A_STEP.items()}
    elif event.kind == "evaluated":
        named = {f"eval/{clean(key)}": value for key, value in event.data.items() if key != "seconds"}
    return {name: float(value) for name, value in named.items() if _is_number(value)}


def final_scores(event: Event) -> dict[str, float]:
    """The scores of a `scored`: `score/eval/exact_match/adapter`, and the same for `base`; empty for other kinds."""
    if event.kind != "scored":
        return {}
    found: dict[str, float] = {}
    scores = event.data.get("scores")
    for split, about in _items(_get(scores, "splits") or scores):
        for metric, sides in _items(_get(about, "scores")):
            for side, interval in _items(sides):
                value = _get(interval, "value")
                if _is_number(value):
                    found[f"score/{split}/{metric}/{side}"] = float(value)
    return found


def _is_number(value: object) -> TypeGuard[float]:
    is_number = isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**64)
    return is_number and not isinstance(value, bool)


def _items(value: object) -> Iterator[tuple[str, Any]]:
    yield from cast("Mapping[str, Any]", value).items() if isinstance(value, Mapping) else ()


def _get(value: object, key: str) -> Any:
    return cast("Mapping[str, Any]", value).get(key) if isinstance(value, Mapping) else None
