"""Liger's kernels in place of Transformers' own norms, rotations and MLPs: quicker on CUDA, the same numbers."""

from __future__ import annotations

import torch
from transformers import PreTrainedModel

from lorry.recipe.schema import TrainSettings


def use_liger(model: PreTrainedModel, train: TrainSettings, device: torch.device) -> list[str]:
    """Puts the kernels into a model that is on a CUDA device, if the recipe wants them; returns what to tell the person.

    Nothing is said where Liger is not installed: it is an addition, not something that is missing.
    """
    if not train.liger or device.type != "cuda":
        return []
    try:
        from liger_kernel.transformers import monkey_patch as liger  # pyright: ignore
    except ImportError:
        return []
    kind = model.config.model_type
    if kind not in liger.MODEL_TYPE_TO_APPLY_LIGER_FN:
        return [f"Liger has no kernels for the architecture {kind}"]
    # Its fused head and loss are left out: lorry's own head sees trained tokens alone.
    liger._apply_liger_kernel_to_instance(model=model, fused_linear_cross_entropy=False)
    return ["Liger's kernels are in use"]
