"""Statistics of a rendered set: how long rows are, how many are cut, how much of them is trained on."""

from __future__ import annotations

from typing import Any

import numpy as np

from lorry.data.examples import ExampleSet
from lorry.data.facts import SplitFacts

_BINS = 12
_WIDTH = 40


def described(facts: SplitFacts, examples: ExampleSet) -> dict[str, Any]:
    """A split's statistics, for programs."""
    return {
        "rows": facts.rows,
        "examples": facts.examples,
        "format": facts.format,
        "tokens": facts.tokens,
        "trained_tokens": facts.trained_tokens,
        "trained_share": facts.trained_tokens / facts.tokens if facts.tokens else 0.0,
        "cut_rows": facts.cut_rows,
        "mean_length": facts.tokens / facts.examples if facts.examples else 0.0,
        "lengths": facts.lengths,
        "histogram": [{"from": low, "to": high, "examples": count} for low, high, count in histogram(examples)],
        "sha256": facts.sha256,
    }


def histogram(examples: ExampleSet, bins: int = _BINS) -> list[tuple[int, int, int]]:
    """Lengths in bins of equal width: shortest and longest length in tokens, and how many examples."""
    lengths = examples.lengths
    if not len(lengths):
        return []
    low, high = int(lengths.min()), int(lengths.max())
    width = max(1, -(-(high - low + 1) // bins))
    counts = np.bincount((lengths - low) // width)
    return [
        (low + width * index, min(low + width * (index + 1) - 1, high), int(count))
        for index, count in enumerate(counts)
    ]


def lines(name: str, facts: SplitFacts, examples: ExampleSet) -> list[str]:
    """A split's statistics as text: a summary and a histogram."""
    share = facts.trained_tokens / facts.tokens if facts.tokens else 0.0
    several = f" in {facts.examples:,} pieces" if facts.examples != facts.rows else ""
    marks = facts.lengths
    head = [
        f"{name}: {facts.rows:,} rows{several}, {facts.tokens:,} tokens, {share:.0%} of them trained on",
        f"  tokens a row: shortest {marks['p0']:,}, median {marks['p50']:,}, 90 % up to {marks['p90']:,}, "
        f"99 % up to {marks['p99']:,}, longest {marks['p100']:,}",
        f"  cut at the end: {facts.cut_rows:,} rows",
    ]
    return head + bars(histogram(examples))


def bars(counted: list[tuple[int, int, int]]) -> list[str]:
    """A histogram in text, one line a bin."""
    if not counted:
        return []
    most = max(count for _, _, count in counted)
    wide = len(f"{counted[-1][1]:,}")
    lines: list[str] = []
    for low, high, count in counted:
        bar = "#" * max(1, round(_WIDTH * count / most)) if count else ""
        lines.append(f"  {low:>{wide},} - {high:>{wide},} {bar:<{_WIDTH}} {count:,}")
    return lines
