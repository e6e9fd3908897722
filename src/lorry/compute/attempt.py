"""One attempt: from a machine that was asked for to how training on it ended. Every step can be done twice.

So a controller that takes a run up again goes through the same steps, and finds most of them done.
"""

from __future__ import annotations

import asyncio
import shlex
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from typing import Any, cast

from lorry.compute import copies, fetching, sending, ssh, starting, transfer, watch, wheel
from lorry.compute.allowance import Allowance, on_machine
from lorry.compute.at_home import RunAtHome
from lorry.compute.cloning import clone
from lorry.compute.follow import AgentGone, Beat, Checkpoints, Ended, Told, follow
from lorry.compute.lease import Lease
from lorry.compute.outcomes import Outcome, OutcomeError
from lorry.compute.providers._base import Address
from lorry.compute.recovery import Action, History, Phase, decide
from lorry.compute.setting_up import set_up
from lorry.compute.verdicts import stands_still, why_failed
from lorry.plan.offers import Offer
from lorry.track.events import ENDINGS, Event
from lorry.trainer.checkpoint import steps

_LAST_COPY = 10.0
"""Seconds in which a machine that is taken back may still hand over a checkpoint."""


@dataclass(frozen=True)
class Patience:
    """How long things are waited for, in seconds."""

    ready: float = 600.0
    """From a machine's creation to its first SSH session."""
    silence: float = 1800.0
    """While a machine is said to run and does not answer; it trains on meanwhile."""
    pause: float = 5.0
    """The longest between two tries to reach it."""
    ending: float = 600.0
    """For a provider to confirm that a machine is gone, before a person is told that it may still bill."""
    tick: float = 0.5
    """Between two looks at what a person asks for, and at the clock."""


@dataclass(frozen=True)
class Result:
    """How an attempt ended."""

    outcome: Outcome
    why: str = ""
    event: Event | None = None
    """The run's own last word, as its agent told it; not written down at home yet."""


@dataclass
class Attempt:
    """A run on a machine."""

    home: RunAtHome
    lease: Lease
    offer: Offer
    allowed: Allowance
    key: ssh.KeyPair
    patience: Patience = field(default_factory=Patience)

    def __post_init__(self) -> None:
        self.phase = Phase.PREPARING if self.lease.row.ready_at is None else Phase.TRAINING
        self._link: ssh.Link | None = None
        self._place = ""
        self._last: Event | None = None
        self._faults: list[str] = []
        self._there: set[int] = set()
        self._new = asyncio.Event()
        self._asked_to_stop = False
        self._repeats: dict[Outcome, tuple[int, int]] = {}
        self._begin_again = False
        self._heard = float("inf")

    async def carry_out(self) -> Result:
        """Goes through to the end of training there, or to whatever else ends the attempt. The machine is not ended here."""
        work = asyncio.create_task(self._work())
        copies, looks = asyncio.create_task(self._copy()), asyncio.create_task(self._look_after())
        try:
            while not work.done():
                await asyncio.wait(
                    {work, *(one for one in (copies, looks) if not one.done())}, timeout=self.patience.tick
                )
                self.home.tend()
                await self.home.keep_beat()
                cut = self._cut() or _failure(copies) or _failure(looks)
                if cut:
                    return cut
                await self._pass_stop_on()
            return _outcome_of(work)
        finally:
            for task in (work, copies, looks):
                task.cancel()
            await asyncio.gather(work, copies, looks, return_exceptions=True)

    async def fetch(self) -> None:
        """Brings everything home that the run left there. Raises OutcomeError where that cannot be done."""
        link = self._link if self._link and self._link.is_open else await self._connected()
        run = await self._run_folder(link)
        there = sorted(await fetching.complete(link, run), reverse=True)
        for step in there[:1] if copies.stay_there(self.home) else there:
            await self._copy_one(link, step)  # copied on when the machine is given back: until then each second costs
        total = await fetching.fetch_result(link, run, self.home.folder, lambda _: None)
        fetching.mark(self.home.folder, self.home.known.delivered)
        self.home.tell("fetched", bytes=total)

    async def close(self) -> None:
        """Gives the connection back; the machine goes on."""
        if self._link is not None:
            await self._link.close()

    async def leave(self) -> None:
        """Takes the run, which has ended, off the machine: it waits for the next one, for as long as it may be idle.

        Raises OutcomeError, and TimeoutError, where that cannot be done.
        """
        await starting.leave(self._link if self._link and self._link.is_open else await self._connected())

    async def clear(self) -> None:
        """Deletes what the run left on the machine's own disk, so that the next one has its room; it is home by now."""
        if self._link is None or self.home.recipe.compute.volume:
            return
        with suppress(OutcomeError, TimeoutError):
            await self._link.run(f"rm -rf {shlex.quote(await self._run_folder(self._link))}", seconds=60)

    # --- until it trains

    async def _work(self) -> Result:
        """Connects, prepares and follows, as often as the connection breaks."""
        while True:
            try:
                link = await self._connected()
                return await self._followed(link, await self._prepared(link))
            except OutcomeError as error:
                action = decide(error.outcome, self._history(error.outcome))
                if action is Action.KEEP_WAITING:
                    await asyncio.sleep(self.patience.tick)
                elif action is Action.START_AGENT:
                    self._begin_again = True
                else:
                    raise

    def _history(self, outcome: Outcome) -> History:
        """How often this outcome came without a step in between."""
        count, at = self._repeats.get(outcome, (0, self.home.step))
        count = count if at == self.home.step else 0
        self._repeats[outcome] = (count + 1, self.home.step)
        return History(self.phase, repeats=count)

    async def _connected(self) -> ssh.Link:
        """A connection to the machine, at the address that it has now. Raises OutcomeError where there will be none."""
        if self._link is not None:
            if self._link.is_open:
                return self._link
            await self._link.close()
        is_new = self.phase is Phase.PREPARING
        seconds = self.patience.ready if is_new else self.patience.silence
        known = self.lease.row.host_key or None
        try:
            link = await ssh.until_ready(self._address, self.key, known, seconds=seconds, pause=self._pause)
        except OutcomeError as error:
            if error.outcome is not Outcome.NEVER_READY:
                raise
            outcome = Outcome.NEVER_READY if is_new else Outcome.HOST_LOST
            raise OutcomeError(outcome, await self._last_lines() or error.message) from error
        if known is None:
            self.lease.write(host_key=link.host_key)
        self._link = link
        return link

    async def _pause(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, self.patience.pause))

    async def _address(self) -> Address | None:
        """Where the machine answers now. Raises OutcomeError where it never will."""
        try:
            machine = await self.lease.look()
        except OutcomeError as error:
            if decide(error.outcome, History(self.phase)) is Action.KEEP_WAITING:
                return None
            raise
        still = stands_still(machine, self.phase)
        if still is not None:
            raise still
        return machine.address if machine else None

    async def _look_after(self) -> None:
        """Notices a silent machine that its provider says is gone: a connection may not tell that for a minute."""
        was_still = False
        while True:
            await asyncio.sleep(watch.EVERY)
            silent = asyncio.get_running_loop().time() - self._heard
            if self.phase is Phase.PREPARING or silent < watch.EVERY:
                was_still = False
                continue
            still: OutcomeError | None = None
            with suppress(OutcomeError):
                still = stands_still(await self.lease.seen(), self.phase)
            # The last word of a machine that is taken back may still be on its way.
            if still is not None and was_still:
                raise still
            was_still = still is not None

    async def _last_lines(self) -> str:
        """What the machine printed last, where its provider tells."""
        if not self.lease.provider.capabilities.logs:
            return ""
        lines: list[str] = []
        with suppress(OutcomeError, TimeoutError):
            async with asyncio.timeout(5):
                async for _mark, line in self.lease.provider.logs(self.lease.row.machine_id):
                    lines.append(line)
        return "; ".join(lines[-3:])[:500]

    async def _prepared(self, link: ssh.Link) -> int:
        """Sets the machine up, sends the run and starts its agent, as far as that is not done; the number of the last event."""
        began = self.lease.clock.now()
        run = await self._run_folder(link)
        after = self.home.sent_after(self.lease.name)
        if (
            after is not None
            and self.phase is Phase.TRAINING
            and not self._begin_again
            and await starting.goes_on(link, run)
        ):
            return after
        ready = await set_up(link, self._place, own=await asyncio.to_thread(wheel.own))
        if after is None or not await self._is_there(link, run):
            after = await self._send(link)
        await starting.begin(link, ready, self._place, run, again=self._begin_again)
        self._begin_again = False
        if self.phase is Phase.PREPARING:
            self.phase = Phase.TRAINING
            now = self.lease.clock.now()
            self.lease.write(ready_at=now)
            spent = {name: round(one, 2) for name, one in ready.seconds.items()}
            since = now - (self.lease.row.serving_since or began)
            self.home.tell("ready", lease=self.lease.name, seconds=since, steps_of_setup=spent)
        return after

    async def _run_folder(self, link: ssh.Link) -> str:
        """The run's folder on the machine."""
        if not self._place:
            self._place = await fetching.place(link)
        return f"{self._place}/runs/{self.home.id}"

    async def _is_there(self, link: ssh.Link, run: str) -> bool:
        """Whether the run still lies on the machine: a container's disk is lost when it is restarted."""
        done = await link.run(f"test -f {shlex.quote(run)}/aboard.json")
        return done.code == 0

    async def _send(self, link: ssh.Link) -> int:
        if self.home.recipe.compute.code:
            await clone(link, self._place, self.home.recipe.compute.code)
        now = self.lease.clock.now()
        gone = now - (self.lease.row.serving_since or now)
        price = self.lease.row.usd_per_hour
        budget = on_machine(self.home.recipe.budget, self.allowed, price, self.home.seconds_before, gone)
        sending.write_request(self.home.folder, self.home.facts, self.offer, self.home.needs, budget)
        await self.home.keep_beat(now=True)
        load = await asyncio.to_thread(sending.load_of, self.home.folder, self.home.facts)
        after = self.home.last_number
        await transfer.send(link, load.files, self._place)
        self.home.tell("sent", lease=self.lease.name, after=after, bytes=load.bytes)
        return after

    # --- while it trains

    async def _followed(self, link: ssh.Link, after: int) -> Result:
        """Writes down what the machine tells, until its agent has ended."""
        run = await self._run_folder(link)
        known = self.home.sent_after(self.lease.name)
        async with aclosing(follow(link, run, after if known is None else known)) as events:
            async for told in events:
                if isinstance(told, Ended):
                    return await self._ended(link)
                self._take(told)
        raise OutcomeError(Outcome.SSH_DOWN)

    def _take(self, told: Told) -> None:
        """What the machine tells while it trains."""
        self._heard = asyncio.get_running_loop().time()
        if isinstance(told, Event):
            self._note(told)
        elif isinstance(told, Beat):
            self.home.beat(told)
        elif isinstance(told, Checkpoints):
            self._there = {int(name.removeprefix("step-")) for name in told.names}
            self._new.set()
        elif isinstance(told, AgentGone):
            raise OutcomeError(Outcome.AGENT_GONE)

    def _note(self, event: Event) -> None:
        """An event of the machine. The run's end is only taken for one when everything is home."""
        self._last = event if event.kind in ENDINGS else None
        if event.kind == "machine":
            found = cast("list[dict[str, Any]]", event.data.get("findings") or [])
            self._faults = [str(one.get("code", "")) for one in found if one.get("severity") == "error"]
        if event.kind not in ENDINGS:
            self.home.mirror(self._from_here(event))

    def _from_here(self, event: Event) -> Event:
        """The event with the machine's own paths as they are below the run's folder, there and here."""
        path = event.data.get("path")
        below = f"{self._place}/runs/{self.home.id}/"
        if not isinstance(path, str) or not path.startswith(below):
            return event
        return replace(event, data={**event.data, "path": path.removeprefix(below)})

    async def _ended(self, link: ssh.Link) -> Result:
        """What came of it, by the agent's own last word."""
        event = self._last
        if event is None:
            raise OutcomeError(Outcome.AGENT_GONE)
        if event.kind == "finished":
            return Result(Outcome.FINISHED, event=event)
        if event.kind == "failed":
            return Result(why_failed(self._faults), str(event.data["error"]), event)
        causes = {"person": Outcome.STOPPED_BY_PERSON, "budget": Outcome.BUDGET}
        outcome = causes.get(str(event.data["cause"]), Outcome.PREEMPTED)
        if outcome is Outcome.PREEMPTED and not copies.stay_there(self.home):
            with suppress(OutcomeError, TimeoutError):
                async with asyncio.timeout(_LAST_COPY):
                    run = await self._run_folder(link)
                    await self._copy_one(link, max(await fetching.complete(link, run), default=0))
        return Result(outcome, str(event.data["reason"]), event)

    async def _copy(self) -> None:
        """Copies checkpoints home as they are made, the newest first."""
        while True:
            await self._new.wait()
            self._new.clear()
            newest, link = max(self._there, default=0), self._link
            is_home = copies.stay_there(self.home) or newest in steps(self.home.folder.checkpoints)
            if not newest or link is None or is_home:
                continue
            try:
                if await self._copy_one(link, newest):
                    await copies.copy_on(self.home, newest)
                await asyncio.to_thread(fetching.forget, self.home.folder, set(self._there))
            except OutcomeError as error:
                if error.outcome is not Outcome.SSH_DOWN:
                    raise

    async def _copy_one(self, link: ssh.Link, step: int) -> bool:
        """Brings a checkpoint home; whether it is new here."""
        run = await self._run_folder(link)
        if step and await fetching.copy_checkpoint(link, run, step, self.home.folder):
            self.home.tell("copied", step=step, path=f"checkpoints/step-{step:06d}")
            return True
        return False

    # --- what cuts it short

    def _cut(self) -> Result | None:
        """Why it ends now whatever it does; None where it goes on."""
        request = self.home.request
        if request == "now" or (request == "stop" and self.phase is Phase.PREPARING):
            return Result(Outcome.STOPPED_BY_PERSON, "stopped at once")
        deadline = self.lease.row.deadline
        if deadline is not None and self.lease.clock.now() >= deadline - 0.4 * self.allowed.margin:
            return Result(Outcome.DEADLINE, f"{self.allowed.why} is used up")
        return None

    async def _pass_stop_on(self) -> None:
        """Has the trainer write a checkpoint and end, where a person asks for that and the machine can be reached."""
        link = self._link
        if self._asked_to_stop or self.home.request != "stop" or link is None or not link.is_open:
            return
        with suppress(OutcomeError, TimeoutError):
            done = await link.run('kill -INT "$(cut -d" " -f1 "$HOME/.lorry/agent.pid")"', seconds=20)
            self._asked_to_stop = done.code == 0


def _outcome_of(work: asyncio.Task[Result]) -> Result:
    try:
        return work.result()
    except OutcomeError as error:
        return Result(error.outcome, error.message)


def _failure(task: asyncio.Task[None]) -> Result | None:
    """How a task that never ends by itself has failed; None while it goes on."""
    if not task.done() or task.cancelled():
        return None
    error = task.exception()
    if isinstance(error, OutcomeError):
        return Result(error.outcome, error.message)
    if error is not None:
        raise error
    return None
