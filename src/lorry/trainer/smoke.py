"""What a smoke run checks besides its loss: the checkpoint loads again, and memory is as expected."""

from __future__ import annotations

import torch

from lorry.track.folder import RunFolder
from lorry.trainer import checkpoint
from lorry.trainer.channel import Reporter
from lorry.trainer.model import LoadedModel

GROWTH = 1.1
"""Memory may grow by this factor between the middle and the end of a run before it counts as a leak."""


def check(folder: RunFolder, loaded: LoadedModel, peaks: list[int], events: Reporter) -> None:
    """Writes a `smoke` event for each check; `peaks` are the most bytes in use up to each step."""
    newest = checkpoint.path_of(folder.checkpoints, checkpoint.steps(folder.checkpoints)[-1])
    differing = _differing(folder, loaded)
    checkpoint.verify(newest)
    events.append(
        "smoke",
        check="checkpoint loads",
        passed=not differing,
        message=f"{newest.name} verifies, and the delivered weights are those in memory"
        if not differing
        else f"{len(differing)} tensors differ from those in memory: {differing[0]}",
    )
    half, last = peaks[len(peaks) // 2], peaks[-1]
    events.append(
        "smoke",
        check="memory as expected",
        passed=last <= GROWTH * half,
        message=f"peak {half / 1e9:.2f} GB half-way, {last / 1e9:.2f} GB at the end",
    )


def _differing(folder: RunFolder, loaded: LoadedModel) -> list[str]:
    """Names of delivered tensors that are not, bit for bit, what the model holds (in the precision that it holds)."""
    from peft import get_peft_model_state_dict
    from safetensors.torch import load_file

    name = "adapter_model.safetensors" if loaded.has_adapter else "model.safetensors"
    stored = load_file(folder.adapter / name)
    held = get_peft_model_state_dict(loaded.model) if loaded.has_adapter else loaded.model.state_dict()
    return [key for key, value in stored.items() if key not in held or not _is(value, held[key].cpu())]


def _is(stored: torch.Tensor, held: torch.Tensor) -> bool:
    return torch.equal(stored.to(held.dtype), held)
