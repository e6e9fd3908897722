"""What a run writes, where, and how much."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lorry.plan.adapter_size import parameters

if TYPE_CHECKING:
    from lorry.plan.subject import Subject
    from lorry.recipe.schema import TrainSettings

_STATE_BYTES = 12  # a trained parameter in fp32, and AdamW's two moments
_ADAPTER_BYTES = 4  # a trained parameter as it is delivered, in fp32 at most


@dataclass(frozen=True)
class Need:
    """One thing that is written, below a folder."""

    what: str
    folder: Path
    bytes: float
    is_run: bool = False
    """Whether it goes into the run's own folder."""


def written(subject: Subject) -> int:
    """Bytes that a run writes into its folder; 0 where the model's tensors are not known."""
    return round(sum(need.bytes for need in needs(subject) if need.is_run))


def needs(subject: Subject) -> Iterable[Need]:
    """Everything that a run writes as far as it can be estimated; nothing where the model's tensors are not known."""
    from lorry.track.folder import cache, home

    tensors = subject.tensors
    if not tensors:
        return
    stored = sum(tensor.bytes for tensor in tensors.values())
    source = subject.source
    if subject.recipe.compute.is_here and not any(source.folder.glob("*.safetensors")):
        if source.kind == "hub" and stored:
            from huggingface_hub.constants import HF_HUB_CACHE

            yield Need("the model", Path(HF_HUB_CACHE), stored)
        else:
            yield Need("the converted model", cache(), 2 * parameters(tensors))
    lora = subject.recipe.lora
    trained = subject.adapter_parameters if lora else parameters(tensors)
    kept = _kept(subject.recipe.train)
    yield Need(f"{kept} checkpoints", home(), trained * _STATE_BYTES * kept, is_run=True)
    yield Need("the adapter" if lora else "the trained model", home(), trained * _ADAPTER_BYTES, is_run=True)


def _kept(train: TrainSettings) -> int:
    """Checkpoints on the disk at once: the first, the last, the best, and the one being written."""
    kept = train.keep + (1 + train.keep_best if train.keep_best else 1)
    return min(kept, train.steps or kept) + 1
