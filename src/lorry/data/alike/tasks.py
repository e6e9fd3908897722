"""What rendered rows say, for comparing them: conversations from their file of tasks, raw text from its tokens."""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lorry.data.alike.repeats import Sketcher, Text, Told
from lorry.data.rows import INSTRUCTING

if TYPE_CHECKING:
    from lorry.data.staging import Staged
    from lorry.data.tokenizer import Tokenizer


def asked_and_answered(task: dict[str, Any]) -> Text:
    """What a task's row asks and answers. What instructs the model is left out: most rows share it."""
    turns = [turn for turn in task["messages"] if turn["role"] not in INSTRUCTING]
    shown = (digest for _, digest in task.get("images", []))
    asked = "\n".join([*(f"{turn['content']}{turn.get('tool_calls') or ''}" for turn in turns), *shown])
    return asked, "\n".join(part for part in (task["truth"], task.get("apart", "")) if part)


def set_apart_by(task: dict[str, Any]) -> str:
    """What else makes a task's row another than one that asks and answers the same: what instructs the model, its tools, what
    it thinks, and the images that it is shown. Empty for nothing of all this.
    """
    instructed = [turn["content"] for turn in task["messages"] if turn["role"] in INSTRUCTING]
    thought = [turn.get("reasoning_content") or "" for turn in task["messages"]]
    shown = [digest for _, digest in task.get("images", [])]
    parts = [instructed, thought if any(thought) else [], task.get("reasoning", ""), task.get("tools") or [], shown]
    return json.dumps(parts, sort_keys=True) if any(parts) else ""


def placed_lines(file: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a file, each with the byte at which it begins."""
    offset = 0
    with file.open("rb") as lines:
        for line in lines:
            yield offset, line
            offset += len(line)


def reader(file: Path, offsets: Sequence[int]) -> Callable[[int], Text]:
    """Reads what the row of a number says, whose task stands at the offset of this number."""

    def read(index: int) -> Text:
        with file.open("rb") as lines:
            lines.seek(offsets[index])
            return asked_and_answered(json.loads(lines.readline()))

    return read


def told_by(staged: Staged, tokenizer: Tokenizer) -> Told:
    """What the rows of a staged set say, in their order."""
    sketcher = Sketcher()
    file = staged.folder / "tasks.jsonl"
    if not file.stat().st_size:
        documents = _documents(staged, tokenizer)
        for index in range(len(staged.keys)):
            sketcher.add(*documents(index))
        return sketcher.told(documents)
    offsets = array("q")
    for offset, line in placed_lines(file):
        offsets.append(offset)
        task = json.loads(line)
        sketcher.add(*asked_and_answered(task), set_apart_by(task))
    return sketcher.told(reader(file, offsets))


def _documents(staged: Staged, tokenizer: Tokenizer) -> Callable[[int], Text]:
    """Reads the raw text of a row; it asks nothing."""
    begins = np.searchsorted(staged.row_of, np.arange(len(staged.keys) + 1)).tolist()

    def read(row: int) -> Text:
        pieces = [staged.examples[index].ids.tolist() for index in range(begins[row], begins[row + 1])]
        return "", "".join(tokenizer.decodings(pieces))

    return read
