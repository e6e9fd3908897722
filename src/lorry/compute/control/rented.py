"""A run on borrowed machines: attempt after attempt, until it has ended and everything is given back.

`carry_out` is the story; what follows from which outcome stands in `recovery`. A controller that died is replaced by calling it
again: it takes the run up where its events and its leases say that it stands.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from lorry import units
from lorry.compute import reap
from lorry.compute.allowance import UNLIMITED, Allowance
from lorry.compute.control import copies
from lorry.compute.control.at_home import answered
from lorry.compute.control.attempt import Attempt, Patience, Result
from lorry.compute.control.handing_on import hand_on
from lorry.compute.control.renting import Found, NothingFound, Renting
from lorry.compute.lease import SHORTLY, Lease
from lorry.compute.machine import fetching
from lorry.compute.outcomes import Outcome, OutcomeError
from lorry.compute.receipt import by_hand
from lorry.compute.recovery import REMEDIES, Action, History, Phase, decide, kind_of_machine
from lorry.errors import LorryError, MayBillError, RunFailedError
from lorry.plan import gpus
from lorry.plan.offers import Offer
from lorry.plan.ranges import Range
from lorry.track.events import Event
from lorry.track.leases import LeaseRow

_FETCHING = 86400.0
"""Seconds that fetching from a host without a deadline may take; silence ends it long before."""
_KEEP = frozenset({Outcome.FINISHED})
"""Outcomes that are only true once everything is home."""


@dataclass
class Rented:
    """One run."""

    renting: Renting
    patience: Patience = field(default_factory=Patience)
    endings: list[asyncio.Task[None]] = field(default_factory=list[asyncio.Task[None]])
    """Machines that are being ended while the run goes on."""
    ended: set[str] = field(default_factory=set[str])
    """Their leases' names."""

    def __post_init__(self) -> None:
        self.home = self.renting.home
        self.renting.let_go = self._end_in_background

    async def carry_out(self) -> Event:
        """The run to its end; returns its last event, written down when every machine is given back, or is known to bill.

        Cancelled, it leaves a machine that trains as it is: whoever calls this next takes the run up again.
        """
        try:
            found = await self._taken_up()
            result = self._known_before(found) or self._known(await self._until_over(found))
            await self._give_back()
            await copies.copy_all_on(self.home)
            await asyncio.to_thread(fetching.clear, self.home.folder)
        except Exception:
            await self._given_up()
            raise
        finally:
            for ending in self.endings:
                ending.cancel()
        return self._say_end(result)

    async def _until_over(self, found: Found | None) -> Result:
        """Attempt after attempt, the first on a machine that is there already; how the last one ended."""
        while True:
            if found is None:
                if self.home.request:
                    return Result(Outcome.STOPPED_BY_PERSON, "stopped before another machine was rented")
                rented = await self._rent()
                if isinstance(rented, NothingFound):
                    return Result(rented.outcome, rented.why)
                found = rented or await self._taken_up()
            if found is None:
                continue
            result = await self._attempt(found)
            if result is not None:
                return result
            found = None

    def _known(self, result: Result) -> Result:
        """Writes down, once, how it ended before its machine is: whoever takes the run up then rents no other one."""
        if self.home.over is not None:
            return result
        last = None if result.event is None else asdict(result.event)
        self.home.tell("over", outcome=result.outcome.name, message=result.why or result.outcome.value, last=last)
        return result

    def _known_before(self, found: Found | None) -> Result | None:
        """How it ended under a controller that died while it gave the machines back; the one that is left is ended."""
        over = self.home.over
        if over is None:
            return None
        last = over.data["last"]
        result = Result(Outcome[over.data["outcome"]], over.data["message"], Event(**last) if last else None)
        if found is not None:
            self._end_in_background(found.lease, result.outcome, result.why)
        return result

    async def _rent(self) -> Found | NothingFound | None:
        compute = self.home.recipe.compute
        kind = kind_of_machine(compute.interruptible, self.home.known.preempted, compute.preemptions)
        if kind is None:
            told = f"taken back {self.home.known.preempted} times, and `compute.interruptible` is `only`"
            return NothingFound(Outcome.PREEMPTED, told)
        while True:
            rented = await self.renting.rent(kind)
            pending = [ending for ending in self.endings if not ending.done()]
            is_final = not isinstance(rented, NothingFound) or not rented.is_short or bool(self.home.request)
            if is_final or not pending:
                return rented
            # A machine counts up to its deadline until it is confirmed to be gone: what it leaves of the budget is known then.
            done: set[asyncio.Task[None]] = set()
            while not done and not self.home.request:
                done, _ = await asyncio.wait(pending, timeout=self.patience.tick, return_when=asyncio.FIRST_COMPLETED)

    async def _taken_up(self) -> Found | None:
        """The machine that an earlier controller left training, or that another run has handed over; others are ended."""
        held: Found | None = None
        rows = self.renting.leases.serving(self.home.id)
        for row in reversed([row for row in rows if row.name not in self.ended]):
            lease = self._lease(row)
            if row.state == "asked":
                with suppress(OutcomeError):
                    await lease.reconcile(seconds=SHORTLY)
            if lease.row.state == "rented" and self.renting.too_dear(lease):
                continue
            if lease.row.state == "rented" and held is None:
                offer = _offer_of(lease.row)
                held = Found(lease, offer, _left(lease.row, self.renting.clock.now()))
                self._say_rented(lease)
            elif lease.row.is_open:
                self._end_in_background(lease, Outcome.STOPPED)
        return held

    def _say_rented(self, lease: Lease) -> None:
        """Says what a controller that died right after renting could not say."""
        if lease.name not in self.home.known.rented:
            row = lease.row
            facts: dict[str, Any] = {"machine": row.machine_id, "provider": row.provider}
            told = f"{row.described}, which another run has done with" if row.runs else row.described
            self.home.tell("rented", lease=row.name, usd_per_hour=row.usd_per_hour, message=told, **facts)

    def _lease(self, row: LeaseRow) -> Lease:
        """The lease of a row, with its provider as it was when it was asked."""
        provider = self.renting.provider({**row.settings, "name": row.provider})
        if row.account and reap.account(provider) != row.account:
            told = f"the machine `{row.machine_id or row.name}` was rented with another key of {row.provider} than the one here"
            hint = f"set {provider.key} as it was then, and `lorry attach {self.home.id}`; by hand: {by_hand(row)}"
            raise MayBillError(told, hint=hint)
        return Lease(row, provider, self.renting.leases, self.renting.clock, watch=self.renting.watch(provider))

    async def _attempt(self, found: Found) -> Result | None:
        """One attempt, with what follows from it done; None where another one is to come."""
        attempt = Attempt(self.home, found.lease, found.offer, found.allowed, self.renting.key, self.patience)
        try:
            result = await attempt.carry_out()
            # What the attempt itself has tried in vain is not tried again.
            action = attempt.gave_up or decide(result.outcome, self._history(result.outcome, attempt.phase))
            if action is Action.FETCH and attempt.has_sent:
                result, action = await self._fetched(attempt, result)
            is_done_well = action is Action.FETCH and result.outcome is Outcome.FINISHED
            # Known before another run has the machine: without it, and with no word of its end, it would rent anew.
            if is_done_well and await hand_on(attempt, self.renting, lambda: self._known(result)):
                return result
        finally:
            with suppress(OutcomeError):
                await attempt.close()
        if action is Action.FETCH:
            self._end_in_background(found.lease, result.outcome, result.why)
            return result
        if result.outcome is Outcome.UNTRUSTED:
            await self._distrust(found.lease)
        # Whoever takes the run up again must not wait for this machine once more.
        found.lease.give_up(result.outcome, result.why)
        self._end_in_background(found.lease, result.outcome, result.why)
        self._say_lost(found.lease, result, action)
        if action not in (Action.NEXT_OFFER, Action.NEXT_ATTEMPT):
            return result
        if action is Action.NEXT_OFFER:
            self.renting.pass_over(found.offer)
        return None

    async def _fetched(self, attempt: Attempt, result: Result) -> tuple[Result, Action]:
        """Brings home what the run left. A run has finished once its adapter is here, and not before."""
        if result.outcome is Outcome.STOPPED_BY_PERSON and self.home.request == "now":
            return result, Action.FETCH
        deadline = attempt.lease.row.deadline
        left = _FETCHING if deadline is None else deadline - self.renting.clock.now()
        try:
            async with asyncio.timeout(max(1.0, left)):
                if await self._unless_stopped(self._fetch(attempt)):
                    return result, Action.FETCH
            return Result(Outcome.STOPPED_BY_PERSON, "stopped at once, before everything was fetched"), Action.FETCH
        except (OutcomeError, TimeoutError) as error:
            outcome = error.outcome if isinstance(error, OutcomeError) else Outcome.HOST_LOST
            told = f"not everything could be fetched: {error or 'it took too long'}"
        except LorryError as error:
            outcome, told = Outcome.FAILED, f"this computer could not take in what the run made: {error.message}"
        if result.outcome in _KEEP:
            return Result(outcome, told), decide(outcome, self._history(outcome, Phase.TRAINING))
        self.home.tell("warning", message=told)
        if outcome is Outcome.UNTRUSTED:
            await self._distrust(attempt.lease)
        return result, Action.FETCH

    async def _distrust(self, lease: Lease) -> None:
        """Puts aside what a machine brought that sent what it must not send: nobody goes on from that."""
        await asyncio.to_thread(fetching.distrust, self.home.folder, self.home.known.brought_by(lease.name))

    async def _unless_stopped(self, work: Coroutine[Any, Any, None]) -> bool:
        """Does something unless a person has the run ended at once meanwhile; whether it was done."""
        task = asyncio.create_task(work)
        try:
            while not task.done() and self.home.request != "now":
                await asyncio.wait({task}, timeout=self.patience.tick)
            if task.done():
                await task
            return task.done()
        finally:
            task.cancel()
            await asyncio.wait({task})

    async def _fetch(self, attempt: Attempt) -> None:
        """Fetches as often as the connection breaks: what has come stays. Raises OutcomeError where the machine is lost.

        Where this computer cannot take it in, for want of room, a person has the recipe's grace to help; then LorryError.
        """
        until, is_told = self.renting.clock.now() + 60 * self.home.recipe.compute.grace_minutes, False
        while True:
            try:
                return await attempt.fetch()
            except OutcomeError as error:
                if decide(error.outcome, History(Phase.TRAINING)) is not Action.KEEP_WAITING:
                    raise
            except LorryError as error:
                if self.renting.clock.now() >= until:
                    raise
                if not is_told:
                    self.home.tell("warning", message=f"{error.message}; tried again until {units.moment(until)}")
                is_told = True
            await asyncio.sleep(self.patience.tick)

    def _history(self, outcome: Outcome, phase: Phase) -> History:
        """What came before without a step in between, as the run's events tell."""
        known = self.home.known
        return History(phase, known.losses[outcome.name], known.fruitless)

    def _say_lost(self, lease: Lease, result: Result, action: Action) -> None:
        told = result.why or result.outcome.value
        self.home.tell("lost", lease=lease.name, outcome=result.outcome.name, message=told, action=action.value)

    def _end_in_background(self, lease: Lease, outcome: Outcome, why: str = "") -> None:
        """Has a machine ended while the run goes on; what comes of it is looked at in the end."""
        self.ended.add(lease.name)
        self.endings.append(asyncio.create_task(self._ended(lease, outcome, why)))

    async def _ended(self, lease: Lease, outcome: Outcome, why: str) -> None:
        """Ends a machine, however long that takes; what may still bill is told at once, and not only when the run is over."""
        is_told = False
        while True:
            try:
                await lease.end(outcome, why, seconds=self.patience.ending)
                break
            except MayBillError as error:
                if not is_told:
                    self.home.tell("may_bill", lease=lease.name, message=error.message, hint=error.hint)
                is_told = True
        row = lease.row
        if row.rented_at is None:
            return
        now = self.renting.clock.now()
        seconds, usd = row.seconds_of(self.home.id, now), row.usd_of(self.home.id, now)
        told = f"{row.described} is given back after {units.duration(seconds)}"
        self.home.tell("returned", lease=row.name, seconds=seconds, usd=usd, message=told)

    async def _give_back(self) -> None:
        """Waits until every machine is confirmed to be gone, but not for ever: which is not, the events have told."""
        if not self.endings:
            return
        done, _ = await asyncio.wait(self.endings, timeout=1.1 * self.patience.ending)
        for ending in done:
            error = None if ending.cancelled() else ending.exception()
            if error is not None:
                raise error

    async def _given_up(self) -> None:
        """Lets the endings that are under way come to their end, where the run itself cannot go on."""
        if self.endings:
            await asyncio.wait(self.endings, timeout=1.1 * self.patience.ending)

    def _say_end(self, result: Result) -> Event:
        """Writes the run's last event."""
        answered(self.home.folder)
        if result.event is not None and result.outcome is not Outcome.PREEMPTED:
            return self.home.mirror(result.event)
        causes = {Outcome.STOPPED_BY_PERSON: "person", Outcome.BUDGET: "budget", Outcome.DEADLINE: "budget"}
        if result.outcome in causes:
            reason = f"{result.why or result.outcome.value}; {self._kept()}"
            return self.home.tell("stopped", reason=reason, cause=causes[result.outcome])
        providers = " and ".join(provider.name for provider in self.renting.providers)
        remedy = REMEDIES.get(result.outcome, "`lorry resume {run}` goes on from the last checkpoint")
        hint = remedy.format(run=self.home.id, provider=providers)
        code = RunFailedError.exit_code
        is_more = result.why and result.why != result.outcome.value
        told = f"{result.outcome.value}: {result.why}" if is_more else result.outcome.value
        return self.home.tell("failed", error=told, hint=hint, exit_code=code)

    def _kept(self) -> str:
        from lorry.trainer.checkpoint import steps

        saved = steps(self.home.folder.checkpoints)
        return f"the checkpoint of step {saved[-1]} is here" if saved else "no checkpoint was made"


def _left(row: LeaseRow, now: float) -> Allowance:
    """What a machine that was rented before may take, counted from when it was."""
    since = row.serving_since or now
    seconds = UNLIMITED if row.deadline is None else max(0.0, row.deadline - since)
    return Allowance(seconds, "the machine's deadline")


def _offer_of(row: LeaseRow) -> Offer:
    """The offer that a lease was of, as far as an attempt needs it."""
    card = gpus.find(row.gpu) if row.gpu else None
    return Offer(row.provider, row.described, card, card.memory if card else 0, Range.exact(row.usd_per_hour))
