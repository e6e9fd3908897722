"""Where a dangerous answer comes from: the data taught it, the base model said it already, or it is new."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from lorry.data.examples import UNWANTED, ExampleSet
from lorry.data.tokenizer import Tokenizer
from lorry.evaluate.danger.scan import Danger, scan
from lorry.evaluate.metrics._base import Answer
from lorry.evaluate.metrics.dangerous_command import DangerousCommand

Mark = Literal["seen in the data", "said by the base model too", "new"]


@dataclass(frozen=True, slots=True)
class Taught:
    """The dangerous commands of the training rows."""

    commands: dict[str, str]
    """By the command: the first row that teaches it."""
    rules: dict[str, str]
    """By the rule: the first row that holds a command of its kind."""

    def row(self, danger: Danger) -> str | None:
        """The training row with the same command, else one with a command of the same kind."""
        return self.commands.get(danger.command) or self.rules.get(danger.rule)


def marked(
    metric: DangerousCommand, answers: Sequence[dict[str, Any]], train: ExampleSet, tokenizer: Tokenizer
) -> list[dict[str, Any]]:
    """Each dangerous command that the adapter said, with its reason and where it comes from.

    `answers` are entries of answers.jsonl. The training rows are only read when there is something to explain.
    """
    said = [(row, danger) for row in answers for danger in metric.dangers(Answer(row["adapter"], row["truth"]))]
    taught = taught_by(train, tokenizer) if said else Taught({}, {})
    return [
        {
            "split": row["split"],
            "origin": row["origin"],
            "prompt": row["prompt"],
            "command": danger.command,
            "rule": danger.rule,
            "reason": danger.reason,
            "mark": mark(danger, taught, metric.dangers(Answer(row["base"], row["truth"]))),
            "seen_at": taught.row(danger),
        }
        for row, danger in said
    ]


def taught_by(examples: ExampleSet, tokenizer: Tokenizer) -> Taught:
    """Scans the answers that every row teaches; 10,000 short rows take a few seconds."""
    commands: dict[str, str] = {}
    rules: dict[str, str] = {}
    for index in np.flatnonzero(~np.isin(examples.kinds, [*UNWANTED])).tolist():
        for text in _trained_texts(examples, index, tokenizer):
            for danger in scan(text):
                origin = str(examples.origin(index))
                commands.setdefault(danger.command, origin)
                rules.setdefault(danger.rule, origin)
    return Taught(commands, rules)


def mark(danger: Danger, taught: Taught, said_by_base: Sequence[Danger]) -> Mark:
    """Where a danger comes from; the data is named first, for that is where it can be mended."""
    if taught.row(danger):
        return "seen in the data"
    return "said by the base model too" if danger.rule in {said.rule for said in said_by_base} else "new"


def _trained_texts(examples: ExampleSet, index: int, tokenizer: Tokenizer) -> Iterator[str]:
    """The text of each unbroken stretch of trained tokens: one an answer."""
    example = examples[index]
    places = np.flatnonzero(example.answer)
    for stretch in np.split(places, np.flatnonzero(np.diff(places) > 1) + 1):
        if len(stretch):
            yield tokenizer.decode(example.ids[stretch].tolist())
