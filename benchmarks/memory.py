"""The plan's memory against what training really takes, on the processor of this machine.

    python benchmarks/memory.py [CASE ...]

Each case is a model of its own sizes with random weights, SmolLM2's tokenizer, and rows of one length, trained for three steps
by the trainer itself in a process of its own. Measured is the most resident memory of that process, less what it had after its
imports; predicted is what `lorry plan` says for this computer. Memory does not depend on how busy the machine is.
"""

from __future__ import annotations

import argparse
import resource
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
    return {
        **plain_recipe(folder, length=case["length"], micro_batch=case["batch"], twice="twice" in case),
        "model": {"id": str(folder / "model"), "precision": "bf16" if "bf16" in case else "fp32"},
        "lora": None if "full" in case else {"rank": 16},
    }


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
