"""The rows of a rehearsal: the longest ones, those with most to learn, and some at random, as they were rendered."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lorry.data import columns
from lorry.data.examples import Example, ExampleSet, write_examples
from lorry.data.facts import SplitFacts, split_facts
from lorry.data.images.picture import AlbumWriter
from lorry.data.prepare import SPLITS, Prepared, Task
from lorry.evaluate.score import drawn
from lorry.plan.rows import spread
from lorry.recipe.rehearsal import MOST_ACCUMULATED, STEPS
from lorry.recipe.schema import Recipe, TrainSettings
from lorry.track.folder import write_json

_LOOKED_AT = 20_000
"""Rows of which the trained tokens are counted; of more, as many evenly spread, and the longest ones."""
_LONGEST = 200
_MOST_ROWS = 32
_HELD_BACK = 4
_TOKENS = 4_096
_LOGITS = 60_000_000
"""Tokens, and logits (trained tokens times vocabulary), of the training rows together: seconds on two cores."""
_HEAVY = 2
"""The longest row may have so many times those tokens by itself: the true run must bear it, too."""
_PARTS = 4
"""Each row may have this part of those logits; where it has more, some of its trained tokens do not count."""


@dataclass(frozen=True)
class Chosen:
    """Which rows are rehearsed, by split, as rising indices of examples."""

    rows: dict[str, list[int]]
    micro_batch: int
    accumulation: int
    longest: int
    """Tokens of the longest chosen training row."""
    true_longest: int
    most_trained: int
    """Tokens of a row that count in the loss at most."""

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
    train, lengths = recipe.train, prepared.train.unit_lengths
    wanted = min(STEPS * min(train.accumulation, MOST_ACCUMULATED) * train.micro_batch, _MOST_ROWS)
    logits = max(128, _LOGITS // vocabulary)
    picked = _pick(prepared.train, wanted, _TOKENS, logits)
    held = {
        split: _pick(examples, _HELD_BACK, _TOKENS // _PARTS, logits // _PARTS)
        for split in SPLITS[1:]
        if (examples := getattr(prepared, split)) is not None and len(examples)
    }
    micro_batch, accumulation = _batches(train, len(picked), prepared.train.unit_count)
    return Chosen(
        rows={"train": picked, **held},
        micro_batch=micro_batch,
        accumulation=accumulation,
        longest=int(lengths[picked].max()),
        true_longest=int(lengths.max()),
        most_trained=logits // _PARTS,
    )


def _batches(train: TrainSettings, picked: int, there: int) -> tuple[int, int]:
    """Micro-batch and accumulation; where all rows there are were picked, two steps take them several times."""
    accumulation = min(train.accumulation, MOST_ACCUMULATED)
    if train.micro_batch * accumulation <= _MOST_ROWS // STEPS and picked in (
        there,
        STEPS * accumulation * train.micro_batch,
    ):
        return train.micro_batch, accumulation
    per_step = max(1, picked // STEPS)
    accumulation = min(accumulation, per_step)
    return min(train.micro_batch, per_step // accumulation), accumulation


def write(prepared: Prepared, chosen: Chosen, folder: Path) -> Prepared:
    """A folder with these rows alone, in the form that the trainer reads."""
    made: dict[str, SplitFacts | None] = dict.fromkeys(SPLITS)
    folder.mkdir(parents=True, exist_ok=True)
    album = AlbumWriter(folder)
    for split, rows in chosen.rows.items():
        made[split] = _copy(prepared, split, rows, album, chosen.most_trained)
    facts = replace(prepared.facts, train=made["train"] or prepared.facts.train, eval=made["eval"], test=made["test"])
    write_json(folder / "facts.json", facts.as_json())
    return Prepared.open(folder)


def questions(prepared: Prepared, most: int) -> Iterable[Task]:
    """What the true evaluation asks, of all splits; `most` of each."""
    for split in SPLITS[1:]:
        if getattr(prepared, split):
            yield from prepared.with_columns(split, drawn(prepared.tasks(split), most))


def _copy(prepared: Prepared, split: str, rows: Sequence[int], album: AlbumWriter, most: int) -> SplitFacts:
    source: ExampleSet = getattr(prepared, split)
    folder = album.folder / split
    members = source.members(rows)
    copied = ((_with_copies(_thinned(source[row], most), album), source.origin(row)) for row in members)
    examples = write_examples(folder, copied)
    cut: NDArray[np.bool_] = np.load(source.folder / "cut.npy")[members]
    np.save(folder / "cut.npy", cut)
    tasks = source.folder / "tasks.jsonl"
    if tasks.is_file():
        with tasks.open(encoding="utf-8") as file:
            lines = {at: line for at, line in enumerate(file) if at in rows}
        kept = [_with_images(lines[row], prepared, album) for row in rows if row in lines]
        (folder / tasks.name).write_text("".join(kept), encoding="utf-8")
    album.close()
    beside = columns.read(source.folder, set(rows))
    writer = columns.ColumnsWriter(folder)
    for row in rows:
        writer.append(beside.get(row))
    writer.close()
    whole = prepared.facts.split(split)
    return split_facts(examples, len(rows), int(cut.sum()), whole.format if whole else "")


def _with_copies(example: Example, album: AlbumWriter) -> Example:
    return replace(example, images=tuple(replace(one, picture=album.copy(one.picture)) for one in example.images))


def _with_images(line: str, prepared: Prepared, album: AlbumWriter) -> str:
    """A task with its images, under the numbers that they have in another album."""
    task = json.loads(line)
    if "images" not in task:
        return line
    task["images"] = [[album.copy(prepared.album[number]).number, digest] for number, digest in task["images"]]
    return json.dumps(task, ensure_ascii=False) + "\n"


def _thinned(example: Example, most: int) -> Example:
    """The same tokens, of which at most so many count in the loss, the first and the last among them."""
    marks = np.flatnonzero(example.trained)
    if len(marks) <= most:
        return example
    trained = np.zeros(len(example.ids), dtype=np.bool_)
    trained[marks[spread(len(marks), most)]] = True
    return replace(example, trained=trained, context=None if example.context is None else example.context & trained)


def _pick(examples: ExampleSet, wanted: int, tokens: int, logits: int) -> list[int]:
    """The longest row that can be computed, and others in turn: long, with much to learn, at random.

    A row is all of its examples that belong together.
    """
    lengths = examples.unit_lengths
    longest = np.argsort(-lengths, kind="stable")[:_LONGEST].tolist()
    looked = sorted({*spread(examples.unit_count, _LOOKED_AT), *longest})
    trained = {
        row: sum(int(np.count_nonzero(examples[one].trained)) for one in examples.members([row])) for row in looked
    }
    rich = sorted(looked, key=lambda row: -trained[row])[:_LONGEST]
    anyone = np.random.default_rng(0).permutation(looked).tolist()
    shortest = min(looked, key=lambda row: int(lengths[row]))
    first = next((row for row in longest if lengths[row] <= _HEAVY * tokens), shortest)
    others, most = list[int](), logits // _PARTS
    for row in _in_turn(longest, rich, anyone):
        size, counted = int(lengths[row]), min(trained[row], most)
        if len(others) < wanted - 1 and row not in (first, *others) and size <= tokens and counted <= logits:
            others.append(row)
            tokens, logits = tokens - size, logits - counted
    return sorted([first, *others])


def _in_turn(*lists: Sequence[int]) -> Iterable[int]:
    for place in range(max(map(len, lists), default=0)):
        yield from (rows[place] for rows in lists if place < len(rows))
