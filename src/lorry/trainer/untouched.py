"""Which parts of a vision model the adapter leaves alone. Imports no torch: plans ask, too."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from lorry.recipe.lora import LoraSettings

_TOWERS = ("vision_tower", "vision_model", r"visual(?!\.(?:merger|deepstack_merger_list)\.)")
_JOINTS = ("multi_modal_projector", "connector", r"visual\.(?:merger|deepstack_merger_list)")
"""As patterns of a part of a module's name; Qwen keeps what leads to the text in its tower."""


def excluded(lora: LoraSettings, names: Iterable[str]) -> str | None:
    """The pattern, where it means any of these modules; PEFT warns of one that means none."""
    pattern = left_alone(lora)
    return pattern if pattern and any(re.fullmatch(pattern, name) for name in names) else None


def left_alone(lora: LoraSettings) -> str | None:
    """A pattern for whole names of modules, as PEFT takes it for `exclude_modules`; None where all may be adapted."""
    parts = [*([] if lora.vision else _TOWERS), *([] if lora.projector else _JOINTS)]
    return rf"(?:.*\.)?(?:{'|'.join(parts)})\..*" if parts else None


def reached(lora: LoraSettings, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """The modules that the adapter may sit on, of these."""
    pattern = left_alone(lora)
    return {name: shape for name, shape in shapes.items() if not (pattern and re.fullmatch(pattern, name))}
