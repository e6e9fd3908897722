"""The rows of a rehearsal: the longest ones, those with most to learn, and some at random, as they were rendered."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lorry.data.examples import ExampleSet
from lorry.data.facts import SplitFacts, split_facts
from lorry.data.prepare import SPLITS, Prepared, Task
from lorry.evaluate.score import drawn
from lorry.plan.rows import spread
from lorry.recipe.rehearsal import MOST_ACCUMULATED, STEPS
from lorry.recipe.schema import Recipe
from lorry.track.folder import write_json

_LOOKED_AT = 20_000
"""Rows of which the trained tokens are counted; of more, as many evenly spread, and the longest ones."""
_LONGEST = 200
_MOST_ROWS = 32
_HELD_BACK = 4
_TOKENS = 8_192
_LOGITS = 160_000_000
"""Tokens, and logits (trained tokens times vocabulary), of all training rows together: seconds on two cores."""
_HEAVY = 2
"""A first row alone may have so many times that."""


@dataclass(frozen=True)
class Chosen:
    """Which rows are rehearsed, by split, as rising indices of examples."""

    rows: dict[str, list[int]]
    micro_batch: int
    accumulation: int
    longest: int
    """Tokens of the longest chosen training row."""
    true_longest: int

    @property
    def train(self) -> int:
        """How many rows are trained on."""
        return len(self.rows["train"])

    def told(self) -> str:
        """The choice in words."""
        held = sum(len(rows) for split, rows in self.rows.items() if split != "train")
        most = "the longest" if self.longest == self.true_longest else f"the longest has {self.true_longest:,}"
        return f"{self.train} to train on, of up to {self.longest:,} tokens ({most}); {held} held back"


def choose(prepared: Prepared, recipe: Recipe, vocabulary: int) -> Chosen:
    """As many rows as two steps take, as far as they are computed in seconds; always the same ones.

    The micro-batch shrinks where rows are so long that not all fit.
    """
    train = recipe.train
    accumulation = min(train.accumulation, MOST_ACCUMULATED)
    wanted = min(STEPS * accumulation * train.micro_batch, _MOST_ROWS)
    limits = (_TOKENS, max(256, _LOGITS // vocabulary))
    picked = _pick(prepared.train, wanted, limits)
    held = {
        split: _pick(examples, _HELD_BACK, (limits[0] // 4, limits[1] // 4))
        for split in SPLITS[1:]
        if (examples := getattr(prepared, split)) is not None and len(examples)
    }
    per_step = max(1, len(picked) // STEPS)
    is_short = len(picked) < min(wanted, len(prepared.train))
    if is_short or train.micro_batch * accumulation > _MOST_ROWS // STEPS:
        accumulation = min(accumulation, per_step)
        micro_batch = min(train.micro_batch, max(1, per_step // accumulation))
    else:
        micro_batch = train.micro_batch
    lengths = prepared.train.lengths
    return Chosen({"train": picked, **held}, micro_batch, accumulation, int(lengths[picked].max()), int(lengths.max()))


def write(prepared: Prepared, chosen: Chosen, folder: Path) -> Prepared:
    """A folder with these rows alone, in the form that the trainer reads."""
    made: dict[str, SplitFacts | None] = dict.fromkeys(SPLITS)
    for split, rows in chosen.rows.items():
        made[split] = _copy(prepared, split, rows, folder / split)
    facts = replace(prepared.facts, train=made["train"] or prepared.facts.train, eval=made["eval"], test=made["test"])
    write_json(folder / "facts.json", facts.as_json())
    return Prepared.open(folder)


def _copy(prepared: Prepared, split: str, rows: Sequence[int], folder: Path) -> SplitFacts:
    source: ExampleSet = getattr(prepared, split)
    kept = np.zeros(len(source), dtype=np.bool_)
    kept[list(rows)] = True
    examples = source.copy(kept, folder)
    cut: NDArray[np.bool_] = np.load(source.folder / "cut.npy")[kept]
    np.save(folder / "cut.npy", cut)
    tasks = source.folder / "tasks.jsonl"
    lines = tasks.read_text(encoding="utf-8").splitlines(keepends=True) if tasks.is_file() else []
    if len(lines) == len(source):
        (folder / tasks.name).write_text("".join(lines[row] for row in rows), encoding="utf-8")
    whole = prepared.facts.split(split)
    return split_facts(examples, len(rows), int(cut.sum()), whole.format if whole else "")


def questions(prepared: Prepared, most: int) -> Iterable[Task]:
    """What the true evaluation asks, of all splits; `most` of each."""
    for split in SPLITS[1:]:
        if getattr(prepared, split):
            yield from drawn(prepared.tasks(split), most)


def _pick(examples: ExampleSet, wanted: int, limits: tuple[int, int]) -> list[int]:
    """The longest row that can be computed, and others in turn: long, with much to learn, at random."""
    lengths = examples.lengths
    longest = np.argsort(-lengths, kind="stable")[:_LONGEST].tolist()
    looked = sorted({*spread(len(examples), _LOOKED_AT), *longest})
    trained = {row: int(np.count_nonzero(examples[row].trained)) for row in looked}
    rich = sorted(looked, key=lambda row: -trained[row])[:_LONGEST]
    anyone = np.random.default_rng(0).permutation(looked).tolist()

    def fits(chosen: Sequence[int], times: int) -> bool:
        tokens, learned = sum(int(lengths[row]) for row in chosen), sum(trained[row] for row in chosen)
        return tokens <= times * limits[0] and learned <= times * limits[1]

    # The first may be heavy by itself: it is what the true run must bear, too.
    shortest = min(looked, key=lambda row: int(lengths[row]))
    picked = [next((row for row in longest if fits([row], _HEAVY)), shortest)]
    for row in _in_turn(longest, rich, anyone):
        if len(picked) < wanted and row not in picked and fits([*picked, row], 1):
            picked.append(row)
    return sorted(picked)


def _in_turn(*lists: Sequence[int]) -> Iterable[int]:
    for place in range(max(map(len, lists), default=0)):
        yield from (rows[place] for rows in lists if place < len(rows))
