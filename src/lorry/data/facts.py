"""Facts of a prepared data set: counts, lengths, hashes, and what the person should be told."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np

from lorry.data.examples import ExampleSet

QUANTILES = (0, 10, 50, 90, 99, 100)


@dataclass(frozen=True)
class SplitFacts:
    """One split: training, evaluation or test rows."""

    rows: int
    examples: int
    """Rows as the trainer sees them: a long document gives several, the two answers of a pair are one."""
    tokens: int
    trained_tokens: int
    """Tokens that count in the loss."""
    cut_rows: int
    """Rows that were longer than `max_length` and lost their end."""
    lengths: dict[str, int]
    """Tokens of an example at quantiles: `p0` (shortest), `p10`, `p50`, `p90`, `p99`, `p100` (longest)."""
    format: str
    sha256: str
    """Hash of the rendered, tokenised and masked set."""


class Said(NamedTuple):
    """Something that the person may want to change: a stable code, the words, and where to look first."""

    code: str
    text: str
    place: str = "data"
    """`file:line` of the first row that it is true of, or a dotted path into the recipe."""


@dataclass(frozen=True)
class DataFacts:
    """What was prepared from which files. `dataclasses.asdict` gives JSON."""

    train: SplitFacts
    eval: SplitFacts | None
    test: SplitFacts | None
    files: dict[str, str]
    """SHA-256 of each input file, by the name that the recipe gives it."""
    bad_rows: int
    """Rows that were skipped because they could not be used."""
    bad_row_lines: list[str]
    """The first of them: place, field, reason, hint."""
    dropped_rows: int
    """Rows of which `max_length` left nothing to train on."""
    near_duplicates: int = 0
    """Training rows that were left out because they nearly repeat an earlier one."""
    notes: list[str] = field(default_factory=list[str])
    """What was resolved for the person, to be said aloud."""
    said: list[Said] = field(default_factory=list[Said])
    """What the person may want to change."""
    images: int = 0
    """Different images in all rows."""
    bad_images: int = 0
    """Rows that were skipped because an image of theirs cannot be decoded."""

    @property
    def warnings(self) -> list[str]:
        """What the person may want to change, in words."""
        return [said.text for said in self.said]

    def split(self, name: str) -> SplitFacts | None:
        """The facts of `train`, `eval` or `test`; None if there is no such split."""
        return {"train": self.train, "eval": self.eval, "test": self.test}[name]

    def rows_sha256(self) -> dict[str, str]:
        """The hashes of what training reads: rows to train and rows to evaluate on."""
        return {name: split.sha256 for name in ("train", "eval") if (split := self.split(name)) is not None}

    def as_json(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**asdict(self), "said": [said._asdict() for said in self.said]}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> DataFacts:
        """From what `as_json` gave."""
        made: dict[str, Any] = {name: value[name] and SplitFacts(**value[name]) for name in ("train", "eval", "test")}
        made["said"] = [Said(**said) for said in value["said"]]
        return cls(**{**value, **made})


def split_facts(examples: ExampleSet, rows: int, cut_rows: int, layout: str) -> SplitFacts:
    """Counts, lengths and hash of one split."""
    lengths = examples.lengths
    marks = np.percentile(lengths, QUANTILES, method="lower") if len(lengths) else np.zeros(len(QUANTILES))
    return SplitFacts(
        rows=rows,
        examples=examples.unit_count,
        tokens=examples.tokens,
        trained_tokens=examples.trained_tokens,
        cut_rows=cut_rows,
        lengths={f"p{quantile}": int(mark) for quantile, mark in zip(QUANTILES, marks, strict=True)},
        format=layout,
        sha256=examples.sha256(),
    )
