"""The rewards of whole rows: what a scalar head makes of the hidden state of each row's last token."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from lorry.data.examples import Example
from lorry.trainer.forest import Forest, plant
from lorry.trainer.forward import Forward
from lorry.trainer.model import LoadedModel

Row = Sequence[int] | NDArray[np.int32]


def rewards(forward: Forward, batch: Forest) -> torch.Tensor:
    """Of each row of a micro-batch, `(R,)` in fp32."""
    hidden = forward.hidden(batch)
    ends = torch.from_numpy(batch.ends).to(hidden.device)
    return forward.head(hidden.index_select(0, ends))[:, 0].float()


@torch.no_grad()
def row_rewards(
    loaded: LoadedModel, rows: Sequence[Row], batch_size: int, progress: Callable[[int], None] = lambda _done: None
) -> list[float]:
    """The reward of each row of tokens, in their order, without dropout. `progress` is told how many are done.

    Rows that begin alike are computed together. Raises ValueError for a row without tokens.
    """
    if not all(len(row) for row in rows):
        raise ValueError("a row without tokens has no reward")
    planted = [np.asarray(row, dtype=np.int32) for row in rows]
    shares, found = loaded.forward.shares, dict[int, float]()
    order = sorted(range(len(rows)), key=lambda at: planted[at].tobytes() if shares else len(planted[at]))
    with loaded.answering(), loaded.computing():
        for first in range(0, len(order), batch_size):
            places = order[first : first + batch_size]
            examples = [Example(planted[at], np.zeros(len(planted[at]), dtype=np.bool_)) for at in places]
            found |= zip(places, rewards(loaded.forward, plant(examples, share=shares)).tolist(), strict=True)
            progress(len(found))
    return [found[at] for at in range(len(rows))]
