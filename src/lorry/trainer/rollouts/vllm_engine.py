"""Answers through vLLM, on the GPU that also trains: it sleeps while weights are changed, and is then given the adapter anew.

It holds the base model a second time, in the memory that it is given; while it sleeps that memory is free for training. What it
draws is seeded by answer, but its kernels do not promise the same bits from one batch to the next: a run that goes on after a
cut goes on within rounding there.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorry.errors import RecipeError
from lorry.evaluate.drawing import Draws

if TYPE_CHECKING:
    from lorry.data.tokenizer import Tokenizer
    from lorry.recipe.schema import Recipe
    from lorry.trainer.policy import Policy

_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Greatest ranks that vLLM can be told of."""
_SHARE = 0.4
"""Of the GPU's memory, while it answers."""


class VllmEngine:
    """One engine for a whole run."""

    def __init__(self, recipe: Recipe, model_folder: Path, tokenizer: Tokenizer) -> None:
        """Starts it. Raises RecipeError without vLLM, or where all weights are trained."""
        if recipe.lora is None:
            raise RecipeError("vLLM is given an adapter, and all weights are trained", place="method.engine", hint=_OWN)
        try:
            from vllm import LLM  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            hint = f"`pip install vllm`, on a machine with a CUDA GPU; or {_OWN}"
            raise RecipeError("vLLM is not installed here", place="method.engine", hint=hint) from error
        rank = recipe.lora.rank
        options: dict[str, Any] = {
            "enable_lora": True,
            "max_lora_rank": next((most for most in _RANKS if most >= rank), _RANKS[-1]),
            "max_model_len": recipe.data.max_length,
            "gpu_memory_utilization": _SHARE,
            "enable_sleep_mode": True,
            "trust_remote_code": recipe.model.trust_remote_code is not None,
        }
        if recipe.model.quantization == "nf4":
            options["quantization"] = "bitsandbytes"
        self._engine: Any = LLM(model=str(model_folder), **options)
        self._engine.sleep(level=1)
        self._ends = sorted(tokenizer.end_ids)
        self._number = 0

    def answers(
        self, policy: Policy, prompts: Sequence[Sequence[int]], most: int, draws: Draws | None
    ) -> list[list[int]]:
        """Tokens of each answer, at most so many, with the end token where it has come to it; greedy without `draws`."""
        from vllm.lora.request import LoRARequest  # pyright: ignore[reportMissingImports]

        self._number += 1
        with tempfile.TemporaryDirectory(prefix="lorry-vllm-") as folder:
            policy.loaded.model.save_pretrained(folder)
            self._engine.wake_up()
            try:
                made = self._engine.generate(
                    [{"prompt_token_ids": [*prompt]} for prompt in prompts],
                    [self._sampling(at, most, draws) for at in range(len(prompts))],
                    lora_request=LoRARequest(f"rollout-{self._number}", self._number, folder),
                    use_tqdm=False,
                )
            finally:
                self._engine.sleep(level=1)
        return [list(one.outputs[0].token_ids) for one in made]

    def _sampling(self, at: int, most: int, draws: Draws | None) -> Any:
        from vllm import SamplingParams  # pyright: ignore[reportMissingImports]

        common = {"max_tokens": most, "stop_token_ids": self._ends, "detokenize": False}
        if draws is None:
            return SamplingParams(temperature=0.0, **common)
        how = draws.sampling
        seed = hash(draws.seeds[at]) & 0x7FFFFFFF
        return SamplingParams(temperature=how.temperature, top_p=how.top_p, top_k=how.top_k or -1, seed=seed, **common)


_OWN = "leave `engine` out: Transformers makes the answers then"
