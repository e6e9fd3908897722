"""What generation starts from: token ids, and the images that stand among them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

from lorry.data.images.picture import Placed


class Prompt(Sequence[int]):
    """The tokens of a prompt, to be read like a list of ids, with its images."""

    def __init__(self, ids: Sequence[int], images: Sequence[Placed] = ()) -> None:
        self.ids = list(ids)
        self.images = tuple(images)

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> list[int]: ...
    def __getitem__(self, index: int | slice) -> int | list[int]:
        return self.ids[index]

    def __eq__(self, other: object) -> bool:
        """Whether it has the same tokens and images; a plain list of ids has no images."""
        if isinstance(other, Prompt):
            return self.ids == other.ids and self.images == other.images
        return isinstance(other, list) and self.ids == other and not self.images

    def __hash__(self) -> int:
        return hash((tuple(self.ids), self.images))


def images_of(prompt: Sequence[int]) -> tuple[Placed, ...]:
    """The images of what is asked; none where it is nothing but tokens."""
    return prompt.images if isinstance(prompt, Prompt) else ()
