"""Answers side by side, as the report shows them: the prompt, the truth, what the base model and the adapter said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from lorry import units
from lorry.report.sources import mapping
from lorry.track.state import RunState
from lorry.visible import clean


@dataclass(frozen=True, slots=True)
class Sample:
    """One row. All texts are safe to look at; an answer that was not generated is None."""

    place: str
    prompt: str
    truth: str
    rejected: str | None
    """The answer that people liked less, where the row is a pair that was given rewards."""
    base: str | None
    adapter: str | None


_SPLITS = {"eval": "evaluation", "test": "test", "train": "training", "harness": "lm-evaluation-harness"}


def split_name(split: str) -> str:
    """A split as people call it."""
    return _SPLITS.get(split, clean(split))


def sample(row: Mapping[str, Any]) -> Sample:
    """A line of `eval/samples.jsonl` as a sample."""
    prompt = row.get("prompt", row.get("messages"))
    return Sample(
        place=clean(str(row.get("origin") or "")),
        prompt=clean(_text(prompt)),
        truth=clean(_text(row.get("truth"))),
        rejected=_answer(row.get("rejected")),
        base=_answer(row.get("base")),
        adapter=_answer(row.get("adapter")),
    )


@dataclass(frozen=True, slots=True)
class Rolled:
    """An answer that the model made while it trained; all texts are safe to look at."""

    place: str
    reward: str
    answer: str


def rolled(now: RunState) -> list[Rolled]:
    """Some answers of the last rollout, the best first; none for methods that learn from rows as they are."""
    given = now.latest.get("rollout", {}).get("samples")
    shown = [mapping(one) for one in cast("list[Any]", given)] if isinstance(given, list) else []
    return [
        Rolled(clean(str(one.get("origin") or "")), _figure(one.get("reward")), clean(_text(one.get("answer"))))
        for one in shown
    ]


def _figure(value: Any) -> str:
    return units.value(value) if isinstance(value, int | float) else "?"


def _answer(value: Any) -> str | None:
    return None if value is None else clean(_text(value))


def _text(value: Any) -> str:
    """A text as it is; turns of a conversation one under the other, each with its role."""
    if isinstance(value, list):
        turns = [mapping(turn) for turn in cast("list[Any]", value)]
        return "\n".join(f"{turn.get('role', '?')}: {_text(turn.get('content'))}" for turn in turns)
    if isinstance(value, dict):
        found = cast("dict[str, Any]", value)
        return _text(found.get("prediction", found.get("text", found.get("content"))))
    return "" if value is None else str(value)
