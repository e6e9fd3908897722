"""A package `vllm` that answers with Transformers and PEFT, and takes and refuses what vLLM 0.33 does.

Names come from `tests/trainer/rollouts/vllm_names.json`, which holds those of its release; bounds and order of calls from its
documentation and its code. It computes on the processor, and knows nothing of a GPU's memory.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest

NAMES: dict[str, Any] = json.loads(
    (Path(__file__).parent / "trainer/rollouts/vllm_names.json").read_text(encoding="utf-8")
)


def _known(kind: str, given: Any) -> None:
    unknown = set(given) - set(NAMES[kind])
    if unknown:
        raise TypeError(f"Unexpected keyword argument '{sorted(unknown)[0]}'")


class SamplingParams:
    """How one answer is drawn."""

    def __init__(self, **given: Any) -> None:
        _known("SamplingParams", given)
        self.__dict__ |= {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "seed": None, "max_tokens": 16}
        self.__dict__ |= {"stop_token_ids": [], "ignore_eos": False} | given
        if not 0 <= self.temperature <= 2 or not 0 < self.top_p <= 1 or self.top_k < -1 or self.max_tokens < 1:
            raise ValueError(f"out of bounds: {given}")
        if not all(isinstance(one, int) for one in self.stop_token_ids):
            raise ValueError("stop_token_ids must contain only integers")


class LoRARequest:
    """An adapter in a folder."""

    def __init__(self, lora_name: str, lora_int_id: int, lora_path: str = "") -> None:
        self.lora_name, self.lora_int_id, self.lora_path = lora_name, lora_int_id, lora_path
        if lora_int_id < 1:
            raise ValueError("id must be > 0")


class _Output:
    def __init__(self, ids: list[int]) -> None:
        self.outputs = [self]
        self.token_ids = tuple(ids)


class LLM:
    """The engine; one a process."""

    made: ClassVar[list[LLM]] = []
    fails: ClassVar[str] = ""

    def __init__(self, model: str, **given: Any) -> None:
        if self.fails:
            raise RuntimeError(self.fails)
        _known("LLM" if set(given) <= set(NAMES["LLM"]) else "EngineArgs", given)
        config = json.loads((Path(model) / "config.json").read_text(encoding="utf-8"))
        if given["max_model_len"] > config["max_position_embeddings"]:
            raise ValueError("User-specified max_model_len is greater than the derived max_model_len")
        self.folder, self.options = model, given
        self.adapters: dict[int, Any] = {}
        self.is_asleep = False
        self.answered = 0
        LLM.made.append(self)

    def sleep(self, level: int = 1) -> None:
        assert self.options["enable_sleep_mode"]
        assert level == 1, "Level 2 forgets the weights"
        self.is_asleep = True

    def wake_up(self) -> bool:
        self.is_asleep = False
        return True

    def generate(
        self,
        prompts: Sequence[dict[str, list[int]]],
        sampling_params: Sequence[SamplingParams],
        *,
        lora_request: LoRARequest,
        use_tqdm: Callable[..., Any],
    ) -> list[_Output]:
        assert not self.is_asleep, "The engine is asleep"
        if len(prompts) != len(sampling_params):
            raise ValueError("The lengths of prompts and params must be the same.")
        model = self._with(lora_request)
        bar = use_tqdm(total=len(prompts), desc="Processed prompts", dynamic_ncols=True, postfix="est. speed")
        found = list[_Output]()
        for prompt, params in zip(prompts, sampling_params, strict=True):
            found.append(_Output(self._answer(model, prompt["prompt_token_ids"], params)))
            assert bar.format_dict["elapsed"] >= 0
            bar.update(1)
        bar.close()
        self.answered += len(prompts)
        return found

    def _with(self, asked: LoRARequest) -> Any:
        """The model with an adapter as it was when its number was first used, as vLLM keeps it."""
        from peft import PeftModel
        from transformers import AutoModelForCausalLM

        if asked.lora_int_id not in self.adapters:
            model = AutoModelForCausalLM.from_pretrained(self.folder)
            self.adapters[asked.lora_int_id] = PeftModel.from_pretrained(model, asked.lora_path).eval()
        model = self.adapters[asked.lora_int_id]
        if model.peft_config["default"].r > self.options["max_lora_rank"]:
            raise ValueError("LoRA rank is greater than max_lora_rank")
        return model

    def _answer(self, model: Any, prompt: list[int], params: SamplingParams) -> list[int]:
        import torch

        if len(prompt) >= self.options["max_model_len"]:
            raise ValueError("The decoder prompt is longer than the maximum model length")
        own = model.config.eos_token_id
        ends = {*params.stop_token_ids, *([] if params.ignore_eos or own is None else [own])}
        draw, ids = torch.Generator().manual_seed(params.seed or 0), [*prompt]
        while len(ids) - len(prompt) < params.max_tokens and len(ids) < self.options["max_model_len"]:
            with torch.no_grad():
                logits = model(torch.tensor([ids])).logits[0, -1]
            if params.temperature == 0:
                token = int(logits.argmax())
            else:
                token = int(torch.multinomial((logits / params.temperature).softmax(0), 1, generator=draw))
            ids.append(token)
            if token in ends:
                break
        return ids[len(prompt) :]


@contextmanager
def vllm_here() -> Generator[list[LLM]]:
    """Within, `import vllm` gives this; gives the engines that were started."""
    root, lora, request = ModuleType("vllm"), ModuleType("vllm.lora"), ModuleType("vllm.lora.request")
    root.LLM, root.SamplingParams, request.LoRARequest = LLM, SamplingParams, LoRARequest  # type: ignore[attr-defined]
    LLM.made.clear()
    with pytest.MonkeyPatch.context() as patch:
        for module in (root, lora, request):
            patch.setitem(sys.modules, module.__name__, module)
        yield LLM.made
    LLM.made.clear()
