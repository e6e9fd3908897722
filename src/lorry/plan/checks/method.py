"""The method against the rows: whether it learns from rows of this kind, and which method would."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, cast

from lorry import plugins
from lorry.errors import LorryError
from lorry.plan.checks._base import Check
from lorry.plan.findings import Explanation, Finding, error

if TYPE_CHECKING:
    from lorry.data.formats._base import Format
    from lorry.plan.subject import Subject
    from lorry.trainer.methods._base import Method

_LOOKED_AT = 200
_KINDS = {
    "preference": "preference pairs (`chosen`, `rejected`)",
    "labelled": "answers with a good-or-bad label",
    "prompt": "prompts without answers",
    "ranking": "pairs and triples for training embeddings",
    "class": "texts with a class",
    "messages": "conversations",
    "text": "raw text",
}
"""Kinds of rows, in words; those that methods learn from by the names by which they accept them."""
_ANSWERS = {
    "preference": "to learn the chosen answers alone, write each as the assistant's turn behind its prompt",
    "labelled": "to learn the good answers alone, write each as the assistant's turn behind its prompt",
    "prompt": "write the answers, as the assistant's turns",
    "ranking": "lorry trains models that generate text; such rows are for embedding models",
    "class": "write the class as the assistant's answer, in words",
}


class MethodCheck(Check):
    """Whether the method learns from rows of the kind that the files hold."""

    explains: ClassVar[Mapping[str, Explanation]] = {
        "method.rows": Explanation(
            "The rows are of a kind that the recipe's method does not learn from.",
            "None of them could be trained on.",
            "Use the method that the finding names, or write the rows in a form that the method takes.",
        ),
    }

    def run(self, subject: Subject) -> Iterable[Finding]:
        """Reads the first training rows as they stand in their files."""
        counts, place = _counted(subject)
        if not counts:
            return
        kind, _ = counts.most_common(1)[0]
        method = subject.recipe.method["name"]
        if subject.method.accepts & set(counts):
            return
        takers = _takers(kind)
        yield error(
            "method.rows",
            f"the rows are {_KINDS[kind]}, which `{method}` does not learn from",
            evidence=f"of the first {counts.total():,} rows: "
            + ", ".join(f"{count:,} {_KINDS[name]}" for name, count in counts.most_common()),
            remedy=f"set `method: {takers[0]}`" if takers else _ANSWERS.get(kind, "see `lorry methods`"),
            place=place,
        )


def _counted(subject: Subject) -> tuple[Counter[str], str]:
    """How many of the first rows are of each kind, and where the first row stands; none where files cannot be read."""
    from lorry.data import files
    from lorry.data.bad_rows import BadRows
    from lorry.data.detect import known_formats

    formats = [kind() for kind in known_formats() if kind.found]
    accepts = subject.method.accepts
    counts: Counter[str] = Counter()
    place = "method"
    try:
        blobs = files.find(subject.recipe.data.train, subject.base)
        for raw, origin in islice(files.read(blobs, BadRows()), _LOOKED_AT):
            kind = _kind(raw, accepts, formats)
            if kind is not None:
                place = place if counts else str(origin)
                counts[kind] += 1
    except LorryError:
        return Counter(), place  # the check `data` says why
    return counts, place


def _kind(raw: Mapping[str, Any], accepts: frozenset[str], formats: Sequence[Format]) -> str | None:
    """What kind of row this is; None where nothing can be said."""
    fields = {name for name, value in raw.items() if value is not None}
    if {"chosen", "rejected"} <= fields:
        return "preference"
    if raw.get("label") is False and fields & {"completion", "messages", "conversations", "response"}:
        return "labelled"
    if fields >= {"anchor", "positive"} or fields >= {"query", "pos"}:
        return "ranking"
    if "text" not in accepts and "label" in fields and fields & {"text", "sentence"}:
        return "class"
    if len(fields) == 1 and fields <= {"prompt", "question", "instruction"}:
        return "prompt"
    known = next((entry for entry in formats if entry.matches(dict(raw))), None)
    return known.gives if known else None


def _takers(kind: str) -> list[str]:
    """The methods that learn from such rows."""
    every = {name: cast("type[Method]", plugins.find("methods", name)) for name in plugins.names("methods")}
    return [name for name, method in every.items() if kind in method.accepts]
