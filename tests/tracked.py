"""Reads back what trackers were told: TensorBoard's files with TensorBoard itself, W&B's with its own messages."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_BLOCK, _HEADER = 32768, 7
"""W&B's files are LevelDB logs after 7 bytes: blocks of records with checksum, length and kind before each."""


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Each curve as TensorBoard would draw it: step and value."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder / "tensorboard"))
    read.Reload()
    return {tag: [(at.step, at.value) for at in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


def texts(folder: Path) -> dict[str, str]:
    """The last text under each tag."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder / "tensorboard"))
    read.Reload()
    return {tag: read.Tensors(tag)[-1].tensor_proto.string_val[0].decode() for tag in read.Tags()["tensors"]}


def wandb_records(folder: Path) -> list[list[Any]]:
    """The records of each session, in the order in which they were begun."""
    from wandb.proto import wandb_internal_pb2

    def parsed(raw: bytes) -> Any:
        record = wandb_internal_pb2.Record()
        record.ParseFromString(raw)
        return getattr(record, record.WhichOneof("record_type"))

    files = sorted((folder / "wandb").glob("offline-run-*/*.wandb"))
    return [[parsed(raw) for raw in _raw(file.read_bytes())] for file in files]


def wandb_rows(folder: Path) -> list[dict[str, Any]]:
    """What was logged, row by row."""
    rows = [record for session in wandb_records(folder) for record in session if _kind(record) == "HistoryRecord"]
    return [{_key(item): json.loads(item.value_json) for item in row.item} for row in rows]


def wandb_summary(folder: Path) -> dict[str, Any]:
    """The final numbers."""
    rows = [record for session in wandb_records(folder) for record in session if _kind(record) == "SummaryRecord"]
    return {_key(item): json.loads(item.value_json) for row in rows for item in row.update}


def wandb_runs(folder: Path) -> list[Any]:
    """The run as each session named it."""
    return [record for session in wandb_records(folder) for record in session if _kind(record) == "RunRecord"]


def _kind(record: Any) -> str:
    return type(record).__name__


def _key(item: Any) -> str:
    return item.key or ".".join(item.nested_key)


def _raw(content: bytes) -> Iterator[bytes]:
    at, whole = _HEADER, b""
    while at + _HEADER <= len(content):
        left = _BLOCK - at % _BLOCK
        if left < _HEADER:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + _HEADER])
        whole += content[at + _HEADER : at + _HEADER + length]
        at += _HEADER + length
        if kind in (1, 4):  # whole, or the last part of a record
            yield whole
            whole = b""
