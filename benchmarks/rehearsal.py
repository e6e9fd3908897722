"""How long `lorry rehearse` takes for a 7B recipe, stage by stage.

    python benchmarks/rehearsal.py [--model Qwen/Qwen2.5-7B-Instruct] [--rows recipes/data/shell.jsonl] [--tokenizer FOLDER]

The architecture comes from lorry's card of the model, so nothing is downloaded. Without --tokenizer one of the same size is made:
byte-level BPE with 151,000 tokens, which splits text finer than the true one. LoRA r=16 on all linear layers, rows of up to
1,024 tokens, micro-batch 8, two metrics.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import tempfile
import time
from pathlib import Path

import psutil

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="Qwen/Qwen2.5-7B-Instruct")
    parser.add_argument("--rows", type=Path, default=Path(__file__).parents[1] / "recipes" / "data" / "shell.jsonl")
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument("--max-length", type=int, default=1024)
    options = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LORRY_HOME"] = str(Path(folder) / "home")
        rehearse(options, options.tokenizer or make_tokenizer(Path(folder) / "tokenizer"))


def rehearse(options: argparse.Namespace, tokenizer: Path) -> None:
    import lorry

    recipe = lorry.Recipe.model_validate(
        {
            "model": {"id": options.model},
            "data": {"train": str(options.rows.absolute()), "max_length": options.max_length},
            "train": {"steps": 500, "micro_batch": 8},
            "evaluate": {"metrics": ["exact_match", "bash_valid"]},
        }
    )
    print(f"{psutil.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before")
    began = time.perf_counter()
    result = lorry.rehearse(recipe, tokenizer=tokenizer, limit=600)
    took = time.perf_counter() - began
    for stage in result.stages:
        print(f"{stage.name:12} {stage.seconds:6.2f} s  {stage.ending:9} {stage.told}")
    print(f"{'in all':12} {took:6.2f} s  load {os.getloadavg()[0]:.1f} after")
    for finding in result.findings:
        if finding.severity != "note":
            print(f"{finding.severity} {finding.code}: {finding.message}")


def make_tokenizer(folder: Path, size: int = 151_000) -> Path:
    """A folder with a byte-level tokenizer of so many tokens."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    signs = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    pairs = list(itertools.product(signs, signs))
    letters = [sign for sign in signs if sign.isascii() and sign.isalpha()]
    triples = [((one, two), three) for one, two in itertools.product(letters, letters) for three in signs]
    merges = [*pairs, *(("".join(pair), sign) for pair, sign in triples)][: size - len(signs) - len(special)]
    words = [*special, *signs, *("".join(merge) for merge in merges)]
    words = list(dict.fromkeys(words))
    backend = Tokenizer(models.BPE(vocab={word: at for at, word in enumerate(words)}, merges=merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(token, special=True) for token in special])
    folder.mkdir(parents=True)
    backend.save(str(folder / "tokenizer.json"))
    named = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(named), encoding="utf-8")
    (folder / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    return folder


if __name__ == "__main__":
    main()
