"""Placeholders are exactly those that each family's own processor writes, whatever an image's size."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from transformers import (
    AutoImageProcessor,
    Idefics3Processor,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    Qwen2_5_VLProcessor,
    Qwen3VLProcessor,
)
from transformers.models.smolvlm.processing_smolvlm import get_image_prompt_string

from lorry.data.images.families import rule_of
from lorry.data.tokenizer import Tokenizer
from lorry.errors import DataError
from tiny_vision import save_vision

SIZES = [(40, 30), (30, 40), (32, 32), (33, 32), (200, 20), (20, 199), (640, 480), (463, 1013), (1000, 7), (5, 5)]


def image(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.zeros((height, width, 3), dtype=np.uint8))


def opened(folder, kind, **processor):
    save_vision(folder, kind)
    file = folder / "preprocessor_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **processor}), encoding="utf-8")
    tokenizer = Tokenizer.open(folder)
    assert tokenizer.vision is not None
    return tokenizer.vision, AutoImageProcessor.from_pretrained(folder, backend="pil")


def test_settings_of_all_parts_together_go_before_those_of_images_alone(tmp_path):
    save_vision(tmp_path, "qwen2_5_vl")
    alone = json.loads((tmp_path / "preprocessor_config.json").read_text())
    together = {**alone, "size": {"shortest_edge": 3136, "longest_edge": 6272}}
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": together}), encoding="utf-8")
    vision = Tokenizer.open(tmp_path).vision
    assert vision is not None
    made = AutoImageProcessor.from_pretrained(tmp_path, backend="pil")(images=image(640, 480), return_tensors="np")
    assert vision.rule(640, 480, vision.token).patches == made["image_grid_thw"][0].prod() < 60


@pytest.mark.parametrize("kind", ["qwen2_5_vl", "qwen3_vl"])
@pytest.mark.parametrize("size", SIZES)
def test_qwen_has_as_many_tokens_as_its_processor_merges_patches(tmp_path, kind, size):
    vision, processor = opened(tmp_path, kind)
    grid = processor(images=image(*size), return_tensors="np")["image_grid_thw"][0]
    layout = vision.rule(*size, vision.token)
    assert layout.text == vision.token * int(grid.prod() // 4)
    assert layout.patches == grid.prod()
    assert layout.grid == tuple((grid[1:] // 2).tolist())


@pytest.mark.parametrize("splits", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_smolvlm_writes_what_its_processor_writes(tmp_path, size, splits):
    vision, processor = opened(tmp_path, "smolvlm", do_image_splitting=splits)
    made = processor(images=image(*size), return_tensors="np", return_row_col_info=True)
    rows, columns = made["rows"][0][0], made["cols"][0][0]
    layout = vision.rule(*size, vision.token)
    wanted = get_image_prompt_string(rows, columns, 4, "<fake_token_around_image>", vision.token, "<global-img>")
    assert layout.text == wanted
    assert layout.tokens == 4 * made["pixel_values"].shape[1]


@pytest.mark.parametrize("size", SIZES[:4])
def test_idefics3_has_the_tokens_of_its_whole_processor(tmp_path, size):
    vision, processor = opened(tmp_path, "idefics3")
    whole = Idefics3Processor(processor, PreTrainedTokenizerFast.from_pretrained(tmp_path), image_seq_len=4)
    wanted = whole(images=image(*size), text="see <image> there")["input_ids"][0]
    text = f"see {vision.rule(*size, vision.token).text} there"
    assert Tokenizer.open(tmp_path).encode(text) == list(wanted)


@pytest.mark.parametrize("strategy", ["default", "full"])
def test_llava_has_the_tokens_of_its_whole_processor(tmp_path, strategy):
    vision, processor = opened(tmp_path, "llava")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    whole = LlavaProcessor(processor, tokenizer, 8, strategy, num_additional_image_tokens=1)
    config = json.loads((tmp_path / "config.json").read_text())
    rule = rule_of({**config, "vision_feature_select_strategy": strategy}, {"crop_size": {"height": 32, "width": 32}})
    assert rule is not None
    wanted = whole(images=image(50, 20), text="see <image> there")["input_ids"][0]
    text = f"see {rule(50, 20, vision.token).text} there"
    assert Tokenizer.open(tmp_path).encode(text) == list(wanted)


def test_qwen_refuses_a_line(tmp_path):
    vision, _ = opened(tmp_path, "qwen3_vl")
    with pytest.raises(DataError, match="200 times"):
        vision.rule(4020, 20, vision.token)


def test_tower_that_is_not_known_gives_no_rule():
    assert rule_of({"model_type": "llava", "vision_config": {"model_type": "pixtral"}}, {}) is None
    assert rule_of({"model_type": "llama"}, {}) is None


def without_videos(kind: type) -> type:
    """A processor class that takes images and text alone: its part for videos needs torchvision."""
    return type(
        kind.__name__, (kind,), {"check_argument_for_proper_class": lambda _self, _name, argument: type(argument)}
    )


@pytest.mark.parametrize(("kind", "whole"), [("qwen2_5_vl", Qwen2_5_VLProcessor), ("qwen3_vl", Qwen3VLProcessor)])
@pytest.mark.parametrize("size", SIZES[:7])
def test_qwen_has_the_tokens_and_types_of_its_whole_processor(tmp_path, kind, whole, size):
    vision, processor = opened(tmp_path, kind)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    text = f"see <|vision_start|>{vision.token}<|vision_end|> there"
    wanted = without_videos(whole)(processor, tokenizer, None)(images=image(*size), text=text)
    ids = Tokenizer.open(tmp_path).encode(text.replace(vision.token, vision.rule(*size, vision.token).text))
    assert ids == list(wanted["input_ids"][0])
    assert [int(token == vision.token_id) for token in ids] == list(wanted["mm_token_type_ids"][0])
