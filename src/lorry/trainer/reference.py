"""What the reference says of all rows, computed once before training: for runs that pass over their rows more than once.

It lies in the run's folder, a float32 for each trained token, and is sent nowhere: it is computed again where it is missing.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lorry.data.examples import ExampleSet
from lorry.trainer import checkpoint, memory
from lorry.trainer.forest import plant
from lorry.trainer.policy import Policy

NAME = "reference"
_AHEAD = 64
"""Batches that are sorted by length together, so that a batch holds rows of like length."""


def keep_reference(
    policy: Policy, examples: ExampleSet, file: Path, batch: int, beat: Callable[[], None]
) -> ExampleSet:
    """The same examples, of which is known what the reference says of each trained token (`known["reference"]`).

    `batch` rows are computed at once, fewer where memory does not suffice. What lies at `file` is taken if it is as long as it
    has to be; it is put there whole.
    """
    counts = trained_counts(examples)
    total = int(counts.sum())
    if not (file.is_file() and file.stat().st_size == 4 * total):
        with checkpoint.refusals_told(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            checkpoint.clear_unfinished(file.parent)
            _write(policy, examples, file, batch, beat)
    values: NDArray[np.float32] = np.memmap(file, dtype=np.float32, mode="r") if total else np.zeros(0, np.float32)
    return examples.knowing(NAME, values, np.concatenate([[0], np.cumsum(counts)]))


def _write(policy: Policy, examples: ExampleSet, file: Path, batch: int, beat: Callable[[], None]) -> None:
    aside = file.with_name(f".{file.name}.{os.getpid()}")
    with aside.open("wb") as out:
        for at in range(0, len(examples), batch * _AHEAD):
            rows = range(at, min(at + batch * _AHEAD, len(examples)))
            for values in _said(policy, examples, rows, batch, beat):
                out.write(values.tobytes())
        out.flush()
        os.fsync(out.fileno())
    aside.replace(file)


def file_of(folder: Path, split: str, policy: Policy, made_of: Sequence[str]) -> Path:
    """Where it lies: named by what it depends on, hashes of rows and frozen weights (`made_of`), and the weights begun with."""
    digest = hashlib.sha256("\n".join([*made_of, policy.loaded.precision.weights, policy.loaded.device.type]).encode())
    for tensor in policy.begun:
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return folder / f"{split}-{digest.hexdigest()[:16]}.f32"


def trained_counts(examples: ExampleSet) -> NDArray[np.int64]:
    """Tokens of each example that a forest trains on, `(n,)`: a first one has nothing before it that could predict it."""
    return np.asarray([int(examples[at].trained[1:].sum()) for at in range(len(examples))], dtype=np.int64)


def _said(
    policy: Policy, examples: ExampleSet, rows: Sequence[int], batch: int, beat: Callable[[], None]
) -> list[NDArray[np.float32]]:
    """Of each row, in order."""
    by_length = sorted(rows, key=lambda row: len(examples[row].ids))
    found: dict[int, NDArray[np.float32]] = {}
    while by_length:
        beat()
        taken = by_length[-batch:]  # the longest first, so that memory runs out at once or never
        try:
            found |= zip(taken, _of_batch(policy, examples, taken), strict=True)
        except Exception as error:
            if batch == 1 or not memory.is_out_of_memory(error):
                raise
            batch = batch // 2
        else:
            del by_length[-len(taken) :]
            continue
        memory.release()
    return [found[row] for row in rows]


def _of_batch(policy: Policy, examples: ExampleSet, rows: Sequence[int]) -> list[NDArray[np.float32]]:
    forest = plant([examples[row] for row in rows], share=policy.forward.shares and not policy.loaded.drops)
    with policy.loaded.computing():
        said = policy.reference_log_probs(forest).float().cpu().numpy()
    ends = np.cumsum(np.bincount(forest.rows, minlength=len(rows)))[:-1]
    return np.split(said, ends)
