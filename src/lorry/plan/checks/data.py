"""The rows: whether all can be used, and what will be made of them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from lorry import units
from lorry.errors import DataError, LorryError
from lorry.plan.checks._base import Check
from lorry.plan.findings import Finding, from_error, note, warning
from lorry.plan.subject import UnavailableError

if TYPE_CHECKING:
    from lorry.data.facts import DataFacts
    from lorry.plan.subject import Subject
    from lorry.recipe.schema import Recipe

_LINE = re.compile(r":\d+$")
_MANY_PASSES = 20
"""Passes over the rows from which a model mostly learns them by heart."""


class DataCheck(Check):
    """Whether every row can be read and rendered; how many there are, and how often each is seen."""

    def run(self, subject: Subject) -> Iterable[Finding]:
        """Reads and renders all rows."""
        try:
            facts = subject.prepared.facts
        except UnavailableError as unavailable:
            if unavailable.part != "prepared":
                yield from _unrendered(subject, unavailable.name)
            elif isinstance(unavailable.cause, LorryError):
                yield _unusable(unavailable.cause)
            else:
                raise unavailable.cause from unavailable
            return
        yield _counts(facts)
        yield from _said(facts)
        yield from _passes(subject.recipe, facts)
        yield from _nothing_to_score(subject.recipe, facts)


def _unusable(cause: LorryError) -> Finding:
    """A row names its line, and many rows their number; everything else is about the files."""
    of_rows = isinstance(cause, DataError) and (_LINE.search(cause.place) or "rows cannot be used" in cause.message)
    return from_error("data.bad-row" if of_rows else "data.unusable", cause)


def _unrendered(subject: Subject, missing: str) -> Iterable[Finding]:
    """What can be said about rows without a tokenizer: whether each can be read and has what its format needs."""
    data = subject.recipe.data
    named = {name: files for name in ("train", "eval", "test") if (files := getattr(data, name)) is not None}
    read = 0
    try:
        for files in named.values():
            read += _read(subject, files)
    except LorryError as cause:
        yield _unusable(cause)
        return
    yield note("data.read", f"all {read:,} rows can be read; they are not rendered, since {missing} cannot be had")


def _read(subject: Subject, named: str | list[str]) -> int:
    """Reads every row of some files. Raises DataError for those that cannot be used."""
    from lorry.data import files
    from lorry.data.bad_rows import BadRows
    from lorry.data.detect import Layout, rows

    method = subject.method
    layout = Layout(subject.recipe.data.format, method.accepts, type(method).name)
    blobs = files.find(named, subject.base)
    bad = BadRows()
    usable = sum(1 for _ in rows(blobs, layout, bad))
    if layout.mixed:
        layout.settle()
        bad = BadRows()
        usable = sum(1 for _ in rows(blobs, layout, bad))
    if bad.count and (subject.recipe.data.on_bad_row == "fail" or not usable):
        raise bad.error(usable + bad.count)
    return usable


def _counts(facts: DataFacts) -> Finding:
    splits = {name: split for name in ("train", "eval", "test") if (split := facts.split(name)) is not None}
    rows = ", ".join(f"{split.rows:,} {name}" for name, split in splits.items())
    lengths = facts.train.lengths
    evidence = f"tokens of a row: half up to {lengths['p50']:,}, the longest {lengths['p100']:,}"
    return note("data.rows", f"{rows} rows; {facts.train.tokens:,} tokens to train with", evidence=evidence)


def _said(facts: DataFacts) -> Iterable[Finding]:
    for said in facts.notes:
        yield note("data.note", said)
    for said in facts.warnings:
        message, _, evidence = said.partition("\n")
        bad = facts.bad_rows and evidence
        yield warning("data.bad-row" if bad else "data.warning", message, evidence=evidence, place="data")


def _passes(recipe: Recipe, facts: DataFacts) -> Iterable[Finding]:
    """How often each row is seen; packed rows are not counted, since a sequence holds several."""
    train = recipe.train
    if train.steps is None or recipe.data.packing:
        return
    at_once = train.micro_batch * train.accumulation
    passes = train.steps * at_once / max(facts.train.examples, 1)
    message = f"{train.steps:,} steps of {at_once} rows are {passes:.3g} passes over the training rows"
    if passes > _MANY_PASSES:
        remedy = "train fewer steps, or on more rows; watch the evaluation loss"
        yield warning("data.many-passes", message, remedy=remedy, place="train.steps")
    else:
        yield note("data.passes", message, place="train.steps")


def _nothing_to_score(recipe: Recipe, facts: DataFacts) -> Iterable[Finding]:
    asked = recipe.data.eval is not None or recipe.data.eval_split > 0
    if asked and facts.eval is None and facts.test is None and recipe.evaluate.metrics:
        names = ", ".join(str(metric.get("name")) for metric in recipe.evaluate.metrics)
        yield warning(
            "data.no-eval-rows",
            f"no row is left to score by {names}, of {units.count(facts.train.rows)}",
            remedy="name rows in data.eval, or raise data.eval_split",
            place="evaluate.metrics",
        )
