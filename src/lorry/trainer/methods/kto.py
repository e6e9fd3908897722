"""Kahneman-Tversky optimisation: the model learns from answers that are good or bad by themselves, without pairs.

Ethayarajh et al. 2024 (arXiv:2402.01306), eq. 7 and 8. How far the model has moved from the reference is measured, as there, on
prompts with other rows' answers, over the whole optimizer step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from lorry.data.examples import Example, Kind
from lorry.data.rows import Message, Row
from lorry.errors import DataError
from lorry.trainer.methods._base import Share, Whole
from lorry.trainer.methods._held import HeldToReference

if TYPE_CHECKING:
    from lorry.data.render import Renderer
    from lorry.trainer.forest import Forest
    from lorry.trainer.policy import Policy


class KahnemanTverskyOptimisation(HeldToReference):
    """Learns from single answers that are labelled good or bad, held to the model that it began with."""

    accepts: ClassVar[frozenset[str]] = frozenset({"labelled"})
    can_vanish: ClassVar[bool] = True
    tells: ClassVar[Mapping[str, bool]] = {"reward_good": True, "reward_bad": False, "kl": False}
    looks_at: ClassVar[frozenset[Kind]] = frozenset({Kind.STRANGE})
    beta: float = Field(default=0.1, gt=0)
    """How dear it is to move away from the reference."""
    good_weight: float = Field(default=1.0, gt=0)
    """Weight of good answers. With many more bad ones, raise it: weight times rows of both alike, within a third."""
    bad_weight: float = Field(default=1.0, gt=0)
    """Weight of bad answers."""

    def examples_of(self, rows: Sequence[Row], renderer: Renderer) -> Iterator[list[Example] | DataError]:
        """The labelled answer of each row, and its prompt with the answer of a row that asks something else."""
        own = renderer.chats(rows)
        others = [_stranger(rows, at) for at in range(len(rows))]
        strange = iter(renderer.chats([one for one in others if one is not None]))
        for row, answer, other in zip(rows, own, others, strict=True):
            held_against = None if other is None else next(strange)
            if isinstance(answer, DataError):
                yield answer
                continue
            found = [replace(answer, kind=Kind.GOOD if row.label else Kind.BAD)]
            if isinstance(held_against, Example) and held_against.has_answer:
                found.append(replace(held_against, kind=Kind.STRANGE))
            yield found

    def counts(self, batch: Forest) -> Whole:
        """Answers, good and bad."""
        good = int((batch.kinds == Kind.GOOD).sum())
        return {"rows": len(batch.kinds), "good": good, "bad": len(batch.kinds) - good}

    def look(self, policy: Policy, batch: Forest) -> Whole:
        """How much likelier other rows' answers have become: the sum over them, and their number."""
        moved = policy.log_probs(batch).sum() - policy.reference_log_probs(batch).sum()
        return {"moved": float(moved), "strange": len(batch.kinds)}

    def loss(self, policy: Policy, batch: Forest, whole: Whole) -> Share:
        """The mean over the step's answers; tells rewards (beta times the log-ratio to the reference), and `kl`."""
        import torch

        from lorry.trainer.policy import row_sums

        reference = row_sums(policy.reference_log_probs(batch), batch)
        gains = row_sums(policy.log_probs(batch), batch) - reference
        moved = max(whole.get("moved", 0.0) / max(whole.get("strange", 0.0), 1.0), 0.0)  # what is no number stays so
        is_good = torch.from_numpy(batch.kinds == Kind.GOOD).to(gains.device)
        sign = torch.where(is_good, 1.0, -1.0)
        weight = torch.where(is_good, self.good_weight, self.bad_weight)
        losses = weight * (1 - torch.sigmoid(self.beta * sign * (gains - moved)))
        rewards = self.beta * gains.detach()
        told = {
            "reward_good": float(rewards[is_good].sum()) / max(whole["good"], 1.0),
            "reward_bad": float(rewards[~is_good].sum()) / max(whole["bad"], 1.0),
            "kl": moved * len(batch.kinds) / whole["rows"],
        }
        return Share(losses.sum() / whole["rows"], told)


def _stranger(rows: Sequence[Row], at: int) -> Row | None:
    """A row's prompt with the answer of the nearest row before it that has another prompt and answer; None for no such row."""
    prompt, answer = _parts(rows[at])
    for back in range(1, len(rows)):
        asked, given = _parts(rows[at - back])
        if asked != prompt and given != answer:
            return replace(rows[at], messages=[*prompt, *given])
    return None


def _parts(row: Row) -> tuple[list[Message], list[Message]]:
    messages = row.messages or []
    return messages[: row.asked], messages[row.asked :]
