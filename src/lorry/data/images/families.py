"""How many tokens an image becomes, and how they are written into the text: one rule a family, as its processor has it.

Follows Transformers 5.23 (`processing_*.py` and `image_processing_pil_*.py` of each family), and is tested equal to it:
the placeholders must be exactly as many as the model's vision part gives features.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lorry.errors import DataError

Settings = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Layout:
    """One image in the text."""

    text: str
    """What stands in the place of the template's single image token."""
    tokens: int
    """Placeholders in it, each of which becomes one feature of the vision part."""
    patches: int
    """Patches that the vision part computes, for memory."""
    grid: tuple[int, int] = (0, 0)
    """Rows and columns of tokens, where the model gives each its place in the plane."""


Rule = Callable[[int, int, str], Layout]
"""The layout of an image, from its width and height in pixels and the image token."""


def llava(config: Settings, processor: Settings) -> Rule | None:
    """LLaVA 1.5: every image is cropped to one size, and each patch is a token."""
    vision: Settings = config.get("vision_config") or {"patch_size": 14}
    kind = vision.get("model_type", "clip_vision_model")
    if kind not in ("clip_vision_model", "siglip_vision_model"):
        return None
    size = processor.get("crop_size") if processor.get("do_center_crop", True) else processor.get("size")
    size = size or {"height": 224, "width": 224}
    height, width = (size, size) if isinstance(size, int) else (size["height"], size["width"])
    edge: int = vision.get("patch_size", 32 if kind == "clip_vision_model" else 16)
    count = (height // edge) * (width // edge)
    patches = count + (kind == "clip_vision_model")
    tokens = patches - (config.get("vision_feature_select_strategy", "default") == "default")
    return lambda _width, _height, token: Layout(token * tokens, tokens, patches)


def idefics(config: Settings, processor: Settings) -> Rule:
    """Idefics3 and SmolVLM: an image is cut into squares, each written with its row and column, and shown whole behind them."""
    vision: Settings = config.get("vision_config") or {}
    patches = (vision.get("image_size", 224) // vision.get("patch_size", 32)) ** 2
    tokens = patches // config.get("scale_factor", 2) ** 2
    edge: int = (processor.get("max_image_size") or {}).get("longest_edge", 364)
    longest: int = (processor.get("size") or {}).get("longest_edge", 4 * 364)
    splits: bool = processor.get("do_image_splitting", True)
    whole = "<fake_token_around_image><global-img>{}<fake_token_around_image>"

    def rule(width: int, height: int, token: str) -> Layout:
        rows, columns = _squares(width, height, edge, longest) if splits else (0, 0)
        run = token * tokens
        parts = [
            "".join(f"<fake_token_around_image><row_{row + 1}_col_{column + 1}>{run}" for column in range(columns))
            + "\n"
            for row in range(rows)
        ]
        text = "".join([*parts, "\n" if rows else "", whole.format(run)])
        return Layout(text, tokens * (rows * columns + 1), patches * (rows * columns + 1))

    return rule


def _squares(width: int, height: int, edge: int, longest: int) -> tuple[int, int]:
    """Rows and columns of squares that an image is cut into; (0, 0) where it is one square."""
    width, height = _to_longest(width, height, longest)
    ratio = width / height
    if width >= height:
        width = math.ceil(width / edge) * edge
        height = math.ceil(int(width / ratio) / edge) * edge
    else:
        height = math.ceil(height / edge) * edge
        width = math.ceil(int(height * ratio) / edge) * edge
    return (height // edge, width // edge) if height > edge or width > edge else (0, 0)


def _to_longest(width: int, height: int, longest: int) -> tuple[int, int]:
    """The size with this longer side, the other one even; never above 4,096."""
    ratio = width / height
    if width >= height:
        width, height = longest, max(_even(int(longest / ratio)), 1)
    else:
        width, height = max(_even(int(longest * ratio)), 1), longest
    ratio, most = width / height, 4096
    if width >= height and width > most:
        width, height = most, max(int(most / ratio), 1)
    elif height > width and height > most:
        width, height = max(int(most * ratio), 1), most
    return width, height


def _even(size: int) -> int:
    return size + size % 2


def qwen(config: Settings, processor: Settings) -> Rule:
    """Qwen2-VL, Qwen2.5-VL and Qwen3-VL: an image keeps its size, in whole tokens, within bounds of pixels."""
    vision: Settings = config.get("vision_config") or {}
    merge: int = processor.get("merge_size") or vision.get("spatial_merge_size", 2)
    edge = (processor.get("patch_size") or vision.get("patch_size", 14)) * merge
    size: Settings = processor.get("size") or {}
    least = processor.get("min_pixels") or size.get("shortest_edge") or 56 * 56
    most = processor.get("max_pixels") or size.get("longest_edge") or 28 * 28 * 1280

    def rule(width: int, height: int, token: str) -> Layout:
        rows, columns = _in_tokens(width, height, edge, least, most)
        return Layout(token * (rows * columns), rows * columns, rows * columns * merge**2, (rows, columns))

    return rule


def _in_tokens(width: int, height: int, edge: int, least: int, most: int) -> tuple[int, int]:
    """Rows and columns of tokens, each `edge` pixels wide and high. Raises DataError for an image that is too long."""
    if max(height, width) / min(height, width) > 200:
        raise DataError(f"an image is {width} x {height} pixels: one side is more than 200 times the other")
    rows, columns = round(height / edge), round(width / edge)
    if rows * columns * edge**2 > most:
        shrunk = math.sqrt(height * width / most)
        rows, columns = (max(1, math.floor(side / shrunk / edge)) for side in (height, width))
    elif rows * columns * edge**2 < least:
        grown = math.sqrt(least / (height * width))
        rows, columns = (math.ceil(side * grown / edge) for side in (height, width))
    return rows, columns


FAMILIES: Mapping[str, Callable[[Settings, Settings], Rule | None]] = {
    "idefics3": idefics,
    "llava": llava,
    "qwen2_5_vl": qwen,
    "qwen2_vl": qwen,
    "qwen3_vl": qwen,
    "smolvlm": idefics,
}
"""By `model_type`; of the whole configuration and the image processor's settings. None for a tower that is not known."""
PLANAR = frozenset(kind for kind, family in FAMILIES.items() if family is qwen)
"""Those that give each token a place in the plane."""


def rule_of(config: Settings, processor: Settings) -> Rule | None:
    """The rule of a model; None for one that reads no images, or that lorry does not know."""
    family = FAMILIES.get(str(config.get("model_type")))
    return family(config, processor) if family else None
