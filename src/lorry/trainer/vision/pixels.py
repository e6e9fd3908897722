"""Pixels of images, as the model's own processor makes them: decoded by threads, ahead of the step that needs them.

Images of a batch are processed one by one, so what one becomes does not depend on those beside it, and a step that is computed
again gets the same bits. Transformers' processors on Pillow are used everywhere, for torchvision gives other pixels.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from lorry.data.images.opened import decoded
from lorry.data.images.picture import Picture
from lorry.data.images.vision import Vision
from lorry.errors import ModelError

_THREADS = min(8, os.cpu_count() or 1)
_KEPT_BYTES = 256 * 2**20
"""Of pixels that are kept for when their image is shown again."""
Batch = dict[str, torch.Tensor]


class Pixels:
    """Gives the pixels of images, and begins early on those that are told of."""

    def __init__(self, folder: Path, vision: Vision) -> None:
        self._vision = vision
        self._folder = folder
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="images")
        self._waiting: dict[bytes, Future[Batch]] = {}
        self._kept: OrderedDict[bytes, Batch] = OrderedDict()

    def expect(self, pictures: Sequence[Picture]) -> None:
        """Begins on these, which are asked for soon. What was begun before and not asked for is dropped."""
        if not pictures:
            return
        _ = self._processor  # loaded by one thread
        kept: dict[bytes, Future[Batch]] = {}
        for one in pictures:
            if one.sha256 not in kept and one.sha256 not in self._kept:
                kept[one.sha256] = self._waiting.get(one.sha256) or self._begin(one)
        for digest, one in self._waiting.items():
            if digest not in kept:
                one.cancel()
        self._waiting = kept

    def of(self, pictures: Sequence[Picture]) -> Batch:
        """What the model's vision part takes for these, in their order; blocks while they are decoded."""
        _ = self._processor
        begun = dict(self._waiting)
        for one in pictures:
            if one.sha256 not in begun and one.sha256 not in self._kept:
                begun[one.sha256] = self._begin(one)
        each = [self._kept.get(one.sha256) or begun[one.sha256].result() for one in pictures]
        self._keep(zip(pictures, each, strict=True))
        return _joined(each)

    def _keep(self, made: Iterable[tuple[Picture, Batch]]) -> None:
        """Keeps what was used last, so that a small set is decoded once."""
        for one, batch in made:
            self._kept[one.sha256] = batch
            self._kept.move_to_end(one.sha256)
        while sum(map(_bytes, self._kept.values())) > _KEPT_BYTES:
            self._kept.popitem(last=False)

    @cached_property
    def _processor(self) -> Any:
        return _processor(self._folder)

    def _begin(self, picture: Picture) -> Future[Batch]:
        return self._pool.submit(self._processed, picture)

    def _processed(self, picture: Picture) -> Batch:
        image = decoded(picture.content(), self._vision.size(picture))
        made: dict[str, Any] = dict(self._processor(images=image, return_tensors="pt"))
        return {name: value for name, value in made.items() if isinstance(value, torch.Tensor)}


def _bytes(batch: Batch) -> int:
    return sum(value.nbytes for value in batch.values())


def _joined(each: Sequence[Batch]) -> Batch:
    """The images of a batch side by side: along the first dimension, or, where that counts rows of text, along the second."""
    along = int(each[0]["pixel_values"].dim() == 5)
    return {name: torch.cat([one[name] for one in each], dim=along) for name in each[0]}


def _processor(folder: Path) -> Any:
    from transformers import AutoImageProcessor

    try:
        return AutoImageProcessor.from_pretrained(folder, backend="pil")
    except (OSError, ValueError, ImportError) as error:
        hint = "fetch the model again: it needs preprocessor_config.json"
        raise ModelError(
            f"the model's image processor cannot be loaded: {error}", place=str(folder), hint=hint
        ) from error
