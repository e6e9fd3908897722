"""Offers to rent a GPU, or to use one's own, and which of them suits a run best; pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from lorry import units
from lorry.plan.cost import HOUR, Cost, NeverDoneError, Terms, Work, against, cost
from lorry.plan.gpus import GpuSpec
from lorry.plan.owning import HOST_WATTS, electricity
from lorry.plan.ranges import Range

By = Literal["cost", "time", "both"]
LEAST_USD = 0.01
"""No run counts as cheaper than a cent: where cost and time are weighed, a free one would win however long it takes."""


@dataclass(frozen=True)
class Offer:
    """A machine that a provider would rent now, or this computer."""

    provider: str
    machine: str
    """What the provider calls it: `p5.48xlarge`, `a10g-small`; else the GPU's name."""
    gpu: GpuSpec | None
    """None for a computer without a GPU, or with one that the catalog does not know."""
    memory: int
    """Bytes of one GPU; of a computer without one, its own."""
    usd_per_hour: Range
    """Of the whole machine."""
    terms: Terms = field(default_factory=Terms)
    tier: str = ""
    """`secure`, `community`, `spot`; empty where the provider has one kind only."""
    gpus: int = 1
    by_hand: str = ""
    """What lorry cannot do there; empty where it is nothing."""
    as_of: str = ""
    """Date of the price: `2026-10-10`."""
    source: str = ""
    uncertain: bool = False
    """Whether the price is second-hand, old, or one of a market that moves by the hour."""
    key: str = ""
    """What the provider rents it by: a GPU type's id, an ask's number; empty for offers of the price list."""
    place: str = ""
    """Data centre or region; empty where the provider chooses."""
    on_demand: float | None = None
    """USD per hour of the same machine where nobody may take it back; None where it is that one, or not known."""

    @property
    def name(self) -> str:
        """`runpod community, RTX 4090`."""
        count = f"{self.gpus} x " if self.gpus > 1 else ""
        return f"{' '.join(filter(None, (self.provider, self.tier)))}, {count}{self.gpu.name if self.gpu else self.machine}"

    @property
    def interruptible(self) -> bool:
        """Whether it may be taken back while the run trains."""
        return self.terms.interruptions is not None


def this_computer(
    gpu: GpuSpec | None, memory: int, usd_per_kwh: float, watts: float | None = None, known_as: str = "processor"
) -> Offer:
    """The computer at hand, at its electricity price; `watts` of all of it, else its GPU's and a guess for the rest."""
    taken = watts if watts is not None else HOST_WATTS + (gpu.watts if gpu else 0.0)
    price = Range.exact(electricity(taken, usd_per_kwh))
    name = gpu.name if gpu else known_as
    return Offer("this computer", name, gpu, memory, price, source=f"{taken:.0f} W at {usd_per_kwh:g} USD per kWh")


@dataclass(frozen=True)
class Job:
    """What a run needs, and what it may take."""

    memory: Callable[[Offer], int]
    """Bytes on one GPU, or in a computer without one."""
    work: Callable[[Offer], Work | None]
    """None where nothing is known of the machine's speed."""
    bf16: bool = False
    """Whether it computes in bf16."""
    capability: float = 0.0
    """The least compute capability that its code asks for."""
    compiled: frozenset[float] | None = None
    """Capabilities that the installed torch was compiled for; None where it is the machine's own matter."""
    resumable: bool = True
    """Whether it goes on from a checkpoint in another session."""
    usd: float | None = None
    hours: float | None = None


@dataclass(frozen=True)
class Ranked:
    """An offer, and what the run would cost and take there."""

    offer: Offer
    cost: Cost | None
    """None where the run could not end there, or nothing is known of the speed."""
    reasons: tuple[str, ...] = ()
    """Why it does not fit; empty where it fits."""
    warnings: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether the run would start and, most likely, end there within its limits."""
        return not self.reasons


def rank(job: Job, offers: Iterable[Offer], by: By = "cost") -> list[Ranked]:
    """The offers, the best first; those that do not fit stand last, each with its reasons.

    `cost` and `time` go by the likely figure, and by the other one where it is the same. `both` puts the offers first that no
    other beats in cost and time alike, and orders by the product of the two, so that twice as fast is worth twice the money.
    """
    judged = [_judged(job, offer) for offer in offers]
    fitting = [one for one in judged if one.fits]
    best = {id(one) for one in fitting if not any(_beats(other, one) for other in fitting)}
    keys: dict[By, Callable[[Ranked], tuple[float, ...]]] = {
        "cost": lambda one: _figures(one),
        "time": lambda one: _figures(one)[::-1],
        "both": lambda one: (id(one) not in best, _figures(one)[0] * _figures(one)[1]),
    }
    others = sorted((one for one in judged if not one.fits), key=lambda one: (len(one.reasons), one.offer.name))
    return sorted(fitting, key=keys[by]) + others


def _figures(ranked: Ranked) -> tuple[float, float]:
    """Likely dollars and seconds."""
    if ranked.cost is None:
        return float("inf"), float("inf")
    return max(LEAST_USD, ranked.cost.total.likely), ranked.cost.elapsed.likely


def _beats(one: Ranked, other: Ranked) -> bool:
    """Whether one is no worse in both, and better in one."""
    mine, theirs = _figures(one), _figures(other)
    return mine != theirs and mine[0] <= theirs[0] and mine[1] <= theirs[1]


def _judged(job: Job, offer: Offer) -> Ranked:
    unfit = list(_hardware(job, offer))
    work = job.work(offer)
    if work is None:
        return Ranked(offer, None, tuple(unfit) or ("nothing is known of its speed",))
    try:
        found = cost(work, offer.usd_per_hour, offer.terms)
    except NeverDoneError as error:
        return Ranked(offer, None, (*unfit, str(error)))
    return Ranked(offer, found, (*unfit, *_limits(job, offer, found)), tuple(_warnings(job, found)))


def _hardware(job: Job, offer: Offer) -> Iterator[str]:
    short = job.memory(offer) - offer.memory
    if short > 0:
        yield f"needs {units.size(job.memory(offer))} of memory, {units.size(short)} more than it has"
    if offer.gpu is None:
        return
    if job.bf16 and not offer.gpu.bf16:
        yield "has no bf16, in which the run computes"
    if offer.gpu.capability < job.capability:
        yield f"has compute capability {offer.gpu.capability}, and the run needs {job.capability}"
    if job.compiled is not None and not offer.gpu.runs_on(job.compiled):
        yield f"the installed torch has no code for its compute capability {offer.gpu.capability}"


def _limits(job: Job, offer: Offer, found: Cost) -> Iterator[str]:
    if found.sessions > 1 and not job.resumable:
        lasts = units.duration((offer.terms.session_hours or 0) * HOUR)
        yield f"a session lasts {lasts}, and the run, which cannot go on in another, takes {_time(found)}"
    if job.usd is not None and against(found.total, job.usd) == "passes":
        yield f"would cost {units.money(found.total.likely)}, over the budget of {units.money(job.usd)}"
    if job.hours is not None and against(found.elapsed, job.hours * HOUR) == "passes":
        yield f"would take {_time(found)}, over the budget of {job.hours:g} h"


def _warnings(job: Job, found: Cost) -> Iterator[str]:
    if job.usd is not None and against(found.total, job.usd) == "may pass":
        yield f"may cost up to {units.money(found.total.high)}, over the budget of {units.money(job.usd)}"
    if job.hours is not None and against(found.elapsed, job.hours * HOUR) == "may pass":
        yield f"may take up to {units.duration(found.elapsed.high)}, over the budget of {job.hours:g} h"
    if found.sessions > 1:
        yield f"takes {found.sessions} sessions"


def _time(found: Cost) -> str:
    return units.duration(found.elapsed.likely)
