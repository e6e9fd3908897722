"""Preference pairs: two answers to one prompt, as examples and in a batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from lorry.data.examples import Example, Kind
from lorry.data.rows import Row
from lorry.errors import DataError
from lorry.trainer.methods._base import Method, Whole

if TYPE_CHECKING:
    import torch

    from lorry.data.render import Renderer
    from lorry.trainer.forest import Forest


class FromPairs(Method):
    """A method that learns from preference pairs."""

    accepts: ClassVar[frozenset[str]] = frozenset({"preference"})
    tells: ClassVar[Mapping[str, bool]] = {
        "reward_chosen": True,
        "reward_rejected": False,
        "reward_margin": True,
        "reward_accuracy": True,
    }

    @property
    def learns_prompts(self) -> bool:
        """Whether the likelihood of the chosen one's prompt counts besides."""
        return False

    def examples_of(self, rows: Sequence[Row], renderer: Renderer) -> Iterator[list[Example] | DataError]:
        """Two examples for each row; in place of a row that cannot be rendered stands the reason."""
        chosen = renderer.chats(rows)
        rejected = renderer.chats([replace(row, messages=row.rejected, rejected=None) for row in rows])
        for good, bad in zip(chosen, rejected, strict=True):
            if isinstance(good, DataError):
                yield good
            elif isinstance(bad, DataError):
                yield bad
            elif np.array_equal(good.ids, bad.ids):
                yield []  # what told them apart lies beyond the greatest length, or is nothing that the template writes
            else:
                first = with_context(good) if self.learns_prompts else good
                yield [replace(first, kind=Kind.CHOSEN), replace(bad, kind=Kind.REJECTED)]

    def counts(self, batch: Forest) -> Whole:
        """Pairs, and the trained tokens of chosen rows."""
        return {"pairs": int((batch.kinds == Kind.CHOSEN).sum()), "tokens": int(is_chosen(batch).sum())}


def with_context(example: Example) -> Example:
    """An example whose prompt is trained on as well, as context of its answer."""
    trained = np.ones(len(example.ids), dtype=np.bool_)
    trained[:1] = False
    whole = replace(example, trained=trained).without_images()
    return replace(whole, context=whole.trained & ~example.trained)


def sides(batch: Forest, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of the chosen and of the rejected answers in a batch, `(pairs,)` each, in the same order."""
    import torch

    chosen, rejected = (np.flatnonzero(batch.kinds == kind) for kind in (Kind.CHOSEN, Kind.REJECTED))
    return torch.from_numpy(chosen).to(device), torch.from_numpy(rejected).to(device)


def answer_tokens(batch: Forest) -> NDArray[np.int64]:
    """Tokens of each row's answer, `(R,)`, at least 1."""
    return np.maximum(np.bincount(batch.rows[~batch.context], minlength=len(batch.kinds)), 1)


def is_chosen(batch: Forest) -> NDArray[np.bool_]:
    """Which trained tokens belong to chosen rows, the prompt's among them, `(N,)`."""
    return (batch.kinds == Kind.CHOSEN)[batch.rows]


def mean_log_probs(log_probs: torch.Tensor, batch: Forest) -> torch.Tensor:
    """The mean over the tokens of each row's answer, `(R,)`, of log-probabilities of all trained tokens, `(N,)`."""
    import torch

    from lorry.trainer.policy import row_sums

    answers = torch.from_numpy(~batch.context).to(log_probs.device)
    return row_sums(log_probs * answers, batch) / torch.from_numpy(answer_tokens(batch)).to(log_probs.device)


def told(chosen: torch.Tensor, rejected: torch.Tensor, whole: float) -> dict[str, float]:
    """Shares of the step's mean rewards, their difference, and how often the chosen one is higher."""
    margin = chosen - rejected
    sums = [*(one.sum() for one in (chosen, rejected, margin)), (margin > 0).sum()]
    names = ("reward_chosen", "reward_rejected", "reward_margin", "reward_accuracy")
    return {name: float(one) / whole for name, one in zip(names, sums, strict=True)}
