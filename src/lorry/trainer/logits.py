"""How many logits are kept at once. Imports no torch: plans ask, too."""

from __future__ import annotations

_AT_ONCE = 48 * 1024 * 1024
"""Numbers, not bytes."""


def tokens_at_once(vocabulary: int) -> int:
    """Tokens whose logits are kept; of more they are computed in pieces, and again in the backward pass."""
    return max(1, _AT_ONCE // max(vocabulary, 1))
