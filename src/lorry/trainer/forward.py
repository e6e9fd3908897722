"""From a forest to hidden states: the three ways to run a model over a micro-batch, and the head that follows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lorry.trainer.attention import lay_out
from lorry.trainer.forest import Forest
from lorry.trainer.routers import Routers, uses_of
from lorry.trainer.vision.eyes import Eyes, rows_of_places

Body = Callable[..., Any]


@dataclass
class Forward:
    """A model ready to be run over forests.

    `way` is `forest` (one sequence, beginnings shared), `flash` (one sequence, rows told apart by their positions) or
    `padded` (one row a line, for architectures whose parity with the plain computation has not been proven).
    """

    body: Body
    head: Callable[[torch.Tensor], torch.Tensor]
    device: torch.device
    way: str
    vocabulary: int
    routers: Routers | None = None
    """Of a mixture whose experts' load is watched."""
    eyes: Eyes | None = None
    """The vision part; None for a model that reads no images."""
    planar: bool = False
    """Whether the model places tokens in the plane, and so tells rows apart only by positions given beside those places."""

    def hidden(self, forest: Forest) -> torch.Tensor:
        """The last hidden state of each token of the forest, `(T, hidden size)`."""
        return _WAYS[self.way](self, forest)

    def seen(self, forest: Forest) -> dict[str, Any]:
        """What the body takes for the images of a forest."""
        return {} if self.eyes is None else self.eyes.seen(forest)

    @property
    def shares(self) -> bool:
        """Whether forests with shared beginnings may be given."""
        return self.way == "forest"

    def run(self, forest: Forest, places: torch.Tensor | None = None, **inputs: Any) -> torch.Tensor:
        """The body's last hidden states, the forest's images seen; routers that are watched are told of its tokens.

        `places` are those of the forest's tokens among all that are computed, padding with them; None where there is none.
        """
        given = {**inputs, **self.seen(forest), "use_cache": False}
        if self.routers is None or not self.routers.are_watched:
            return self.body(**given).last_hidden_state
        out = self.body(**given, output_router_logits=True)
        said = out.router_logits
        self.routers.told(
            said if places is None else tuple(one.flatten(0, -2)[places] for one in said), uses_of(forest, self.device)
        )
        return out.last_hidden_state


def _as_forest(forward: Forward, forest: Forest) -> torch.Tensor:
    # A mask of four dimensions is handed through as it is: it keeps the model from making one of T x T.
    layout = lay_out(forest, forward.device)
    untouched = torch.zeros(1, 1, 1, 1, dtype=torch.bool, device=forward.device)
    return forward.run(forest, **_row(forward, forest), attention_mask=untouched, forest_layout=layout)[0]


def _as_flash(forward: Forward, forest: Forest) -> torch.Tensor:
    # Positions that start again mark a new row, but only while there is no attention mask.
    return forward.run(forest, **_row(forward, forest), attention_mask=None)[0]


def _as_padded(forward: Forward, forest: Forest) -> torch.Tensor:
    width = max(segment.length for segment in forest.segments)
    shape = (len(forest.segments), width)
    ids, mask = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    for line, segment in enumerate(forest.segments):
        ids[line, : segment.length] = forest.ids[segment.start : segment.start + segment.length]
        mask[line, : segment.length] = 1
    places = torch.from_numpy(np.flatnonzero(mask)).to(forward.device)
    in_rows = rows_of_places(forest, width)
    placed = {} if in_rows is None else {"position_ids": _to(in_rows, forward)}
    hidden = forward.run(forest, places, input_ids=_to(ids, forward), attention_mask=_to(mask, forward), **placed)
    return hidden.flatten(0, 1).index_select(0, places)


_WAYS: dict[str, Callable[[Forward, Forest], torch.Tensor]] = {
    "forest": _as_forest,
    "flash": _as_flash,
    "padded": _as_padded,
}


def _row(forward: Forward, forest: Forest) -> dict[str, torch.Tensor]:
    positions = forest.positions[None]
    if forward.planar:  # those that tell rows apart first, those in the plane behind: text counts on in all alike
        places = forest.places if forest.places is not None else np.repeat(positions, 3, axis=0)
        positions = np.concatenate([positions, places])[:, None]
    return {"input_ids": _to(forest.ids, forward)[None], "position_ids": _to(positions, forward)}


def _to(array: np.ndarray[Any, np.dtype[np.int64]], forward: Forward) -> torch.Tensor:
    return torch.from_numpy(array).to(forward.device)
