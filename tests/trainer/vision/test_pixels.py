"""Images become what the model's own processor makes of them, once each, and in their order."""

from __future__ import annotations

import io

import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor

from lorry.data.images.picture import AlbumWriter
from lorry.data.tokenizer import Tokenizer
from lorry.errors import DataError
from lorry.trainer.vision.pixels import Pixels
from tiny_vision import picture, save_vision

SIZES = [(40, 30), (90, 70), (64, 128)]


@pytest.fixture(params=["idefics3", "llava", "qwen2_5_vl", "qwen3_vl", "smolvlm"])
def shown(request, tmp_path):
    folder = save_vision(tmp_path / "model", request.param)
    vision = Tokenizer.open(folder).vision
    assert vision is not None
    album = AlbumWriter(tmp_path)
    return folder, vision, [album.add(picture(at, *size), *size) for at, size in enumerate(SIZES)]


def test_pixels_are_those_of_the_models_processor(shown):
    folder, vision, pictures = shown
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    images = [Image.open(io.BytesIO(one.content())).convert("RGB") for one in pictures]
    for one, image in zip(pictures, images, strict=True):
        wanted = processor(images=image, return_tensors="pt")
        found = Pixels(folder, vision).of([one])
        for name, value in found.items():
            assert torch.equal(value, wanted[name])
    together = Pixels(folder, vision).of(pictures)
    along = int(together["pixel_values"].dim() == 5)
    apart = [Pixels(folder, vision).of([one])["pixel_values"] for one in pictures]
    assert torch.equal(together["pixel_values"], torch.cat(apart, dim=along))


def test_images_that_were_expected_are_the_same_as_others(shown):
    folder, vision, pictures = shown
    ahead = Pixels(folder, vision)
    ahead.expect(pictures)
    ahead.expect(pictures[1:])
    plain = Pixels(folder, vision).of(pictures)["pixel_values"]
    assert torch.equal(ahead.of(pictures)["pixel_values"], plain)
    assert torch.equal(ahead.of(pictures)["pixel_values"], plain)


def test_changed_album_is_noticed(tmp_path):
    folder = save_vision(tmp_path / "model")
    vision = Tokenizer.open(folder).vision
    assert vision is not None
    one = AlbumWriter(tmp_path).add(picture(), 40, 30)
    (tmp_path / "images.bin").write_bytes(b"x" * one.size)
    with pytest.raises(DataError, match="damaged"):
        Pixels(folder, vision).of([one])
