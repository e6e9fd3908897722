"""The rows: whether all can be used, and what will be made of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from lorry import units
from lorry.data.said import LEAKS
from lorry.errors import DataError, LorryError
from lorry.plan.checks._base import Check
from lorry.plan.findings import Explanation, Finding, from_error, note, warning
from lorry.plan.subject import UnavailableError

if TYPE_CHECKING:
    from lorry.data.facts import DataFacts
    from lorry.plan.subject import Subject
    from lorry.recipe.schema import Recipe
    from lorry.trainer.methods._base import Method

_LINE = re.compile(r":\d+$")
_MANY_PASSES = 20
"""Passes over the rows from which a model mostly learns them by heart."""


class DataCheck(Check):
    """Whether every row can be read and rendered; how many there are, and how often each is seen."""

    explains: ClassVar[Mapping[str, Explanation]] = {
        "data.bad-row": Explanation(
            "Rows cannot be used: no JSON, a missing field, a wrong role, an empty answer, turns that the template refuses.",
            "Such a row would stop the run in its middle, or teach something wrong.",
            "Correct the rows at the places that are named, or leave them out with `-o data.on_bad_row=skip`.",
        ),
        "data.bad-image": Explanation(
            "Rows were skipped: an image of theirs is torn, empty, or no image.",
            "Such an image would stop the run in its middle.",
            "Fetch or write the images at the places that are named again; `-o data.on_bad_image=fail` stops at them.",
        ),
        "data.cut-image": Explanation(
            "`data.max_length` would cut rows in the middle of an image's tokens.",
            "A model cannot read a part of an image: such a row ends before it, and what follows it is not learnt.",
            "Raise `data.max_length`, or lower `data.max_pixels`, so that images take fewer tokens.",
        ),
        "data.unusable": Explanation(
            "The files cannot be used: not there, empty, of an unknown kind, broken, or without any usable row.",
            "There is nothing to train on.",
            "Do what the finding says.",
        ),
        "data.read": Explanation(
            "All rows can be read; they were not rendered, since the model or its tokenizer is missing.",
            "How the model will see them is not known yet.",
            "Correct the error about the model, and check again.",
        ),
        "data.rows": Explanation(
            "How many rows there are, and how long they are.",
        ),
        "data.note": Explanation(
            "What was decided for you while the rows were prepared.",
        ),
        "data.passes": Explanation(
            "How often each row is seen.",
        ),
        "data.many-passes": Explanation(
            "Each row is seen very often.",
            "The model learns the rows by heart, and gets worse on others.",
            "Train fewer steps, or on more rows; watch the evaluation loss.",
        ),
        "data.no-eval-rows": Explanation(
            "No row is left over to score.",
            "Metrics would give no numbers.",
            "Name rows in `data.eval`, or raise `data.eval_split`.",
        ),
        "data.cut": Explanation(
            "Many rows are longer than `data.max_length` and lose their end.",
            "The end of an answer, and with it its end token, is not learnt.",
            "Raise `data.max_length`, or shorten the rows.",
        ),
        "data.left-out": Explanation(
            "Rows were left out: no part of their answer lies within `data.max_length`, or there is no room for the model's.",
            "Nothing of them is learnt.",
            "Raise `data.max_length`, lower `method.max_new_tokens`, or shorten what is asked in them.",
        ),
        "data.special-token": Explanation(
            "The text of a turn holds a special token, such as the sign that ends a turn.",
            "The model reads it as the token itself: turns seem to end early, and text can pose as another speaker.",
            "Remove it from the rows.",
        ),
        "data.merged-token": Explanation(
            "The end of the prompt and the beginning of the answer would share a token.",
            "lorry tokenises them apart, as at generation; tools that do not train on tokens that generation never gives.",
        ),
        "template.changes-turns": Explanation(
            "The chat template writes earlier turns otherwise once later ones follow; often it drops their reasoning.",
            "There only turns that stay as they were are trained on.",
            "Nothing, or split such rows so that each turn is the last of a row.",
        ),
        "template.hides-calls": Explanation(
            "The chat template does not write the tool calls of answers.",
            "Turns with calls cannot be trained on.",
            "Set `data.chat_template` to a template that writes them, or use a model made for tools.",
        ),
        "template.hides-tools": Explanation(
            "The chat template does not write the descriptions of tools.",
            "The model would learn to call tools that it is not told of.",
            "Set `data.chat_template` to a template that writes them, or use a model made for tools.",
        ),
        "template.hides-reasoning": Explanation(
            "The chat template does not write the reasoning of answers.",
            "It is not learnt.",
            "Set `data.chat_template` to a template that writes it, or take the reasoning out of the rows.",
        ),
        "template.hides-system": Explanation(
            "The chat template does not write the system turn of rows.",
            "The model would not learn to follow it, or to need it.",
            "Set `data.chat_template` to a template that writes it, or move the text into the first user turn.",
        ),
        "template.prompt-differs": Explanation(
            "The template begins an answer otherwise than its generation prompt does.",
            "The model will be asked otherwise than it was trained.",
            "Set `data.template_args` as it will be used, or correct the template.",
        ),
        "template.adds-no-end": Explanation(
            "The template writes no end token after the last answer of rows; it was added.",
            "Without it the model would not learn to stop.",
            "Nothing; correct the template if other tools will use it.",
        ),
    }

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
        yield from _passes(subject.recipe, facts, subject.method)
        yield from _nothing_to_score(subject.recipe, facts)


def _unusable(cause: LorryError) -> Finding:
    """A row names its line, and many rows their number; everything else is about the files."""
    of_rows = isinstance(cause, DataError) and (_LINE.search(cause.place) or "rows cannot be used" in cause.message)
    found = from_error("data.bad-row" if of_rows else "data.unusable", cause)
    first = _LINE.search(found.evidence.strip().partition(": ")[0])
    return replace(found, place=first.string) if first and not found.place else found


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


def _read(subject: Subject, named: Any) -> int:
    """Reads every row of some files. Raises DataError for those that cannot be used."""
    from lorry.data import files
    from lorry.data.bad_rows import BadRows
    from lorry.data.detect import Layout, rows

    method = subject.method
    # Whether the model reads images is not known here: what merely goes by that name must not be an error.
    layout = Layout(subject.recipe.data.format, method.accepts, type(method).name, reads_images=False)
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
    for said in facts.said:
        message, _, evidence = said.text.partition("\n")
        if said.code != LEAKS:  # the check `leakage` names the rows
            yield warning(said.code, message, evidence=evidence, place=said.place)


def _passes(recipe: Recipe, facts: DataFacts, method: Method) -> Iterable[Finding]:
    """How often each row is seen; packed rows are not counted, since a sequence holds several.

    Where the model answers them itself, a step's answers are several to a row, and several steps may take the same.
    """
    train = recipe.train
    if train.steps is None or recipe.data.packing:
        return
    at_once = train.micro_batch * train.accumulation // method.group
    passes = train.steps * at_once / method.passes / max(facts.train.examples, 1)
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
