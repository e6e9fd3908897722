"""Images in a plan: what the vision part keeps is what autograd keeps, and plans count it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from lorry.data.images.picture import AlbumWriter
from lorry.data.render import Renderer
from lorry.data.rows import MARK, Origin, Row
from lorry.data.tokenizer import Tokenizer
from lorry.plan.architecture.model_shape import model_shape
from lorry.plan.memory import Load, Setup, estimate
from lorry.plan.subject import Subject
from lorry.recipe.schema import LoraSettings, Recipe
from lorry.trainer.forest import plant
from lorry.trainer.model import load
from lorry.trainer.sources.tensors import tensors
from tiny_vision import picture, save_vision, vision_recipe

WIDE = {"hidden_size": 256, "intermediate_size": 512}
TOWERS = {
    "llava": {**WIDE, "num_hidden_layers": 6, "num_attention_heads": 4},
    "qwen2_5_vl": {**WIDE, "depth": 6, "num_heads": 4},
    "qwen3_vl": {**WIDE, "depth": 6, "num_heads": 4},
}


def planned(folder: Path, tokens: int, text: int = 8, **lora: bool) -> dict[str, int]:
    shape, held = model_shape(json.loads((folder / "config.json").read_text())), tensors(folder)
    assert shape is not None
    assert held is not None
    setup = Setup("float32", LoraSettings(rank=4, **lora), on_gpu=False)
    return estimate(shape, held, setup, Load(tokens + text, tokens + text, 3, image_tokens=tokens)).device


@pytest.mark.parametrize("kind", sorted(TOWERS))
def test_vision_part_keeps_what_the_plan_says(tmp_path, kind):
    folder = save_vision(tmp_path / "model", kind, vision=TOWERS[kind])
    album = AlbumWriter(tmp_path)
    pictures = [album.add(picture(at, 200, 200), 200, 200) for at in range(3)]
    renderer = Renderer(Tokenizer.open(folder), 4096)
    turns = [{"role": "user", "content": f"{MARK}see"}, {"role": "assistant", "content": "b"}]
    rows = [renderer.chat(Row(Origin("rows", 1), messages=turns, pictures=(one,))) for one in pictures]
    values = {"model": {"id": str(folder)}, "data": {"train": "-"}, "lora": {"rank": 4, "vision": True}}
    loaded, forest = load(Recipe.model_validate(values), folder), plant(rows)
    said = planned(folder, forest.image_tokens, vision=True)["activations of the vision part"]
    assert said == pytest.approx(kept_by_autograd(loaded, forest), rel=0.25)


def kept_by_autograd(loaded, forest) -> int:
    """Bytes of all tensors that the backward pass through the vision part needs, weights aside, each once."""
    seen: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    own = {one.untyped_storage().data_ptr() for one in loaded.model.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        found = loaded.forward.eyes.seen(forest)
    assert found
    return sum(size for place, size in seen.items() if place not in own)


def test_frozen_vision_part_keeps_features_alone(tmp_path):
    folder = save_vision(tmp_path / "model", "qwen3_vl")
    parts = planned(folder, 100, text=2000)
    assert parts["features of images"] == 100 * 64 * 4 * 3
    assert "activations of the vision part" not in parts


def test_plan_counts_the_tokens_of_images(tmp_path):
    recipe = Recipe.model_validate(vision_recipe(tmp_path, "qwen3_vl"))
    estimate = Subject(recipe, tmp_path).planner.estimate()
    assert estimate.tokens.image_tokens > 0
    assert estimate.tokens.rows > estimate.tokens.image_tokens
