"""Answers from a model, in batches, the same as one by one.

Greedy means the likeliest token each time, with no penalty and no sampling, whatever the model's own generation
settings say: two models are compared, not two settings. Where answers are drawn, each has draws of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any

from lorry.data.prompt import images_of
from lorry.errors import RunFailedError

if TYPE_CHECKING:
    from lorry.data.tokenizer import Tokenizer
    from lorry.evaluate.drawing import Draws
    from lorry.trainer.model import LoadedModel

Progress = Callable[[int, int], None]
"""Told how many of how many prompts are answered."""


Lowered = Callable[[int, str], object]
"""Told, when memory ran out, how many answers are made at once from then on, and the error."""


@dataclass(slots=True)
class Limits:
    """How long answers may get, and how many are made at once."""

    max_new_tokens: int = 128
    batch_size: int = 16
    """Lowered for good once memory has run out: whoever answers with the same limits again begins with what fitted."""
    draws: Draws | None = None
    """What answers are drawn with; None for the likeliest tokens."""
    lowered: Lowered = field(default=lambda _size, _error: None)


@dataclass(frozen=True, slots=True)
class Generated:
    """Answers in the order of their prompts, and what they took."""

    texts: list[str]
    tokens: int
    """Tokens generated, end tokens included, padding not."""
    seconds: float
    no_room: tuple[int, ...] = ()
    """Prompts that fill the model's context, so that the answer is empty."""
    ids: tuple[list[int], ...] = ()
    """Tokens of each answer, end tokens included."""

    @property
    def tokens_per_second(self) -> float | None:
        """Generated tokens per second, prompts' own time included; None if nothing was generated."""
        return self.tokens / self.seconds if self.tokens and self.seconds > 0 else None


def generate(
    loaded: LoadedModel,
    tokenizer: Tokenizer,
    prompts: Sequence[Sequence[int]],
    limits: Limits,
    progress: Progress | None = None,
) -> Generated:
    """The model's answers to prompts (token ids), without special tokens.

    Prompt and answer together stay within the model's context. Out of memory halves the batch, tells `limits.lowered`, and
    goes on with the smaller one, also in later calls with these limits: no answer that is made is made again. Raises
    RunFailedError when one prompt alone does not fit.
    """
    started = time.perf_counter()
    answers, no_room = answer_tokens(loaded, tokenizer, prompts, limits, progress)
    texts = [tokenizer.decode(without_end(ids, tokenizer)) for ids in answers]
    seconds = time.perf_counter() - started
    return Generated(texts, sum(map(len, answers)), seconds, no_room, tuple(answers))


def answer_tokens(
    loaded: LoadedModel,
    tokenizer: Tokenizer,
    prompts: Sequence[Sequence[int]],
    limits: Limits,
    progress: Progress | None = None,
) -> tuple[list[list[int]], tuple[int, ...]]:
    """The answers' tokens, each with its end token where it has come to it, and the prompts that leave no room for any.

    Each is the same whatever is answered beside it and however many at once, but for rounding: sums in products of matrices
    are taken in another order for another batch, and a token whose lead, or whose distance from the number that draws it, is
    that small may be another one. The same batches give the same bits. Raises as `generate` does.
    """
    answers = dict[int, list[int]]()
    room = _rooms(loaded, prompts, limits.max_new_tokens)
    waiting = [index for index in range(len(prompts)) if room[index] > 0]
    # Same bound and like length go together; the longest first, so that memory runs out at once or never.
    waiting.sort(key=lambda index: (-room[index], -len(prompts[index])))
    for bound, group in groupby(waiting, key=lambda index: room[index]):
        left = list(group)
        while left:
            batch = left[: limits.batch_size]
            asked, drawing = [prompts[index] for index in batch], _drawing(limits.draws, batch, prompts, bound)
            made = _unless_out_of_memory(lambda: _batch(loaded, tokenizer, asked, bound, **drawing))  # noqa: B023
            if isinstance(made, str):
                _lower(limits, len(batch), made)
                continue
            answers.update(zip(batch, made, strict=True))
            left = left[len(batch) :]
            if progress:
                progress(len(answers), len(waiting))
    no_room = tuple(index for index in range(len(prompts)) if room[index] <= 0)
    return [answers.get(index, []) for index in range(len(prompts))], no_room


def stream(
    loaded: LoadedModel,
    tokenizer: Tokenizer,
    prompt: Sequence[int],
    max_new_tokens: int,
    say: Callable[[str], None],
) -> Generated:
    """One answer, said piece by piece as it is made; the pieces joined are the text that `generate` gives."""
    started = time.perf_counter()
    room = _rooms(loaded, [prompt], max_new_tokens)[0]
    if room <= 0:
        return Generated([""], 0, 0.0, (0,))
    pieces = _Pieces(tokenizer, say)
    (ids,) = _batch(loaded, tokenizer, [prompt], room, streamer=pieces)
    return Generated([pieces.shown], len(ids), time.perf_counter() - started)


class _Pieces:
    """What Transformers calls with each new token; says text once no later token can change it."""

    def __init__(self, tokenizer: Tokenizer, say: Callable[[str], None]) -> None:
        self._tokenizer = tokenizer
        self._say = say
        self._ids: list[int] = []
        self._saw_prompt = False
        self.shown = ""

    def put(self, value: Any) -> None:
        """Takes the prompt first, then one token at a time."""
        if self._saw_prompt:
            self._ids += [token for token in value.flatten().tolist() if token not in self._tokenizer.end_ids]
            text = self._tokenizer.decode(self._ids)
            # Half of a character decodes to a replacement until its other bytes have come.
            if not text.endswith("\ufffd"):
                self._show(text)
        self._saw_prompt = True

    def end(self) -> None:
        """Says what was held back."""
        self._show(self._tokenizer.decode(self._ids))

    def _show(self, text: str) -> None:
        if text != self.shown:
            self._say(text[len(self.shown) :])
            self.shown = text


def context_length(model: Any) -> int | None:
    """Tokens that prompt and answer may have together; None where the model names no bound."""
    config = model.config.get_text_config() if hasattr(model.config, "get_text_config") else model.config
    bound = getattr(config, "max_position_embeddings", None)
    return bound if isinstance(bound, int) and bound > 0 else None


def _rooms(loaded: LoadedModel, prompts: Sequence[Sequence[int]], most: int) -> list[int]:
    """How many tokens each answer may have."""
    context = context_length(loaded.model)
    if context is None:
        return [most if prompt else 0 for prompt in prompts]
    return [min(most, context - len(prompt)) if prompt else 0 for prompt in prompts]


def _drawing(draws: Draws | None, batch: Sequence[int], prompts: Sequence[Sequence[int]], most: int) -> dict[str, Any]:
    """What makes Transformers draw the answers of a batch; nothing for the likeliest tokens."""
    if draws is None:
        return {}
    return {"logits_processor": [draws.of(batch).chooser(max(len(prompts[index]) for index in batch), most)]}


def _batch(
    loaded: LoadedModel, tokenizer: Tokenizer, prompts: list[Sequence[int]], most: int, **more: Any
) -> list[list[int]]:
    """The answers' tokens, each up to its end token and with it; `more` goes to Transformers."""
    import torch

    longest, pad = max(map(len, prompts)), tokenizer.pad_id
    ids = torch.tensor([[pad] * (longest - len(prompt)) + list(prompt) for prompt in prompts], device=loaded.device)
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=loaded.device)
    stops = {"eos_token_id": sorted(tokenizer.end_ids), "pad_token_id": pad, "max_new_tokens": most}
    with loaded.answering(), loaded.computing(), torch.inference_mode():
        shown = loaded.forward.eyes.shown([images_of(prompt) for prompt in prompts], ids) if loaded.forward.eyes else {}
        made = loaded.model.generate(input_ids=ids, attention_mask=mask, **shown, **stops, **_GREEDY, **more)
    return [_up_to_end(row, tokenizer.end_ids) for row in made[:, longest:].tolist()]


_GREEDY: dict[str, Any] = {
    "do_sample": False,
    "num_beams": 1,
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": 50,
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "use_cache": True,
}
"""Named one by one, because what is not named is taken from the model's own generation settings."""


def _up_to_end(ids: list[int], ends: frozenset[int]) -> list[int]:
    end = next((place for place, token in enumerate(ids) if token in ends), len(ids))
    return ids[: end + 1]


def without_end(ids: list[int], tokenizer: Tokenizer) -> list[int]:
    """An answer's tokens without the one that ends it."""
    return ids[:-1] if ids and ids[-1] in tokenizer.end_ids else ids


def _unless_out_of_memory(compute: Callable[[], list[list[int]]]) -> list[list[int]] | str:
    """What was computed; the error in a line when memory ran out, with what can be freed freed."""
    from lorry.trainer import memory

    try:
        return compute()
    except Exception as error:
        if not memory.is_out_of_memory(error):
            raise
        told = memory.told(error)
    # Outside of the handler: while it runs, its traceback keeps the tensors alive.
    memory.release()
    return told


def _lower(limits: Limits, tried: int, told: str) -> None:
    """Half of what was tried from now on. Raises RunFailedError where that was one."""
    if tried == 1:
        hint = (
            "lower `max_new_tokens` (`method`'s where answers are learnt from, else `evaluate`'s), or `data.max_length`"
        )
        raise RunFailedError("out of memory while generating one answer alone", hint=hint)
    limits.batch_size = tried // 2
    limits.lowered(limits.batch_size, told)
