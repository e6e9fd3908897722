"""The plan's memory against what training really takes, on the processor of this machine.

    python benchmarks/memory.py [CASE ...]

Each case is a model of its own sizes with random weights, SmolLM2's tokenizer, and rows of one length, trained for three steps
by the trainer itself in a process of its own. Where it is judged, three steps of GRPO learn from the rewards of an adapter on the
same base, or on a copy of it, which then lies in memory a second time. Measured is the most resident memory of that process, less what it had after its
imports; predicted is what `lorry plan` says for this computer. Memory does not depend on how busy the machine is.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

from measured import compare, copy_tokenizer, plain_recipe, tokenizer_folder

CASES: dict[str, dict[str, Any]] = {
    "fp32, 512 tokens": {"hidden": 512, "inner": 1536, "layers": 8, "heads": 8, "kv": 4, "length": 512, "batch": 4},
    "bf16, 512 tokens": {"hidden": 512, "inner": 1536, "layers": 8, "heads": 8, "kv": 4, "length": 512, "batch": 4, "bf16": True},
    "fp32, twice": {"hidden": 512, "inner": 1536, "layers": 8, "heads": 8, "kv": 4, "length": 512, "batch": 4, "twice": True},
    "bf16, 1,024 tokens": {"hidden": 768, "inner": 2048, "layers": 10, "heads": 12, "kv": 4, "length": 1024, "batch": 2, "bf16": True},
    "bf16, short rows": {"hidden": 768, "inner": 2048, "layers": 12, "heads": 12, "kv": 12, "length": 128, "batch": 8, "bf16": True},
    "fp32, all weights": {"hidden": 384, "inner": 1024, "layers": 6, "heads": 6, "kv": 6, "length": 256, "batch": 4, "full": True},
    "fp32, 1,024 tokens, twice": {"hidden": 768, "inner": 2048, "layers": 10, "heads": 12, "kv": 4, "length": 1024, "batch": 2, "twice": True},
    "bf16, 16 rows of 64": {"hidden": 576, "inner": 1536, "layers": 16, "heads": 9, "kv": 3, "length": 64, "batch": 16, "bf16": True},
    "fp32, judged by a metric": {"hidden": 768, "inner": 2048, "layers": 10, "heads": 12, "kv": 4, "length": 128, "batch": 4, "judge": "metric"},
    "fp32, judged on its base": {"hidden": 768, "inner": 2048, "layers": 10, "heads": 12, "kv": 4, "length": 128, "batch": 4, "judge": "shared"},
    "fp32, judged on another": {"hidden": 768, "inner": 2048, "layers": 10, "heads": 12, "kv": 4, "length": 128, "batch": 4, "judge": "apart"},
    "bf16, judged by a metric": {"hidden": 768, "inner": 2048, "layers": 10, "heads": 12, "kv": 4, "length": 128, "batch": 4, "judge": "metric", "bf16": True},
    "bf16, judged on its base": {"hidden": 768, "inner": 2048, "layers": 10, "heads": 12, "kv": 4, "length": 128, "batch": 4, "judge": "shared", "bf16": True},
    "bf16, judged on another": {"hidden": 768, "inner": 2048, "layers": 10, "heads": 12, "kv": 4, "length": 128, "batch": 4, "judge": "apart", "bf16": True},
}  # fmt: skip


def main() -> None:
    """Prints a line a case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        measure(options.child)
        return
    for name in options.cases or CASES:
        with tempfile.TemporaryDirectory() as folder:
            predicted, measured = compare(Path(folder), recipe(Path(folder), CASES[name]), Path(__file__))
        print(
            f"{name:28} {predicted / 1e6:7,.0f} MB {measured / 1e6:7,.0f} MB {predicted / measured - 1:+6.1%}",
            flush=True,
        )


def measure(run: Path) -> None:
    """Trains a run in this process; prints how much more memory it took than its imports."""
    import psutil

    from lorry.trainer import process

    for name in ("accelerate", "peft", "transformers.models.llama.modeling_llama"):
        import_module(name)
    before = psutil.Process().memory_info().rss
    if process.work(run):
        raise SystemExit("the run failed")
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before)


def recipe(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    """A recipe over a new model and rows in the folder."""
    model(folder / "model", case)
    judged = learning(folder, case) if "judge" in case else {}
    return {
        **plain_recipe(folder, length=case["length"], micro_batch=case["batch"], twice="twice" in case),
        **judged,
        "model": {"id": str(folder / "model"), "precision": "bf16" if "bf16" in case else "fp32"},
        "lora": None if "full" in case else {"rank": 16},
    }


def learning(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    """What differs where answers of half the length are judged: by a metric, or by a reward model with random weights."""
    reward = {"name": "metric", "metric": "exact_match"} if case["judge"] == "metric" else judge(folder, case)
    rows = [{"prompt": f"{row:04d}", "answer": "green"} for row in range(64)]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    settings = {"group_size": case["batch"], "max_new_tokens": case["length"] // 2, "rewards": [reward]}
    return {
        "data": {"train": str(folder / "prompts.jsonl"), "eval_split": 0, "max_length": case["length"]},
        "method": {"name": "grpo", **settings},
        "train": {"steps": 3, "micro_batch": case["batch"]},
    }


def judge(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    """A reward model's adapter, on the base that is trained or on a copy of it."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification

    base: Any = AutoModelForSequenceClassification.from_pretrained(folder / "model", num_labels=1)
    known = {"r": 16, "target_modules": "all-linear", "task_type": "SEQ_CLS", "modules_to_save": ["score"]}
    torch.manual_seed(0)
    get_peft_model(base, LoraConfig(**known)).save_pretrained(folder / "judge")
    reward = {"name": "adapter", "adapter": str(folder / "judge"), "batch_size": case["batch"]}
    if case["judge"] == "apart":
        shutil.copytree(folder / "model", folder / "copy")
        reward["base_model"] = str(folder / "copy")
    return reward


def model(folder: Path, case: dict[str, Any]) -> None:
    """Random weights of these sizes, with SmolLM2's tokenizer."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    source = tokenizer_folder()
    sizes = {
        "hidden_size": case["hidden"],
        "intermediate_size": case["inner"],
        "num_hidden_layers": case["layers"],
        "num_attention_heads": case["heads"],
        "num_key_value_heads": case["kv"],
        "head_dim": case["hidden"] // case["heads"],
    }
    config = AutoConfig.from_pretrained(source, **sizes)
    torch.manual_seed(0)
    dtype = torch.bfloat16 if "bf16" in case else torch.float32
    AutoModelForCausalLM.from_config(config, dtype=dtype).save_pretrained(folder)
    copy_tokenizer(folder)


if __name__ == "__main__":
    main()
