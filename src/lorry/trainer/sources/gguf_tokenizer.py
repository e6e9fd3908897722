"""What Transformers leaves out when it reads a tokenizer from a GGUF file: for some, how text is split before merging.

GGUF names the rule in `tokenizer.ggml.pre`. Transformers knows many and gives the others GPT-2's; the families below
split each digit off first (llama.cpp's llama-vocab.cpp; SmolLM2's and StarCoder's own tokenizer.json).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence

from lorry.errors import ModelError

_PLAIN = {"", "default", "gpt-2", "gpt2"}
_SINGLE_DIGITS = {"smollm", "starcoder", "refact", "command-r", "codeshell"}


def fields(file: Path) -> dict[str, Any]:
    """The scalar values in a GGUF file's header. Raises ModelError for a file that is none, or is cut short."""
    from gguf import GGUFReader

    try:
        reader = GGUFReader(str(file))
    except (ValueError, IndexError, KeyError, OverflowError, OSError) as error:
        hint = "fetch the file again, and compare its size with the one published"
        raise ModelError(f"{file.name} is not a whole GGUF file ({error})", hint=hint) from error
    kept = {name: field for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    return {name: field.contents() for name, field in kept.items() if len(field.data) == 1}


def restore_split(tokenizer: Tokenizer, facts: dict[str, Any]) -> list[str]:
    """Sets the split that the file names; returns a note where it names one that nobody here knows."""
    name = str(facts.get("tokenizer.ggml.pre", ""))
    if (
        facts.get("tokenizer.ggml.model") != "gpt2"
        or name in _PLAIN
        or not isinstance(tokenizer.pre_tokenizer, ByteLevel)
    ):
        return []
    if name not in _SINGLE_DIGITS:
        return [f"the GGUF file splits text by `{name}`, which Transformers does not know: some tokens may differ"]
    split = Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False, use_regex=True)])
    tokenizer.pre_tokenizer = split  # type: ignore[assignment]
    return []
