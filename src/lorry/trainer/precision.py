"""Which number format a model is trained in: one pure table from what the checkpoint, the recipe and the hardware say."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Precision:
    """How weights are held and products computed. Adapters and optimizer states are always fp32."""

    weights: str
    """Format of the loaded weights: `bfloat16`, `float16` or `float32`."""
    autocast: str | None
    """Format that products are computed in when it is not that of the weights (full fine-tuning)."""
    scaled: bool
    """Whether the loss is scaled, so that fp16 gradients do not vanish."""
    why: str


SEEING = ("visual", "vision_tower", "vision_model", "multi_modal_projector", "connector")
"""The modules that read images: they keep their 16 bits where the text part is quantised, as few as they are."""
FORMATS = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}


def decide(wanted: str, checkpoint: str, *, device: str, has_bf16: bool, full: bool = False) -> Precision:
    """The precision of a run.

    `wanted` is the recipe's, `checkpoint` the format on disk (`bfloat16`, ...), `device` `cuda` or `cpu`, `full` says that
    all weights are trained: they are then kept in fp32 and only computed in less, because small updates vanish in 16 bits.
    """
    compute, why = _compute(wanted, checkpoint, device, has_bf16)
    if full and compute != "float32":
        return Precision("float32", compute, compute == "float16", f"{why}; weights in fp32 because all are trained")
    return Precision(compute, None, compute == "float16", why)


def _compute(wanted: str, checkpoint: str, device: str, has_bf16: bool) -> tuple[str, str]:
    if wanted != "auto":
        return FORMATS[wanted], f"the recipe says {wanted}"
    if has_bf16:
        if checkpoint == "float16":
            return "bfloat16", "the checkpoint is fp16, and this hardware computes bf16, which needs no loss scaling"
        return checkpoint, f"the checkpoint's own, {checkpoint}"
    if device == "cuda":
        return "float16", "this GPU has no bf16"
    return "float32", "this processor has no bf16"
