"""Batched generation gives the texts of one-by-one generation, in order, within the context."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from lorry.data.tokenizer import Tokenizer
from lorry.errors import RunFailedError
from lorry.evaluate.generation import Limits, context_length, generate, stream
from tiny_adapters import tiny

if TYPE_CHECKING:
    from lorry.trainer.model import LoadedModel

Tiny = tuple[Tokenizer]
TEXTS = [
    "ab",
    "list all files",
    "x",
    "a much longer question than the others: count the lines of every file",
    "",
    "é 🛻",
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tiny]:
    return tiny(tmp_path_factory.mktemp("generation"))


def prompts(tokenizer: Tokenizer) -> list[list[int]]:
    turns = [[{"role": "user", "content": text}] for text in TEXTS]
    return [tokenizer.encode(tokenizer.render(one, add_generation_prompt=True)) for one in turns]


def test_batched_answers_equal_answers_one_by_one(model: Tiny) -> None:
    loaded, tokenizer = model
    together = generate(loaded, tokenizer, prompts(tokenizer), Limits(24, 4))
    alone = [generate(loaded, tokenizer, [one], Limits(24, 1)).texts[0] for one in prompts(tokenizer)]
    assert together.texts == alone
    assert len(set(alone)) > 3


def test_adapter_and_base_answer_differently(model: Tiny) -> None:
    loaded, tokenizer = model
    adapter = generate(loaded, tokenizer, prompts(tokenizer), Limits(16, 4))
    with loaded.base_disabled():
        base = generate(loaded, tokenizer, prompts(tokenizer), Limits(16, 4))
    assert base.texts != adapter.texts


def test_greedy_ignores_sampling_and_penalties_of_the_model(model: Tiny) -> None:
    loaded, tokenizer = model
    plain = generate(loaded, tokenizer, prompts(tokenizer), Limits(16, 4))
    settings = loaded.model.generation_config
    before = settings.to_dict()
    settings.update(do_sample=True, temperature=5.0, top_k=3, top_p=0.5, repetition_penalty=1.8)
    again = generate(loaded, tokenizer, prompts(tokenizer), Limits(16, 4))
    settings.update(**before)
    assert again.texts == plain.texts


def test_answer_stops_at_any_end_token_and_counts_only_its_own_tokens(model: Tiny) -> None:
    loaded, tokenizer = model
    free = generate(loaded, tokenizer, prompts(tokenizer)[:1], Limits(12, 1))
    letter = next(char for char in free.texts[0] if char.isascii())
    # A cached property: this sets its value.
    tokenizer.end_ids = frozenset({*tokenizer.end_ids, *tokenizer.encode(letter)})
    short = generate(loaded, tokenizer, prompts(tokenizer)[:1], Limits(12, 1))
    del tokenizer.end_ids
    assert short.texts[0] == free.texts[0].split(letter)[0]
    assert short.tokens < free.tokens


def test_prompt_and_answer_stay_within_the_context(model: Tiny) -> None:
    loaded, tokenizer = model
    assert context_length(loaded.model) == 256
    long = [[5] * 250, [5] * 256, [5] * 300, [5] * 10]
    found = generate(loaded, tokenizer, long, Limits(20, 4))
    assert found.no_room == (1, 2)
    assert (found.texts[1], found.texts[2]) == ("", "")
    assert found.tokens <= 6 + 20


def test_short_prompt_beside_one_near_the_context_is_not_cut(model: Tiny) -> None:
    loaded, tokenizer = model
    alone = generate(loaded, tokenizer, [[5] * 10], Limits(20, 4))
    beside = generate(loaded, tokenizer, [[5] * 10, [5] * 254], Limits(20, 4))
    assert beside.texts[0] == alone.texts[0]


def test_out_of_memory_halves_the_batch_and_gives_the_same_answers(
    model: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, tokenizer = model
    expected = generate(loaded, tokenizer, prompts(tokenizer), Limits(8, 6)).texts
    sizes = small_memory(loaded, monkeypatch, fits=2)
    assert generate(loaded, tokenizer, prompts(tokenizer), Limits(8, 6)).texts == expected
    assert sizes[:2] == [6, 3]
    assert max(sizes[2:]) == 1


def test_out_of_memory_with_one_answer_ends_with_a_hint(model: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, tokenizer = model
    small_memory(loaded, monkeypatch, fits=0)
    with pytest.raises(RunFailedError, match="out of memory") as raised:
        generate(loaded, tokenizer, prompts(tokenizer), Limits(8, 6))
    assert "max_new_tokens" in raised.value.hint


def test_any_other_fault_of_the_model_is_raised(model: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, tokenizer = model

    def broken(**_: Any) -> None:
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(loaded.model, "generate", broken)
    with pytest.raises(RuntimeError, match="shapes differ"):
        generate(loaded, tokenizer, prompts(tokenizer), Limits(8, 6))


def test_no_prompts_give_no_answers_and_no_speed(model: Tiny) -> None:
    found = generate(*model, [], Limits())
    assert (found.texts, found.tokens, found.tokens_per_second) == ([], 0, None)


def test_progress_ends_at_all_prompts(model: Tiny) -> None:
    loaded, tokenizer = model
    told: list[tuple[int, int]] = []
    generate(loaded, tokenizer, prompts(tokenizer), Limits(4, 4), lambda done, total: told.append((done, total)))
    assert told == [(4, 6), (6, 6)]


def test_training_mode_is_left_as_it_was(model: Tiny) -> None:
    loaded, tokenizer = model
    loaded.model.train()
    generate(loaded, tokenizer, prompts(tokenizer)[:1], Limits(2, 1))
    assert loaded.model.training
    loaded.model.eval()


def test_streamed_pieces_joined_are_the_generated_text(model: Tiny) -> None:
    loaded, tokenizer = model
    for prompt in prompts(tokenizer):
        pieces: list[str] = []
        stream(loaded, tokenizer, prompt, 24, pieces.append)
        assert "".join(pieces) == generate(loaded, tokenizer, [prompt], Limits(24, 1)).texts[0]


def small_memory(loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch, *, fits: int) -> list[int]:
    """Makes the model fail as on a small GPU when more rows come than fit; gives the sizes that were tried."""
    import torch

    real, sizes = loaded.model.generate, list[int]()

    def generate_if_it_fits(**given: Any) -> Any:
        sizes.append(len(given["input_ids"]))
        if sizes[-1] > fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(**given)

    monkeypatch.setattr(loaded.model, "generate", generate_if_it_fits)
    return sizes
