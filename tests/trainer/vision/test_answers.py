"""Answers about images: the same in a batch as alone, and other ones for other images."""

from __future__ import annotations

import pytest

from lorry.data.images.picture import AlbumWriter
from lorry.data.render import Renderer
from lorry.data.rows import MARK
from lorry.data.tokenizer import Tokenizer
from lorry.evaluate.generation import Limits, generate
from lorry.recipe.schema import Recipe
from lorry.trainer.model import load
from tiny_vision import picture, save_vision

SIZES = [(40, 30), (90, 70), (64, 128)]


@pytest.fixture(params=["llava", "qwen2_5_vl", "qwen3_vl", "smolvlm"])
def asked(request, tmp_path):
    """A model, its tokenizer, and a way to ask it about images by their numbers."""
    folder = save_vision(tmp_path / "model", request.param, spread=0.15)
    album = AlbumWriter(tmp_path)
    pictures = [album.add(picture(at, *size), *size) for at, size in enumerate(SIZES)]
    recipe = Recipe.model_validate({"model": {"id": str(folder)}, "data": {"train": "-"}})
    loaded = load(recipe, folder, trainable=False)
    renderer = Renderer(Tokenizer.open(folder), 512)

    def answers(*shown: tuple[int, ...], at_once: int = 8) -> list[str]:
        prompts = [
            renderer.prompt([{"role": "user", "content": f"{MARK * len(one)}what"}], None, [pictures[at] for at in one])
            for one in shown
        ]
        return generate(loaded, renderer.tokenizer, prompts, Limits(8, at_once)).texts

    return answers


def test_answers_in_a_batch_are_those_alone(asked):
    questions = ((0,), (1, 2), (), (2,), (0, 0))
    assert asked(*questions) == asked(*questions, at_once=1)
    assert asked(()) == asked(()), "what was asked before must not be remembered"


def test_another_image_leads_to_another_answer(asked):
    assert len({*asked((0,), (1,), (2,))}) > 1
