"""Recipes of one command that continue each other: who waits for whose adapter, and who must not begin without it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lorry import job
from lorry.cli import output
from lorry.errors import RunFailedError
from lorry.job import Wish
from lorry.plan.plan import Plan
from lorry.recipe.layer import Keys
from lorry.recipe.name import experiment_name
from lorry.recipe.own_files import ADAPTER, dotted
from lorry.track.run import Run


@dataclass
class Chain:
    """Recipes in the order in which they take turns, and what has become of them."""

    wishes: Sequence[Wish]
    makers: Sequence[Mapping[Keys, int]]
    """For each, by the place that names an adapter, the one that makes it; empty where it needs none of theirs."""
    made: dict[int, Run] = field(default_factory=dict[int, Run])
    """The runs that have ended well, by the place of their recipe."""
    names: list[str] = field(init=False)
    """What their runs are called."""

    def __post_init__(self) -> None:
        self.names = [experiment_name(wish.recipe) for wish in self.wishes]

    def waits(self, number: int) -> bool:
        """Whether an adapter that it needs is yet to be made."""
        return any(maker not in self.made for maker in self.makers[number].values())

    def ready(self, number: int, plan: Plan) -> Plan:
        """Its plan, now that its turn has come. Raises RunFailedError where what it needs did not come to be."""
        makers = self.makers[number]
        for keys, maker in makers.items():
            if maker not in self.made:
                told = f"does not begin: it {_needs(keys)} the adapter of `{self.names[maker]}`, which was not finished"
                hint = f"see to that one, then run both again, or name another adapter in `{dotted(keys)}`"
                raise RunFailedError(f"`{self.names[number]}` {told}", hint=hint)
        return job.after(plan, {keys: self.made[maker] for keys, maker in makers.items()}) if makers else plan

    def say_what_is_to_come(self, number: int) -> None:
        """Tells what was planned without the adapters that it will continue or be judged by."""
        lora = self.wishes[number].recipe.lora
        for keys, maker in self.makers[number].items():
            fresh = f": planned as with a fresh one of rank {lora.rank}" if lora and keys == ADAPTER else ""
            output.note(
                f"`{self.names[number]}` {_needs(keys)} the adapter that `{self.names[maker]}` will make{fresh}"
            )


def _needs(keys: Keys) -> str:
    return "continues" if keys == ADAPTER else "is judged by"
