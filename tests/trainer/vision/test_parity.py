"""Rows with images give the same loss and gradients packed, with shared beginnings, and alone through Transformers."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.nn.functional import cross_entropy
from transformers import AutoImageProcessor

from lorry.data.images.picture import AlbumWriter
from lorry.data.render import Renderer
from lorry.data.rows import MARK, Origin, Row
from lorry.data.tokenizer import Tokenizer
from lorry.recipe.schema import Recipe
from lorry.trainer.forest import plant
from lorry.trainer.loss import token_loss
from lorry.trainer.model import load
from tiny_vision import picture, save_vision

KINDS = ["idefics3", "llava", "qwen2_5_vl", "qwen3_vl", "smolvlm"]
SIZES = [(40, 30), (90, 70), (64, 128)]


@pytest.fixture(scope="module", params=KINDS)
def folder(request, tmp_path_factory):
    return save_vision(tmp_path_factory.mktemp(request.param), request.param)


def test_packed_and_shared_rows_give_the_loss_and_gradients_of_each_alone(folder):
    loaded, examples = loaded_of(folder), examples_of(folder)
    plain = results(loaded, lambda: sum(by_transformers(folder, loaded, one) for one in examples))
    packed = results(loaded, lambda: token_loss(loaded.forward, plant(examples, share=False)))
    shared = results(loaded, lambda: token_loss(loaded.forward, plant(examples)))
    assert plant(examples).is_shared
    for found in (packed, shared):
        assert abs(found[0] - plain[0]) < 1e-5 * plain[0]
        worst = max(float((found[1][name] - one).norm() / (one.norm() + 1e-12)) for name, one in plain[1].items())
        assert worst < 1e-4


def test_padded_rows_give_the_same_loss(folder):
    examples = examples_of(folder)
    shared, padded = (loaded_of(folder, attention=attention) for attention in ("auto", "sdpa"))
    assert (shared.forward.way, padded.forward.way) == ("forest", "padded")
    one, other = (loss_of(loaded, examples) for loaded in (shared, padded))
    assert abs(one - other) < 1e-5 * one


@pytest.mark.parametrize("first", [0, 3], ids=["images", "text"])
def test_packed_rows_that_positions_tell_apart_do_not_see_each_other(folder, first):
    loaded = loaded_of(folder, attention="sdpa")
    row, *others = examples_of(folder)[first:] * 2
    alone, beside = (last_hidden(loaded, rows) for rows in ([row], [*others, row]))
    assert float((alone - beside).norm() / alone.norm()) < 1e-5


@torch.no_grad()
def last_hidden(loaded, rows):
    """What the last of these rows becomes, packed as with flash attention: Transformers makes its masks for sdpa alike."""
    hidden = replace(loaded.forward, way="flash").hidden(plant(rows, share=False))
    where = plant(rows, share=False).ends[-1] + 1
    return hidden[where - len(rows[-1].ids) : where]


def test_image_that_rows_share_is_computed_once(folder):
    same, other = (examples_of(folder, seeds=seeds)[:2] for seeds in ((7, 7), (7, 8)))
    assert len(plant(same).images) == 1
    assert len(plant(other).images) == 2
    assert plant(same).tokens < plant(other).tokens


def test_another_image_under_the_same_tokens_changes_the_answer(folder):
    loaded = loaded_of(folder)
    one, other = (loss_of(loaded, examples_of(folder, seeds=(seed, 1))[:1]) for seed in (1, 2))
    assert one != other


def examples_of(folder: Path, seeds: tuple[int, int] = (1, 1)):
    """Two rows that may show the same image, one with two of other sizes, one with none."""
    album = AlbumWriter(folder)
    (folder / "images.bin").unlink(missing_ok=True)
    first, second = (album.add(picture(seed, *SIZES[0]), *SIZES[0]) for seed in seeds)
    wide, high = (album.add(picture(5 + at, *size), *size) for at, size in enumerate(SIZES[1:]))
    asked = [
        (f"read{MARK}what is there", "a cat on a mat", (first,)),
        (f"read{MARK}what is there", "two dogs", (second,)),
        (f"{MARK} and then {MARK} differ", "much", (wide, high)),
        ("no image at all", "none", ()),
    ]
    renderer = Renderer(Tokenizer.open(folder), 512)
    rows = [
        Row(
            Origin("rows", at),
            messages=[{"role": "user", "content": text}, {"role": "assistant", "content": answer}],
            pictures=pictures,
        )
        for at, (text, answer, pictures) in enumerate(asked)
    ]
    return [renderer.chat(row) for row in rows]


def loaded_of(folder: Path, **model: str):
    recipe = Recipe.model_validate(
        {
            "model": {"id": str(folder), **model},
            "data": {"train": "-"},
            "lora": {"rank": 4, "vision": True, "projector": True},
        }
    )
    loaded = load(recipe, folder)
    torch.manual_seed(3)
    with torch.no_grad():
        for name, weight in loaded.model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.1)
    return loaded


@torch.no_grad()
def loss_of(loaded, examples):
    return float(token_loss(loaded.forward, plant(examples, share=loaded.forward.shares)))


def results(loaded, compute):
    loaded.model.zero_grad(set_to_none=True)
    loss = compute()
    loss.backward()
    gradients = {name: one.grad.clone() for name, one in loaded.model.named_parameters() if one.grad is not None}
    assert any("lora_A" in name and "vis" in name for name in gradients)
    return float(loss.detach()), gradients


def by_transformers(folder: Path, loaded, example):
    """The row's loss with nothing of lorry's but its tokens: Transformers' processor, and the model's own forward."""
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    ids = torch.from_numpy(example.ids.astype("int64"))[None]
    given = {}
    if example.images:
        shown = [Image.open(io.BytesIO(one.picture.content())).convert("RGB") for one in example.images]
        given = dict(processor(images=shown, return_tensors="pt"))
        given = {name: value for name, value in given.items() if isinstance(value, torch.Tensor)}
    base = loaded.model.get_base_model()
    if hasattr(base.config, "vision_start_token_id"):
        given["mm_token_type_ids"] = (ids == base.config.image_token_id).int()
    mask = torch.ones_like(ids)
    logits = loaded.model(input_ids=ids, attention_mask=mask, use_cache=False, **given).logits[0]
    trained = torch.from_numpy(example.trained[1:])
    return cross_entropy(logits[:-1][trained], ids[0, 1:][trained], reduction="sum")


def test_only_the_language_part_is_adapted_unless_asked(folder):
    def adapted(**lora: bool) -> set[str]:
        values = {"model": {"id": str(folder)}, "data": {"train": "-"}, "lora": {"rank": 4, **lora}}
        model = load(Recipe.model_validate(values), folder).model
        parts = ("multi_modal_projector", "connector", "merger", "vision_tower", "vision_model", "visual")
        names = [name for name, one in model.named_parameters() if one.requires_grad]
        return {next((part for part in parts if part in name), "text") for name in names}

    joint = adapted(projector=True) - {"text"}
    assert adapted() == {"text"}
    assert joint <= {"multi_modal_projector", "connector", "merger"}
    assert joint
    tower = adapted(vision=True) - {"text"}
    assert tower
    assert not tower & joint
