"""What Transformers leaves out when it reads a tokenizer from a GGUF file: how text is split before its merges apply.

GGUF names the rule in `tokenizer.ggml.pre`; Transformers gives most files GPT-2's. The patterns are those of
llama.cpp's llama-vocab.cpp and of the models' own tokenizer.json.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer
from tokenizers.pre_tokenizers import ByteLevel, Digits, PreTokenizer, Sequence, Split

from lorry.errors import ModelError

_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA3 = _WORDS + r"\p{N}{1,3}" + _REST
_QWEN2 = _WORDS + r"\p{N}" + _REST
_PLAIN = {"", "default", "gpt-2"}


def _split(pattern: str) -> PreTokenizer:
    return Sequence([Split(Regex(pattern), "isolated"), ByteLevel(add_prefix_space=False, use_regex=False)])


def _digits() -> PreTokenizer:
    return Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False, use_regex=True)])


_RULES = {
    "smollm": _digits,
    "starcoder": _digits,
    "refact": _digits,
    "command-r": _digits,
    "llama-bpe": lambda: _split(_LLAMA3),
    "llama3": lambda: _split(_LLAMA3),
    "llama-v3": lambda: _split(_LLAMA3),
    "qwen2": lambda: _split(_QWEN2),
    "stablelm2": lambda: _split(_QWEN2),
}


def fields(file: Path) -> dict[str, Any]:
    """The scalar values in a GGUF file's header. Raises ModelError for a file that is none, or is cut short."""
    from gguf import GGUFReader

    try:
        reader = GGUFReader(file)
    except (ValueError, IndexError, KeyError, OverflowError, OSError) as error:
        hint = "fetch the file again, and compare its size with the one published"
        raise ModelError(f"{file.name} is not a whole GGUF file ({error})", hint=hint) from error
    kept = {name: field for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    return {name: field.contents() for name, field in kept.items() if len(field.data) == 1}


def restore_pre_tokenizer(tokenizer: Tokenizer, facts: dict[str, Any]) -> list[str]:
    """Sets the split that the file names; returns a note where it names one that is not known here."""
    name = str(facts.get("tokenizer.ggml.pre", ""))
    if facts.get("tokenizer.ggml.model") != "gpt2" or name in _PLAIN:
        return []
    if name not in _RULES:
        return [f"the GGUF file splits text by `{name}`, which Transformers approximates: some tokens may differ"]
    tokenizer.pre_tokenizer = _RULES[name]()  # type: ignore[assignment]
    return []
