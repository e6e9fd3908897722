from __future__ import annotations

import numpy as np
import pytest
import torch

from lorry.evaluate.drawing import Draws, Sampling, choose
from lorry.evaluate.generation import Limits, answer_tokens
from tiny_adapters import tiny

LOGITS = torch.log(torch.tensor([[0.1, 0.4, 0.2, 0.3]]))


def drawn(sampling: Sampling, many: int = 4000) -> list[float]:
    """How often each token is drawn, with numbers spread evenly."""
    numbers = (torch.arange(many, dtype=torch.double) + 0.5) / many
    tokens = choose(LOGITS.expand(many, -1), numbers, sampling)
    return (torch.bincount(tokens, minlength=4) / many).tolist()


def test_tokens_are_drawn_as_often_as_they_are_likely():
    assert drawn(Sampling()) == pytest.approx([0.1, 0.4, 0.2, 0.3], abs=1e-3)


def test_temperature_makes_likely_tokens_likelier():
    squared = np.array([0.01, 0.16, 0.04, 0.09])
    assert drawn(Sampling(temperature=0.5)) == pytest.approx(squared / squared.sum(), abs=1e-3)


def test_top_k_keeps_the_likeliest():
    assert drawn(Sampling(top_k=2)) == pytest.approx([0, 4 / 7, 0, 3 / 7], abs=1e-3)


def test_top_p_keeps_as_few_as_have_it_together():
    assert drawn(Sampling(top_p=0.65)) == pytest.approx([0, 4 / 7, 0, 3 / 7], abs=1e-3)
    assert drawn(Sampling(top_p=0.71)) == pytest.approx([0, 4 / 9, 2 / 9, 3 / 9], abs=1e-3)
    assert drawn(Sampling(top_p=1e-9)) == [0, 1, 0, 0]


def test_number_next_to_one_draws_the_last_token_that_is_left():
    nearly = torch.tensor([np.nextafter(1.0, 0.0)])
    assert choose(LOGITS, nearly, Sampling()).tolist() == [3]
    assert choose(LOGITS, nearly, Sampling(top_k=2)).tolist() == [3]
    assert choose(torch.tensor([[0.0, -torch.inf]]), nearly, Sampling()).tolist() == [0]


def test_answer_does_not_depend_on_those_beside_it(tmp_path):
    loaded, tokenizer = tiny(tmp_path)
    prompts = [tokenizer.encode(text) for text in ("ab", "a longer question than the others", "ab", "x")]
    seeds = [(7, 1, at) for at in range(len(prompts))]

    def drawn_in(size: int) -> list[list[int]]:
        made, _ = answer_tokens(loaded, tokenizer, prompts, Limits(12, size, Draws(Sampling(), seeds)))
        return made

    together = drawn_in(4)
    assert together == drawn_in(1)
    assert together[0] != together[2], "the same prompt with other numbers"


def test_answer_is_the_same_with_the_same_seed_only(tmp_path):
    loaded, tokenizer = tiny(tmp_path)
    prompts = [tokenizer.encode("ab")] * 2

    def drawn_with(*seeds: tuple[int, ...]) -> list[list[int]]:
        return answer_tokens(loaded, tokenizer, prompts, Limits(12, 2, Draws(Sampling(), seeds)))[0]

    assert drawn_with((1,), (2,)) == drawn_with((1,), (2,))
    assert drawn_with((1,), (2,)) == drawn_with((2,), (1,))[::-1]
