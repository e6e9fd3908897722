"""A rollout: the answers that the model made to a step's prompts, and what is known of each of their tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lorry.data.examples import Example

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Rollout:
    """Answers, `n` of them, those to one prompt side by side."""

    first: int
    """The first step that is trained on them."""
    rows: list[int]
    """The training row whose prompt each answers."""
    ids: list[NDArray[np.int32]]
    """Tokens of prompt and answer."""
    asked: list[int]
    """Tokens of the prompt."""
    known: list[dict[str, NDArray[np.float32]]] = field(default_factory=list[dict[str, NDArray[np.float32]]])
    """By name, `(tokens of the answer,)`."""
    told: Mapping[str, float] = field(default_factory=dict[str, float])
    """Means over all answers that are worth a curve."""
    carried: Mapping[str, float] = field(default_factory=dict[str, float])
    """What the next rollout has to know of this one."""

    @property
    def answered(self) -> list[int]:
        """Tokens of each answer."""
        return [len(ids) - asked for ids, asked in zip(self.ids, self.asked, strict=True)]

    def example(self, index: int) -> Example:
        """One answer as it is trained on."""
        trained = np.arange(len(self.ids[index])) >= self.asked[index]
        return Example(self.ids[index], trained, known=self.known[index] if self.known else None)

    def tensors(self) -> dict[str, torch.Tensor]:
        """For a checkpoint."""
        import torch

        lengths = [len(ids) for ids in self.ids]
        numbers = {
            "ids": np.concatenate(self.ids) if self.ids else np.zeros(0, np.int32),
            "shape": np.asarray([self.rows, self.asked, lengths], dtype=np.int64),
        }
        names = sorted(self.known[0]) if self.known else []
        numbers |= {f"known.{name}": np.concatenate([one[name] for one in self.known]) for name in names}
        return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in numbers.items()}

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> Rollout:
        """From what `tensors` gave, and `facts`."""
        rows, asked, lengths = tensors["shape"].tolist()
        ends, counts = np.cumsum(lengths), np.subtract(lengths, asked)
        known = {
            name.removeprefix("known."): np.split(value.numpy(), np.cumsum(counts)[:-1])
            for name, value in tensors.items()
            if name.startswith("known.")
        }
        return cls(
            first=int(facts["first"]),
            rows=rows,
            ids=np.split(tensors["ids"].numpy(), ends[:-1]),
            asked=asked,
            known=[{name: parts[index] for name, parts in known.items()} for index in range(len(rows))],
            told={str(name): float(value) for name, value in dict(facts["told"]).items()},
            carried={str(name): float(value) for name, value in dict(facts["carried"]).items()},
        )

    def facts(self) -> dict[str, Any]:
        """What is no tensor, for a checkpoint."""
        return {"first": self.first, "told": dict(self.told), "carried": dict(self.carried)}
