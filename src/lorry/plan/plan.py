"""The plan of a run: whether it works, and what it will take."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from lorry.plan import findings
from lorry.plan.check import check
from lorry.plan.findings import Finding
from lorry.plan.offers import By, Offer
from lorry.plan.owning import Power
from lorry.plan.planner import Estimate
from lorry.plan.stand_in import stand_in
from lorry.plan.subject import Subject, UnavailableError


@dataclass(frozen=True)
class Plan:
    """What is known of a run before it begins: what is wrong with it, and what it will take."""

    subject: Subject
    """What was estimated."""
    findings: list[Finding]
    """The gravest first."""
    estimate: Estimate | None
    no_estimate: str = ""
    """Why there is none."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What may not be as the person wishes, in words."""
        return tuple(one.message for one in self.findings if one.severity == "warning")

    @property
    def exit_code(self) -> int:
        """0 where the run can start, 2 where something in the input is wrong, 3 where this machine or an account refuses."""
        return findings.exit_code(self.findings)


def make_plan(
    subject: Subject, candidates: Sequence[Offer] = (), by: By = "cost", *, power: Power | None = None
) -> Plan:
    """Checks a recipe, and estimates what it takes here and on the offers. Never raises for what a check can find.

    Where the model cannot be had, its card stands in for it.
    """
    found = check(subject)
    try:
        return Plan(subject, found, subject.planner.estimate(candidates, by, power=power))
    except UnavailableError as error:
        missing = error
    if missing.part == "source":
        with suppress(UnavailableError, OSError):  # a cache that cannot be written is another check's matter
            other = stand_in(subject)
            if other is not None:
                return Plan(other, found, other.planner.estimate(candidates, by, power=power))
    return Plan(subject, found, None, str(missing))
