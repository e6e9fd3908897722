"""Recipes of one command that continue each other: who waits for whose adapter, and who must not begin without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from lorry import job
from lorry.cli import output
from lorry.errors import RunFailedError
from lorry.job import Wish
from lorry.plan.plan import Plan
from lorry.recipe.name import experiment_name
from lorry.track.run import Run


@dataclass
class Chain:
    """Recipes in the order in which they take turns, and what has become of them."""

    wishes: Sequence[Wish]
    makers: Sequence[int | None]
    """For each the place of the one whose adapter it continues; None where it continues none of theirs."""
    made: dict[int, Run] = field(default_factory=dict[int, Run])
    """The runs that have ended well, by the place of their recipe."""
    names: list[str] = field(init=False)
    """What their runs are called."""

    def __post_init__(self) -> None:
        self.names = [experiment_name(wish.recipe) for wish in self.wishes]

    def waits(self, number: int) -> bool:
        """Whether its adapter is yet to be made."""
        return self.makers[number] is not None and self.makers[number] not in self.made

    def ready(self, number: int, plan: Plan) -> Plan:
        """Its plan, now that its turn has come. Raises RunFailedError where what it continues did not come to be."""
        maker = self.makers[number]
        if maker is None:
            return plan
        if maker not in self.made:
            told = f"does not begin: it continues the adapter of `{self.names[maker]}`, which was not finished"
            hint = "see to that one, then run both again, or name another adapter in `model.adapter`"
            raise RunFailedError(f"`{self.names[number]}` {told}", hint=hint)
        return job.after(plan, self.made[maker])

    def say_what_is_to_come(self, number: int) -> None:
        """Tells what was planned without the adapter that it will continue."""
        maker = self.makers[number]
        if maker is None:
            return
        lora = self.wishes[number].recipe.lora
        fresh = f": planned as with a fresh one of rank {lora.rank}" if lora else ""
        output.note(f"`{self.names[number]}` continues the adapter that `{self.names[maker]}` will make{fresh}")
