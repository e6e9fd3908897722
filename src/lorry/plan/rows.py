"""The rows as text again: what a model is taught, with the place where it stands."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from lorry.data.alike.tasks import placed_lines
from lorry.data.examples import UNWANTED

if TYPE_CHECKING:
    from lorry.data.examples import ExampleSet
    from lorry.data.prepare import Prepared
    from lorry.data.tokenizer import Tokenizer


MOST = 200_000
"""Rows that are screened; of more, as many spread evenly over the set, which takes about a quarter of a minute."""
_AT_ONCE = 1024

Placed = Iterator[tuple[str, str]]
"""Texts, each with its place, `file:line`."""


def spread(count: int, most: int = MOST) -> list[int]:
    """The indices of all of `count` things, or of `most` that are spread evenly."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64)).tolist()


def taught(examples: ExampleSet, tokenizer: Tokenizer) -> Placed:
    """What each example teaches, decoded: the answers, or the whole text; nothing of answers that people disliked."""
    return _decoded(examples, tokenizer, only_trained=True)


def whole(prepared: Prepared, tokenizer: Tokenizer, worth: Callable[[str], bool] = bool) -> Placed:
    """All of each training row of which `worth` says that it is worth reading.

    Conversations are judged, and skipped, as the JSON text that they are kept as, which is much quicker than reading it.
    """
    for line in conversations(prepared, "train", worth):
        task: dict[str, Any] = json.loads(line)
        turns = [str(turn["content"]) for turn in task["messages"]]
        yield "\n".join([*turns, task["truth"]]), task["origin"]
    yield from ((text, place) for text, place in documents(prepared, "train", tokenizer) if worth(text))


def conversations(prepared: Prepared, split: str, worth: Callable[[str], bool] = bool) -> Iterator[str]:
    """Rows of a split as JSON, those that are worth reading; none for raw text."""
    for _, line in placed_conversations(prepared, split):
        text = line.decode()
        if worth(text):
            yield text


def placed_conversations(prepared: Prepared, split: str) -> Iterator[tuple[int, bytes]]:
    """Rows of a split as JSON, each with the byte at which it begins in the file of tasks; none for raw text."""
    file = prepared.tasks_file(split)
    if file is None:
        return
    examples: ExampleSet = getattr(prepared, split)
    count = examples.unit_count
    chosen = set(spread(count)) if count > MOST else None
    for index, placed in enumerate(placed_lines(file)):
        if chosen is None or index in chosen:
            yield placed


def documents(prepared: Prepared, split: str, tokenizer: Tokenizer) -> Placed:
    """The pieces of raw text of a split, decoded; none for conversations."""
    if prepared.tasks_file(split) is None:
        yield from _decoded(getattr(prepared, split), tokenizer)


def place_of(prepared: Prepared, split: str, index: int) -> str:
    """Where the row stands whose number this is among those that `conversations` and `documents` give."""
    examples: ExampleSet = getattr(prepared, split)
    number = spread(examples.unit_count)[index]
    file = prepared.tasks_file(split)
    if file is None:
        return str(examples.origin(number))
    with file.open(encoding="utf-8") as lines:
        return json.loads(next(islice(lines, number, None)))["origin"]


def _decoded(examples: ExampleSet, tokenizer: Tokenizer, *, only_trained: bool = False) -> Placed:
    wanted = np.flatnonzero(~np.isin(examples.kinds, [*UNWANTED])) if only_trained else np.arange(len(examples))
    indices = wanted[spread(len(wanted))].tolist()
    for start in range(0, len(indices), _AT_ONCE):
        group = [(index, examples[index]) for index in indices[start : start + _AT_ONCE]]
        ids = [(one.ids[one.answer] if only_trained else one.ids).tolist() for _, one in group]
        for (index, _), text in zip(group, tokenizer.decodings(ids), strict=True):
            yield text, str(examples.origin(index))
