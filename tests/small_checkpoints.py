"""Whole checkpoints without a model, of a few hundred bytes."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path

from lorry.trainer import checkpoint

RUNG = {
    "micro_batch": 8,
    "accumulation": 1,
    "activation_checkpointing": False,
    "eval_batch": 8,
    "generation_batch": 8,
}


def saved(root: Path, step: int, state: Mapping[str, object] | None = None) -> Path:
    """The checkpoint of a step, which its tensors tell."""
    place = checkpoint.path_of(root, step)
    place.mkdir(parents=True)
    header = json.dumps({"step": {"dtype": "I64", "shape": [1], "data_offsets": [0, 8]}}).encode()
    content = struct.pack("<Q", len(header)) + header + struct.pack("<q", step)
    for name in ("adapter_model.safetensors", checkpoint.OPTIMIZER, checkpoint.RNG):
        (place / name).write_bytes(content)
    (place / checkpoint.STATE).write_text(json.dumps({"step": step, "scores": {}, "rung": RUNG, **(state or {})}))
    checkpoint.write_manifest(place)
    return place
