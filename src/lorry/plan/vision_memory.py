"""What images take in memory: their features, and the vision part's layers at work; pure arithmetic."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lorry.plan.architecture.model_shape import ModelShape
    from lorry.plan.memory import Load, Setup


def kept(shape: ModelShape, setup: Setup, load: Load) -> dict[str, int]:
    """What is kept of images until the backward pass: their features, and the vision part's layers where those are trained."""
    if shape.vision is None or not load.image_tokens:
        return {}
    features = load.image_tokens * shape.hidden * setup.size * (1 + shape.vision.deep_layers)
    if not sees_in_training(setup):
        return {"features of images": features}
    return {"features of images": features, "activations of the vision part": _of_layers(shape, setup, load)}


def sees_in_training(setup: Setup) -> bool:
    """Whether something of the vision part itself is trained."""
    return setup.lora is None or setup.lora.vision


def _of_layers(shape: ModelShape, setup: Setup, load: Load) -> int:
    """Bytes that autograd keeps of the vision part: norms, inputs, queries, keys, values, results, and the inside of MLPs."""
    vision = shape.vision
    if vision is None:
        return 0
    count = load.image_tokens * vision.patches_per_token
    norms, inner = (4, 5) if vision.gated else (2, 3)
    one = setup.size * ((norms + 6) * vision.hidden + inner * vision.intermediate) + 4 * vision.heads
    if setup.checkpointing:
        return count * (vision.layers * vision.hidden * setup.size + one)
    return count * vision.layers * one


def at_work(shape: ModelShape, setup: Setup, load: Load) -> int:
    """Bytes of the vision part's forward pass where nothing of it is kept: pixels, and one layer at a time."""
    vision = shape.vision
    if vision is None or not load.image_tokens:
        return 0
    count = load.image_tokens * vision.patches_per_token
    pixels = 4 * 3 * load.image_tokens * vision.pixels_per_token * 2
    return pixels + count * setup.size * (6 * vision.hidden + 3 * vision.intermediate)
