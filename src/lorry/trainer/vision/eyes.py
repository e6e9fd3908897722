"""The vision part of a model at work: from the images of a forest to what its decoder is given besides tokens."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lorry.data.images.picture import Placed
from lorry.trainer.forest import Forest
from lorry.trainer.vision.pixels import Pixels


@dataclass
class Eyes:
    """Computes features of images. Their gradients are kept only where something of the vision part is trained."""

    body: Any
    """The model without its output layer, vision part and decoder."""
    device: torch.device
    pixels: Pixels
    token_id: int
    are_trained: bool
    """Whether something of the vision part is. Decided once: while an adapter is off, none of it asks for gradients."""

    def expect(self, forest: Forest) -> None:
        """Has the images of a forest decoded while something else is computed."""
        self.pixels.expect(forest.images)

    def seen(self, forest: Forest) -> dict[str, Any]:
        """What the body takes for the images of a forest; nothing where there are none."""
        if not forest.images:
            return {}
        given = {name: value.to(self.device) for name, value in self.pixels.of(forest.images).items()}
        with nullcontext() if self.are_trained else torch.no_grad():
            found = self.body.get_image_features(**given, return_dict=True)
        return {"mm_encoder_outputs": {"image": found}}

    def shown(self, prompts: Sequence[Sequence[Placed]], ids: torch.Tensor) -> dict[str, Any]:
        """What generation takes for the images of prompts, whose tokens are `(prompts, length)`; nothing for none."""
        pictures = [one.picture for images in prompts for one in images]
        if not pictures:
            return {}
        given: dict[str, Any] = {name: value.to(self.device) for name, value in self.pixels.of(pictures).items()}
        if "image_grid_thw" in given:
            given["mm_token_type_ids"] = (ids == self.token_id).int()
        return given


def are_trained(body: Any) -> bool:
    """Whether anything beside the decoder of a model without its output layer is trained, its adapter being on."""
    decoder = {id(parameter) for parameter in body.get_decoder().parameters()}
    return any(one.requires_grad for one in body.parameters() if id(one) not in decoder)


def rows_of_places(forest: Forest, width: int) -> np.ndarray[Any, np.dtype[np.int64]] | None:
    """The places of a forest without sharing, one row a line, `(3, rows, width)`; None where tokens count on alone."""
    if forest.places is None:
        return None
    found = np.zeros((3, len(forest.segments), width), dtype=np.int64)
    for line, segment in enumerate(forest.segments):
        found[:, line, : segment.length] = forest.places[:, segment.start : segment.start + segment.length]
    return found
