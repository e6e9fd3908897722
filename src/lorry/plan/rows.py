"""The training rows as text again: what a model is taught, with the place where it stands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from lorry.data.examples import ExampleSet
    from lorry.data.rows import Origin
    from lorry.data.tokenizer import Tokenizer


MOST = 200_000
"""Rows that are screened; of more, as many spread evenly over the set, which takes about a quarter of a minute."""


def spread(count: int, most: int = MOST) -> list[int]:
    """The indices of all of `count` things, or of `most` that are spread evenly."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64)).tolist()


def taught(examples: ExampleSet, tokenizer: Tokenizer) -> Iterator[tuple[str, Origin]]:
    """The trained part of each example, decoded: the answers, or the whole text."""
    for index in spread(len(examples)):
        example = examples[index]
        yield tokenizer.decode(example.ids[example.trained].tolist()), examples.origin(index)


def whole(examples: ExampleSet, tokenizer: Tokenizer) -> Iterator[tuple[str, Origin]]:
    """All of each example, decoded."""
    for index in spread(len(examples)):
        yield tokenizer.decode(examples[index].ids.tolist()), examples.origin(index)
