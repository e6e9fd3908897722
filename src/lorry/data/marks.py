"""A rendered row as text again, in stretches that are trained on and stretches that are not."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np

from lorry.data.examples import Example
from lorry.data.tokenizer import Tokenizer


def stretches(example: Example, tokenizer: Tokenizer) -> list[tuple[str, bool]]:
    """The row's text, special tokens included, in stretches: text, and whether its tokens are trained on."""
    ids = example.ids.tolist()
    borders = [0, *(np.flatnonzero(np.diff(example.trained.astype(np.int8))) + 1).tolist(), len(ids)]
    found: list[tuple[str, bool]] = []
    before = ""
    for start, end in pairwise(borders):
        # The whole beginning is decoded, for some tokenizers write a token otherwise when it stands first.
        text = tokenizer.decode(ids[:end], skip_special_tokens=False)
        piece = text[len(before) :] if text.startswith(before) else tokenizer.decode(ids[start:end], False)
        found.append((_counted(piece, tokenizer), bool(example.trained[start])))
        before = text
    return found


def _counted(text: str, tokenizer: Tokenizer) -> str:
    """The text with an image's placeholders counted, and not each of them written."""
    if tokenizer.vision is None:
        return text
    token = tokenizer.vision.token
    runs = re.compile(f"(?:{re.escape(token)}){{2,}}")
    return runs.sub(lambda run: f"{token} x {len(run[0]) // len(token)}", text)
