"""The plan's memory against what training really takes on the first CUDA device of this machine.

    python benchmarks/gpu/memory.py [--on cpu] [CASE ...]

Each case is a model of the sizes on lorry's card, SmolLM2's tokenizer and rows of one length, trained for three steps by the
trainer itself in a process of its own. Measured is the most that torch's allocator reserved, and what the process held on the
device besides (CUDA's context, cuBLAS, kernels); predicted is what `lorry plan` says for this computer's GPU. Nothing else may
use the device meanwhile: what others take cannot be told from the context.

Weights are zeros in a file with holes, which takes no room on the disk and is read, quantised and trained as any other. Memory
depends on their number and format alone. Host memory is needed for a layer at a time; the kernel may cache more.

`--on cpu tiny` and `--on cpu "tiny, nf4"` try the script itself where there is no GPU: measured is the whole process then.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from measured import compare, copy_tokenizer, plain_recipe

SMOL, QWEN_SMALL, LLAMA_SMALL = "HuggingFaceTB/SmolLM2-135M", "Qwen/Qwen2.5-0.5B", "meta-llama/Llama-3.2-1B"
QWEN_MIDDLE, QWEN, LLAMA = "Qwen/Qwen2.5-3B", "Qwen/Qwen2.5-7B", "meta-llama/Llama-3.1-8B"
CASES: dict[str, dict[str, Any]] = {
    "135M, 16 of 512": {"model": SMOL, "length": 512, "batch": 16},
    "135M, 4 of 2,048, twice": {"model": SMOL, "length": 2048, "batch": 4, "twice": True},
    "0.5B, 8 of 512": {"model": QWEN_SMALL, "length": 512, "batch": 8},
    "0.5B, nf4, 4 of 1,024": {"model": QWEN_SMALL, "length": 1024, "batch": 4, "nf4": True},
    "1B, 4 of 1,024": {"model": LLAMA_SMALL, "length": 1024, "batch": 4},
    "1B, 8 of 2,048, twice": {"model": LLAMA_SMALL, "length": 2048, "batch": 8, "twice": True},
    "3B, 2 of 1,024": {"model": QWEN_MIDDLE, "length": 1024, "batch": 2},
    "3B, nf4, 8 of 512, twice": {"model": QWEN_MIDDLE, "length": 512, "batch": 8, "nf4": True, "twice": True},
    "7B, 2 of 512, twice": {"model": QWEN, "length": 512, "batch": 2, "twice": True},
    "7B, nf4, 1 of 1,024": {"model": QWEN, "length": 1024, "batch": 1, "nf4": True},
    "8B, 1 of 512": {"model": LLAMA, "length": 512, "batch": 1},
    "8B, nf4, 4 of 2,048, twice": {"model": LLAMA, "length": 2048, "batch": 4, "nf4": True, "twice": True},
}
TINY: dict[str, dict[str, Any]] = {
    "tiny": {"model": SMOL, "length": 64, "batch": 2, "sizes": {"num_hidden_layers": 2}},
    "tiny, nf4": {"model": QWEN_SMALL, "length": 64, "batch": 2, "sizes": {"num_hidden_layers": 2}, "nf4": True},
}
"""To try this script itself."""


def main() -> None:
    """Prints a line a case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE")
    parser.add_argument("--on", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        measure(options.child)
        return
    if options.on == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    else:
        _must_have_a_gpu()
    for name in options.cases or CASES:
        case = {**CASES, **TINY}[name]
        with tempfile.TemporaryDirectory() as folder:
            predicted, measured = compare(Path(folder), recipe(Path(folder), case), Path(__file__))
        difference = predicted / measured - 1
        print(f"{name:28} {predicted / 1e6:8,.0f} MB {measured / 1e6:8,.0f} MB {difference:+6.1%}", flush=True)


def _must_have_a_gpu() -> None:
    import torch

    if not torch.cuda.is_available():  # asks the driver alone, and makes no context
        raise SystemExit(
            "error: torch sees no CUDA device on this machine\n\nhint: `--on cpu tiny` tries the script itself"
        )


def measure(run: Path) -> None:
    """Trains a run in this process; prints the most bytes that it held on the device."""
    # Read by torch when it is imported; `python -m lorry.trainer` sets the same.
    import lorry.trainer.__main__  # noqa: F401  # isort: skip
    import torch

    from lorry.trainer import process

    before = _used()
    if process.work(run):
        raise SystemExit("the run failed")
    if not torch.cuda.is_available():
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
        return
    besides = _used() - before - torch.cuda.memory_reserved()
    print(torch.cuda.max_memory_reserved() + max(0, besides))


def _used() -> int:
    """Bytes in use on the first device. Torch cannot be asked: that makes a context, which is to be measured."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return 0
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "").partition(",")[0] or "0"
    words = [program, "-i", first, "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1]) * 2**20


def recipe(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    """A recipe over a new model and rows in the folder."""
    model(folder / "model", case)
    return {
        **plain_recipe(folder, length=case["length"], micro_batch=case["batch"], twice="twice" in case),
        "model": {
            "id": str(folder / "model"),
            "precision": "bf16",
            "quantization": "nf4" if "nf4" in case else "none",
        },
        "lora": {"rank": 16},
    }


def model(folder: Path, case: dict[str, Any]) -> None:
    """A folder with a card's sizes, SmolLM2's tokenizer and weights that are zeros."""
    from transformers import AutoConfig

    from lorry.plan.architecture.blueprint import blueprint
    from lorry.plan.architecture.cards import card

    found = card(case["model"])
    assert found is not None
    sizes = {**found["config"], **case.get("sizes", {})}
    config = AutoConfig.for_model(dtype="bfloat16", **sizes)
    config.architectures = [{"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM"}[sizes["model_type"]]]
    config.save_pretrained(folder)
    copy_tokenizer(folder)
    outline = blueprint(sizes)
    assert outline is not None
    zeros(folder / "model.safetensors", {name: tensor.shape for name, tensor in outline.items()})


def zeros(file: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    """A safetensors file of bf16 zeros that is a header and a hole (github.com/huggingface/safetensors, "Format")."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        begin, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with file.open("wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        out.truncate(8 + len(text) + end)


if __name__ == "__main__":
    main()
