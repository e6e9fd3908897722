"""Finding a machine for a run: offers in order, each asked for under a lease, until one is there or none is left."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from lorry import units
from lorry.compute import dead_man, hosts, market, reap
from lorry.compute.allowance import Allowance, allowance
from lorry.compute.control.at_home import RunAtHome
from lorry.compute.control.shared import Shared
from lorry.compute.control.succession import Candidate
from lorry.compute.control.watch import Watch
from lorry.compute.lease import SHORTLY, Clock, Lease, begun, drafted, name_for
from lorry.compute.needs import chosen
from lorry.compute.outcomes import Outcome, OutcomeError
from lorry.compute.providers._base import Order, Provider
from lorry.compute.recovery import Action, History, Interruptible, Phase, decide
from lorry.compute.ssh import KeyPair
from lorry.compute.transport.turns import Turns
from lorry.plan.cost import HOURS_A_MONTH
from lorry.plan.offers import Offer
from lorry.plugins import make
from lorry.recipe.schema import ComputeSettings
from lorry.track.caps import Cap, caps, renting
from lorry.track.folder import home
from lorry.track.leases import LeaseRow, Leases
from lorry.track.room import Asking, room

LEAST = 120.0
"""Seconds for which a machine must be affordable to be worth asking for in the middle of a run."""
_IDLE = 1800.0
"""Seconds that a machine on which nothing was begun waits for its controller."""
_SILENT = 1800.0
"""Seconds without a sign of life of the agent after which the machine ends itself."""
_ASKING = Turns(8)
"""Runs that go through offers at once: providers count requests, and the first one may take what the others would."""
_BARRING = frozenset({Outcome.BALANCE_EMPTY, Outcome.KEY_REFUSED, Outcome.REQUEST_WRONG})
"""What a provider answers to one offer and would to each."""
_DEARER = 1.25
"""How many times its offer a machine may cost before it counts as another than was offered."""
_PAUSES = (2.0, 60.0)
"""First and longest pause while there is no machine, in seconds."""


@dataclass(frozen=True)
class Found:
    """A machine that was asked for and is there."""

    lease: Lease
    offer: Offer
    allowed: Allowance


@dataclass(frozen=True)
class NothingFound:
    """Why there is no machine."""

    outcome: Outcome
    why: str
    retry_after: float = 0.0
    """Seconds that the provider wants to be left alone."""
    is_short: bool = False
    """Whether budget or caps left too little for an offer: there is more once a machine is confirmed to be gone."""
    is_of_all: bool = False
    """Whether its provider would answer so to each offer now."""


@dataclass
class Renting:
    """Rents machines for one run, one at a time."""

    home: RunAtHome
    providers: Sequence[Provider]
    leases: Leases
    key: KeyPair
    clock: Clock = field(default_factory=Clock)
    shared: Shared | None = None
    """What it has in common with other runs of this process; None where it is alone."""
    passed_over: set[tuple[str, str, str]] = field(default_factory=set[tuple[str, str, str]])
    """Offers whose machine did not become ready: provider, key, place."""
    let_go: Callable[[Lease, Outcome], object] = lambda _lease, _outcome: None
    """What ends a machine of which nobody said whether it was made, while another one is looked for."""
    _volume_id: str = ""
    _refusals: int = 0

    @property
    def candidate(self) -> Candidate:
        """The run as one that waits for a machine."""
        home = self.home
        return Candidate(home.id, home.recipe, home.needs, self.providers, home.facts.get("agreed_usd"))

    async def rent(self, kind: Interruptible) -> Found | NothingFound | None:
        """A machine for the next attempt; waits for one as long as the recipe says.

        None where another run has handed its own over: it stands in the store.
        """
        until = self.clock.now() + 3600 * self.home.recipe.compute.wait_hours
        is_told = False
        for pause in _growing():
            if self.home.request:
                return NothingFound(Outcome.STOPPED_BY_PERSON, "stopped while waiting for a machine")
            async with _ASKING.taken():
                found = await self._once(kind)
            if isinstance(found, Found):
                return found
            if found.outcome not in (Outcome.NO_CAPACITY, Outcome.BUSY, Outcome.API_DOWN):
                return found
            if found.outcome is Outcome.NO_CAPACITY and self.clock.now() >= until:
                return found
            if found.outcome is Outcome.NO_CAPACITY and not is_told:
                hours = self.home.recipe.compute.wait_hours
                self.home.tell("waiting", message=f"{found.why}; waiting for a machine, for up to {hours:g} hours")
                is_told = True
            if await self._paused(max(pause, found.retry_after)):
                return None
        raise AssertionError("pauses never run out")

    async def _paused(self, seconds: float) -> bool:
        """Waits before the next look; whether a machine was handed over meanwhile."""
        if self.shared is None:
            await self._pause(seconds)
            return False
        return await self.shared.succession.wait(self.candidate, self._pause(seconds))

    async def _pause(self, seconds: float) -> None:
        """Waits, but for no longer than a person lets it: a provider may ask for an hour."""
        until = self.clock.now() + seconds
        while (left := until - self.clock.now()) > 0 and not self.home.request:
            await self.clock.sleep(min(left, 1.0))

    async def _once(self, kind: Interruptible) -> Found | NothingFound:
        """Goes through the offers once."""
        try:
            volume, compute = await self._volume(), self.home.recipe.compute
            wanted = replace(market.wanted(compute, disk_gb=self.home.needs.disk_gb, volume=volume), interruptible=kind)
            found = await market.ask(self.providers, wanted)
        except OutcomeError as error:
            return self._judged(error)
        renters = {id(one.offer): one.provider for one in found.listed}
        refused: list[tuple[Offer, NothingFound]] = []
        barred: set[int] = set()
        for offer in chosen(self.home.needs, [one.offer for one in found.listed]):
            provider = renters[id(offer)]  # not by its name: two may have the same, each with settings of its own
            if id(provider) in barred or self._mark(offer) in self.passed_over:
                continue
            result = await self._asked(market.Listed(provider, offer), kind, volume)
            if isinstance(result, Found) or result.outcome not in (Outcome.NO_CAPACITY, Outcome.BUDGET, *_BARRING):
                return result
            refused.append((offer, result))
            if result.outcome in _BARRING or result.is_of_all:
                barred.add(id(provider))  # another provider may have one all the same
        return self._nothing(found, refused)

    def _nothing(self, found: market.Found, refused: Sequence[tuple[Offer, NothingFound]]) -> NothingFound:
        """What it comes to that no offer became a machine. Money counts last: what one cap forbids, another may allow."""
        barred = [result for _, result in refused if result.outcome in _BARRING or result.is_of_all]
        short = [one for one in refused if one[1].outcome is Outcome.BUDGET]
        is_all_short = 0 < len(short) == len(refused)
        is_unanswered = self._could_pay(short[0][0], found.failures) if is_all_short else not found.listed
        if barred:
            result = barred[0]
        elif found.failures and is_unanswered:
            result = self._judged(next(iter(found.failures.values())))
        elif is_all_short:
            result = short[0][1]
        else:
            told = ", ".join(self.home.recipe.compute.gpu) or "a GPU on which the run fits"
            names = " and ".join(provider.name for provider in self.providers)
            result = NothingFound(Outcome.NO_CAPACITY, f"{names} has no machine with {told} now")
        return replace(result, is_short=bool(short))

    def _could_pay(self, offer: Offer, names: Iterable[str]) -> bool:
        """Whether the same offer could be paid with one of these providers."""
        return any(self.allowed(replace(offer, provider=name)).seconds >= LEAST for name in names)

    async def _volume(self) -> str:
        """The id of the recipe's network volume; empty where it names none."""
        called = self.home.recipe.compute.volume
        if called and not self._volume_id:
            self._volume_id = (await market.volume_of(self.providers, called))[1].id
        return self._volume_id

    async def _asked(self, listed: market.Listed, kind: Interruptible, volume: str) -> Found | NothingFound:
        """Asks for one offer; NO_CAPACITY or BUDGET where the next one is worth a try."""
        provider, offer = listed.provider, listed.offer
        # What is left is looked at and taken in one go: else two runs could both be given the last dollar.
        with renting(home()):
            bid = market.bid(offer, self.home.recipe.compute.bid) if kind != "never" else None
            allowed = self.allowed(offer, bid=bid)
            if allowed.seconds < LEAST:
                return NothingFound(Outcome.BUDGET, f"{allowed.why} does not leave enough for another machine")
            order = self._order(provider, offer, allowed, bid, volume)
            lease = begun(self._row(order, provider, allowed), provider, self.leases, self.clock)
            lease.watch = self.watch(provider)
        try:
            await lease.ask(order)
        except OutcomeError as error:
            refused = await self._after(error, lease)
            if refused is not None:
                return refused
        dearer = self.too_dear(lease)
        if dearer:
            self.pass_over(offer)
            return NothingFound(Outcome.NO_CAPACITY, dearer)
        self.home.tell(
            "rented",
            lease=lease.name,
            machine=lease.row.machine_id,
            provider=provider.name,
            usd_per_hour=lease.row.usd_per_hour,
            message=f"{offer.name} at {units.money(lease.row.usd_per_hour)} an hour",
            place=offer.place,
        )
        return Found(lease, offer, allowed)

    def too_dear(self, lease: Lease) -> str:
        """Why a machine is ended at once: it costs much more than was offered. Empty where it does not."""
        if lease.times_dearer <= _DEARER:
            return ""
        price = lease.row.usd_per_hour
        told = f"offered at {units.money(price / lease.times_dearer)} an hour, it costs {units.money(price)}"
        self.home.tell(
            "lost", lease=lease.name, outcome=Outcome.NOT_AS_SOLD.name, message=told, action=Action.NEXT_OFFER.value
        )
        self.let_go(lease, Outcome.NOT_AS_SOLD)
        return told

    async def _after(self, error: OutcomeError, lease: Lease) -> NothingFound | None:
        """What becomes of a refusal; None where there is a machine after all."""
        action = decide(error.outcome, History(Phase.ASKING))
        if action is Action.RECONCILE:
            self.home.tell("note", message=f"{lease.provider.name} did not say whether it made a machine; it is asked")
            try:
                if await lease.reconcile(seconds=SHORTLY) is not None:
                    return None
                if lease.row.is_open:
                    self.let_go(lease, error.outcome)
            except OutcomeError as again:
                self.let_go(lease, error.outcome)
                return self._judged(again)
            return NothingFound(Outcome.NO_CAPACITY, "no machine was made, as far as its provider tells")
        self.home.tell("lost", lease=lease.name, outcome=error.outcome.name, message=error.message, action=action.value)
        return self._judged(error)

    def _judged(self, error: OutcomeError) -> NothingFound:
        """A refusal as what it means for the search."""
        is_of_all = error.outcome in (Outcome.BUSY, Outcome.API_DOWN)
        self._refusals = self._refusals + 1 if is_of_all else 0
        action = decide(error.outcome, History(Phase.ASKING, self._refusals))
        is_down = action is Action.END_RUN and error.outcome is Outcome.API_DOWN
        if is_down or action is Action.NEXT_OFFER:
            wait = error.retry_after or 0.0
            return NothingFound(Outcome.NO_CAPACITY, error.message, wait, is_of_all=is_of_all)
        return NothingFound(error.outcome, error.message, error.retry_after or 0.0)

    def allowed(
        self,
        offer: Offer,
        candidate: Candidate | None = None,
        *,
        lease: LeaseRow | None = None,
        bid: float | None = None,
    ) -> Allowance:
        """How long a machine of this offer may be kept, from now on; `lease` is its row where it is there already.

        By this run, or by another one of this installation. What a person agreed to before the first rental holds for all.
        """
        run, now = candidate or self.candidate, self.clock.now()
        budget = run.recipe.budget
        usd = min((one for one in (budget.usd, run.agreed_usd) if one is not None), default=None)
        name = lease.name if lease else ""
        asking = Asking(run.run_id, offer.provider, name, budget=Cap(usd=usd, hours=budget.hours))
        left = room(caps(home()), self.leases.since(), self.leases.volumes(), now, asking)
        if lease is not None:
            price = lease.most_at(now)
        elif bid is not None:
            price = bid + _storage(offer, run.needs.disk_gb)
        else:
            price = price_of(offer, run.recipe.compute, run.needs.disk_gb)
        bills = next((one.capabilities.bills for one in self.providers if one.name == offer.provider), True)
        return allowance(left, price, highest=run.needs.highest(offer), bills=bills)

    def _order(self, provider: Provider, offer: Offer, allowed: Allowance, bid: float | None, volume: str) -> Order:
        compute = self.home.recipe.compute
        switch = dead_man.Switch(
            deadline=self.clock.now() + allowed.seconds,
            idle=_IDLE,
            silence=_SILENT,
            grace=60 * compute.grace_minutes,
            made=self.clock.now(),
        )
        return Order(
            name=name_for(self.home.id),
            offer=offer,
            image=compute.image or provider.default_image,
            template=compute.template or "",
            disk_gb=self.home.needs.disk_gb,
            volume=volume,
            public_key=self.key.public,
            start=dead_man.start_command(switch, provider.ends_itself) if provider.capabilities.bills else "",
            bid=bid,
        )

    def _row(self, order: Order, provider: Provider, allowed: Allowance) -> LeaseRow:
        attempt = len(self.leases.of_run(self.home.id)) + 1
        return replace(
            drafted(self.home.id, attempt, order, provider),
            account=reap.account(provider),
            host_key=hosts.known_key(self.leases, order.offer.key) if provider.name == hosts.NAME else "",
            deadline=None if math.isinf(allowed.seconds) else self.clock.now() + allowed.seconds,
            storage_usd_per_hour=_storage(order.offer, order.disk_gb),
        )

    def provider(self, spec: Mapping[str, Any]) -> Provider:
        """A provider by its settings."""
        return self.shared.provider(spec) if self.shared else cast("Provider", make("providers", dict(spec)))

    def watch(self, provider: Provider) -> Watch | None:
        """The look at an account's machines that all of its runs share; None where there is no other."""
        return self.shared.watch(provider) if self.shared else None

    def pass_over(self, offer: Offer) -> None:
        """Remembers an offer whose machine was of no use, for this run."""
        self.passed_over.add(self._mark(offer))

    def _mark(self, offer: Offer) -> tuple[str, str, str]:
        return offer.provider, offer.key, f"{offer.tier} {offer.place}"


def price_of(offer: Offer, compute: ComputeSettings, disk_gb: int) -> float:
    """US dollars an hour that a machine of this offer can cost at most: what is bid for it, and its own disk."""
    bid = market.bid(offer, compute.bid) if compute.interruptible != "never" else None
    return max(bid or 0.0, offer.usd_per_hour.likely) + _storage(offer, disk_gb)


def _storage(offer: Offer, disk_gb: int) -> float:
    """US dollars an hour for a machine's own disk, where its provider bills that besides."""
    return (offer.terms.storage or 0.0) * disk_gb / HOURS_A_MONTH


def _growing() -> Iterator[float]:
    pause, longest = _PAUSES
    while True:
        yield pause
        pause = min(1.5 * pause, longest)
