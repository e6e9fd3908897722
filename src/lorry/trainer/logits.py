"""How many logits are kept at once. Imports no torch: plans ask, too."""

from __future__ import annotations

_AT_ONCE = 48 * 1024 * 1024
_ON_CPU = 6 * 1024 * 1024
"""Numbers, not bytes. On a processor in fp32 they stay below 32 MB, which is what the heap takes again and again: larger blocks
come from the kernel, which clears each of their pages. Matrices of some dozen rows keep it busy; a GPU wants more."""


def tokens_at_once(vocabulary: int, *, on_gpu: bool, is_made_twice: bool) -> int:
    """Tokens whose logits are kept; of more they are computed in pieces.

    Logits that are made again for the backward pass come in large pieces everywhere: a trained head adds up the gradient of its
    whole matrix once for each.
    """
    numbers = _AT_ONCE if on_gpu or is_made_twice else _ON_CPU
    return max(1, numbers // max(vocabulary, 1))
