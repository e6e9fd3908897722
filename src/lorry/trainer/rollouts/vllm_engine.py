"""Answers through vLLM, on the GPU that also trains: it sleeps while weights are changed, and is then given the adapter anew.

It runs in a process of its own and holds the base model a second time, in the memory that it is given; while it sleeps that
memory is free for training. What it draws is seeded by answer, but its kernels do not promise the same bits from one batch to
the next, and know adapters in 16 bits alone: a run that goes on after a cut goes on within rounding there.

Written against vLLM 0.33 (its names are held to in `tests/trainer/rollouts/vllm_names.json`); it has not run on a GPU yet.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorry.errors import RecipeError, RunFailedError
from lorry.evaluate.drawing import Draws

if TYPE_CHECKING:
    from lorry.data.tokenizer import Tokenizer
    from lorry.recipe.schema import Recipe
    from lorry.trainer.model import LoadedModel

_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Greatest ranks that vLLM can be told of."""
_TEMPERATURES = (0.01, 2.0)
"""It refuses what is above, and draws as with the least where less is asked for."""
SHARE = 0.4
"""Of the GPU's memory, while it answers."""
_OWN = "leave `engine` out: Transformers makes the answers then"


def unfit(recipe: Recipe) -> str:
    """Why vLLM cannot make the answers that this recipe learns from; empty where it can. Imports no vLLM."""
    lora, least, most = recipe.lora, *_TEMPERATURES
    if lora is None:
        return "vLLM is given an adapter, and all weights are trained"
    if lora.dora:
        return "vLLM has no DoRA"
    if lora.rank > _RANKS[-1]:
        return f"vLLM takes adapters of rank {_RANKS[-1]} at most, and this one has {lora.rank}"
    if recipe.model.quantization == "int8":
        return "vLLM quantises a model to nf4 as it loads it, not to int8: its answers would be another model's"
    temperature = recipe.method.get("temperature", 1.0)
    if isinstance(temperature, int | float) and not least <= temperature <= most:
        return f"vLLM draws at temperatures from {least:g} to {most:g}, not at {temperature:g}"
    return ""


def options_of(recipe: Recipe, loaded: LoadedModel) -> dict[str, Any]:
    """What `vllm.LLM` is started with, beside the model. Raises RecipeError where it cannot answer for this recipe."""
    from lorry.evaluate.generation import context_length

    if why := unfit(recipe):
        raise RecipeError(why, place="method.engine", hint=_OWN)
    rank = recipe.lora.rank if recipe.lora else 0
    computed = loaded.precision.autocast or loaded.precision.weights
    options: dict[str, Any] = {
        # Its adapter kernels have no fp32; `auto` takes 16 bits for it.
        "dtype": "auto" if computed == "float32" else computed,
        "enable_lora": True,
        "max_lora_rank": next(most for most in _RANKS if most >= rank),
        # It refuses more than the model has positions for.
        "max_model_len": min(recipe.data.max_length, context_length(loaded.model) or recipe.data.max_length),
        "gpu_memory_utilization": SHARE,
        "enable_sleep_mode": True,
        "trust_remote_code": recipe.model.trust_remote_code is not None,
    }
    # It then makes NF4 with double quantization out of the weights as it loads them.
    return options | ({"quantization": "bitsandbytes"} if recipe.model.quantization == "nf4" else {})


def sampling_of(draws: Draws | None, at: int, most: int, ends: Sequence[int]) -> dict[str, Any]:
    """What `vllm.SamplingParams` is made of for one answer: no end but ours, whatever the model's own settings name."""
    common = {"max_tokens": most, "stop_token_ids": [*ends], "ignore_eos": True, "detokenize": False}
    if draws is None:
        return {"temperature": 0.0, **common}
    how, seed = draws.sampling, hash(draws.seeds[at]) & 0x7FFFFFFF
    return {"temperature": how.temperature, "top_p": how.top_p, "top_k": how.top_k, "seed": seed, **common}


class VllmEngine:
    """One engine for a whole run."""

    def __init__(self, recipe: Recipe, model_folder: Path, tokenizer: Tokenizer, loaded: LoadedModel) -> None:
        """Starts it. Raises RecipeError without vLLM or where it does not fit the recipe, RunFailedError where it fails."""
        from lorry.trainer import memory

        options = options_of(recipe, loaded)
        try:
            from vllm import LLM  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            hint = f"`pip install vllm`, on a machine with a CUDA GPU; or {_OWN}"
            raise RecipeError("vLLM is not installed here", place="method.engine", hint=hint) from error
        memory.release()  # it looks how much of the GPU is free
        try:
            self._engine: Any = LLM(model=str(model_folder), **options)
            self._engine.sleep(level=1)
        except Exception as error:
            hint = f"its own words stand in the log above this; or {_OWN}"
            raise RunFailedError(f"vLLM could not be started: {memory.told(error)}", hint=hint) from error
        self._ends = sorted(tokenizer.end_ids)
        self._room = int(options["max_model_len"])
        self._number = 0

    def answers(
        self,
        loaded: LoadedModel,
        prompts: Sequence[Sequence[int]],
        most: int,
        draws: Draws | None,
        beat: Callable[[], None],
    ) -> list[list[int]]:
        """Tokens of each answer, at most so many, with the end token where it has come to it; greedy without `draws`.

        None for a prompt that leaves no room for any. `beat` is called as answers end.
        """
        rooms = [min(most, self._room - len(prompt)) if prompt else 0 for prompt in prompts]
        asked = [at for at, room in enumerate(rooms) if room > 0]
        params = [sampling_of(draws, at, rooms[at], self._ends) for at in asked]
        with tempfile.TemporaryDirectory(prefix="lorry-vllm-") as folder:
            # The adapter alone: by default PEFT asks the Hub each time whether the vocabulary has changed.
            loaded.model.save_pretrained(folder, save_embedding_layers=False)
            made = self._made([[*prompts[at]] for at in asked], params, folder, beat) if asked else []
        found = dict(zip(asked, made, strict=True))
        return [found.get(at, []) for at in range(len(prompts))]

    def _made(
        self, prompts: list[list[int]], params: list[dict[str, Any]], adapter: str, beat: Callable[[], None]
    ) -> list[list[int]]:
        from vllm import SamplingParams  # pyright: ignore[reportMissingImports]
        from vllm.lora.request import LoRARequest  # pyright: ignore[reportMissingImports]

        from lorry.trainer import memory

        self._number += 1  # it keeps adapters by their number, and would answer with an earlier one
        memory.release()  # what training only holds in reserve is in its way
        self._engine.wake_up()
        made = self._engine.generate(
            [{"prompt_token_ids": prompt} for prompt in prompts],
            [SamplingParams(**one) for one in params],
            lora_request=LoRARequest(f"rollout-{self._number}", self._number, adapter),
            use_tqdm=partial(_bar, beat),
        )
        self._engine.sleep(level=1)
        return [list(one.outputs[0].token_ids) for one in made]


def _bar(beat: Callable[[], None], *given: Any, **more: Any) -> Any:
    """A progress bar that nobody sees: vLLM tells it of each answer that has ended."""
    from tqdm import tqdm

    class Bar(tqdm):  # type: ignore[type-arg]
        def update(self, n: float | None = 1) -> bool | None:
            beat()
            return super().update(n)

    return Bar(*given, **{**more, "file": io.StringIO()})
