"""Rows by what they say, blanks and case aside: numbers that are equal where prompts, or whole rows, are."""

from __future__ import annotations

import hashlib
import json
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lorry.plan.rows import conversations, documents

if TYPE_CHECKING:
    from lorry.data.prepare import Prepared
    from lorry.data.tokenizer import Tokenizer

Hashes = NDArray[np.uint64]


@dataclass(frozen=True)
class Fingerprints:
    """64 bits for each row of a split, `(rows,)`. Raw text has no prompt: both say the same of it."""

    prompts: Hashes
    rows: Hashes


def fingerprints(prepared: Prepared, split: str, tokenizer: Tokenizer) -> Fingerprints:
    """The fingerprints of the rows that `conversations` or `documents` give, in their order."""
    prompts, rows = array("Q"), array("Q")
    for line in conversations(prepared, split):
        task: dict[str, Any] = json.loads(line)
        prompt = _prompt(task)
        prompts.append(_hash(prompt))
        rows.append(_hash(f"{prompt}\0{_plain(task['truth'])}\0{_plain(task.get('apart', ''))}"))
    for text, _ in documents(prepared, split, tokenizer):
        rows.append(_hash(_plain(text)))
        prompts.append(rows[-1])
    return Fingerprints(_numbers(prompts), _numbers(rows))


def _prompt(task: dict[str, Any]) -> str:
    """The turns before the answer, and the tools, as text."""
    turns = [
        f"{turn['role']}\0{_plain(str(turn['content']))}\0{turn.get('tool_calls') or ''}" for turn in task["messages"]
    ]
    return "\0".join([*turns, str(task["tools"] or "")])


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def _numbers(found: array[int]) -> Hashes:
    return np.frombuffer(found, dtype=np.uint64) if found else np.zeros(0, np.uint64)
