"""All rewards of a recipe at work: each judges every answer, and what they say is weighted and added up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from lorry.errors import RecipeError
from lorry.plugins import make
from lorry.trainer.rewards._base import Completion, Fault, Place, Reward, Scorer, as_score

_TOLD = 160
"""Characters of a fault that are told."""


@dataclass(frozen=True)
class Judged:
    """What answers are worth."""

    totals: NDArray[np.float64]
    """`(n,)`: all rewards weighted and added up; what failed or does not apply counts as 0, or as the least of a reward
    whose scores lie below that."""
    each: dict[str, list[float | None]]
    """By reward, before weighting; None where it does not apply. What failed is 0."""
    faults: list[str]
    """What failed, in words: the first fault of each reward, and of how many answers."""

    def means(self) -> dict[str, float]:
        """The mean of all, and that of each over the answers that it applies to."""
        found = {"reward": float(self.totals.mean()) if self.totals.size else 0.0}
        for name, scores in self.each.items():
            counted = [score for score in scores if score is not None]
            if counted and len(self.each) > 1:
                found[f"reward_{name}"] = sum(counted) / len(counted)
        return found


class Jury:
    """The rewards of one recipe, opened."""

    def __init__(self, rewards: dict[str, tuple[Reward, Scorer]]) -> None:
        self._rewards = rewards
        self.beat: Callable[[], None] = lambda: None
        """Called between answers: judging may take long, and is no standstill."""

    @classmethod
    def open(cls, specs: Sequence[dict[str, Any]], place: Place) -> Jury:
        """Opens all. Raises LorryError for the first that cannot work."""
        opened: dict[str, tuple[Reward, Scorer]] = {}
        for name, reward in rewards_of(specs).items():
            lacks = reward.unavailable(place.base)
            if lacks:
                raise RecipeError(f"the reward `{name}` cannot work here", place="method.rewards", hint=lacks)
            opened[name] = reward, reward.open(place)
        return cls(opened)

    def judge(self, completions: Sequence[Completion]) -> Judged:
        """Every answer by every reward that counts for its row."""
        totals, faults = np.zeros(len(completions)), list[str]()
        each: dict[str, list[float | None]] = {}
        for name, (reward, scorer) in self._rewards.items():
            asked = [index for index, one in enumerate(completions) if counts(name, one.columns)]
            scores: list[float | None] = [None] * len(completions)
            said = self._said(reward, scorer, [completions[at] for at in asked])
            least = min([0.0, *(reward.weight * score for score in said if isinstance(score, float))])
            for index, score in zip(asked, said, strict=True):
                scores[index] = 0.0 if isinstance(score, Fault) else score
                # Where good answers get less than 0, one that cannot be judged must not be the best of all.
                totals[index] += least if isinstance(score, Fault) else reward.weight * (score or 0.0)
            each[name] = scores
            failed = [score.told[:_TOLD] for score in said if isinstance(score, Fault)]
            faults += (
                [f"{name}: {failed[0]} (of {len(asked)} answers {len(failed)} could not be judged)"] if failed else []
            )
        return Judged(totals, each, faults)

    def _said(self, reward: Reward, scorer: Scorer, completions: Sequence[Completion]) -> list[float | Fault | None]:
        """What one reward says, some answers at a time."""
        found: list[float | Fault | None] = []
        for at in range(0, len(completions), reward.at_once):
            self.beat()
            said = scorer.scores(completions[at : at + reward.at_once])
            found += [score if score is None or isinstance(score, Fault) else as_score(score) for score in said]
        return found

    def close(self) -> None:
        """Gives back what all of them hold."""
        for _, scorer in self._rewards.values():
            scorer.close()


def rewards_of(specs: Sequence[dict[str, Any]]) -> dict[str, Reward]:
    """The rewards by what they are called; a second one of a name gets a number.

    Raises InputError for an unknown one, an unknown setting or a wrong value.
    """
    found: dict[str, Reward] = {}
    for spec in specs:
        reward = cast("Reward", make("rewards", spec))
        names = (reward.label, *(f"{reward.label}_{number}" for number in range(2, len(specs) + 2)))
        found[next(name for name in names if name not in found)] = reward
    return found


def counts(name: str, columns: Mapping[str, Any]) -> bool:
    """Whether a reward counts for the answers to a row: its column `rewards` may name those that do."""
    named = columns.get("rewards")
    return named is None or name in ([named] if isinstance(named, str) else named)
