"""Rows by what they say, blanks and case aside: numbers that are equal where prompts, or whole rows, are.

Beside them stand sketches, which are alike where the rows are.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lorry.data.alike.repeats import Sketcher, Told
from lorry.data.alike.tasks import asked_and_answered, reader, set_apart_by
from lorry.plan.rows import documents, placed_conversations, spread

if TYPE_CHECKING:
    from lorry.data.examples import ExampleSet
    from lorry.data.prepare import Prepared
    from lorry.data.tokenizer import Tokenizer

COMPARED = 5_000
"""Pairs of nearly equal rows that checks read and compare, in a second or two; sketches decide about the rest."""

_LONG = 200
"""Letters of an answer from which two that are equal are one: shorter ones may be right for many prompts."""

Hashes = NDArray[np.uint64]


@dataclass(frozen=True)
class Fingerprints:
    """Of each row of a split. Raw text has no prompt: both numbers say the same of it."""

    prompts: Hashes
    """64 bits for each row, `(rows,)`."""
    rows: Hashes
    answers: Hashes
    """64 bits for each row whose answer is long enough to be nobody else's, 0 for the others, `(rows,)`."""
    told: Told
    """The same rows by what they nearly say."""


def fingerprints(prepared: Prepared, split: str, tokenizer: Tokenizer) -> Fingerprints:
    """The fingerprints of the rows that `conversations` or `documents` give, in their order."""
    file = prepared.tasks_file(split)
    if file is None:
        return _of_documents(prepared, split, tokenizer)
    prompts, rows, answers, offsets, sketcher = array("Q"), array("Q"), array("Q"), array("q"), Sketcher()
    for offset, line in placed_conversations(prepared, split):
        task: dict[str, Any] = json.loads(line)
        prompt = _prompt(task)
        prompts.append(_hash(prompt))
        answer = _plain(task["truth"])
        rows.append(_hash(f"{prompt}\0{answer}\0{_plain(task.get('apart', ''))}"))
        answers.append(_hash(answer) if len(answer) >= _LONG else 0)
        offsets.append(offset)
        sketcher.add(*asked_and_answered(task), set_apart_by(task))
    return Fingerprints(_numbers(prompts), _numbers(rows), _numbers(answers), sketcher.told(reader(file, offsets)))


def _of_documents(prepared: Prepared, split: str, tokenizer: Tokenizer) -> Fingerprints:
    rows, sketcher = array("Q"), Sketcher()
    for text, _ in documents(prepared, split, tokenizer):
        rows.append(_hash(_plain(text)))
        sketcher.add("", text)
    examples: ExampleSet = getattr(prepared, split)
    indices = spread(len(examples))

    def read(index: int) -> tuple[str, str]:
        return "", tokenizer.decode(examples[indices[index]].ids.tolist())

    return Fingerprints(_numbers(rows), _numbers(rows), np.zeros(len(rows), np.uint64), sketcher.told(read))


def _prompt(task: dict[str, Any]) -> str:
    """The turns before the answer, and the tools, as text."""
    turns = [
        f"{turn['role']}\0{_plain(str(turn['content']))}\0{turn.get('tool_calls') or ''}" for turn in task["messages"]
    ]
    shown = [digest for _, digest in task.get("images", [])]
    return "\0".join([*turns, str(task["tools"] or ""), *shown])


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def _numbers(found: array[int]) -> Hashes:
    return np.frombuffer(found, dtype=np.uint64) if found else np.zeros(0, np.uint64)
