"""One attempt: from a machine that was asked for to how training on it ended. Every step can be done twice.

So a controller that takes a run up again goes through the same steps, and finds most of them done.
"""

from __future__ import annotations

import asyncio
import shlex
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace

from lorry.compute import ssh, transfer
from lorry.compute.allowance import Allowance, on_machine
from lorry.compute.control import copies
from lorry.compute.control.at_home import RunAtHome
from lorry.compute.control.bringing import Bringing
from lorry.compute.control.reaching import Patience, Reach
from lorry.compute.control.verdicts import why_failed
from lorry.compute.lease import Lease
from lorry.compute.machine import fetching, sending, starting, wheel
from lorry.compute.machine.aboard import CLONE
from lorry.compute.machine.bounds import Bounds
from lorry.compute.machine.cloning import clone
from lorry.compute.machine.fetching import Source
from lorry.compute.machine.follow import AgentGone, Beat, Checkpoints, Ended, Told, batches
from lorry.compute.machine.setting_up import set_up
from lorry.compute.outcomes import Outcome, OutcomeError
from lorry.compute.recovery import Action, History, Phase, decide
from lorry.compute.transport.turns import both
from lorry.plan.offers import Offer
from lorry.track.events import ENDINGS, Event

_LAST_COPY = 10.0
"""Seconds in which a machine that is taken back may still hand over a checkpoint."""


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
        self._reach = Reach(self.lease, self.key, self.patience, lambda: self.phase)
        self._place = ""
        self._last: Event | None = None
        self._bringing = Bringing(self.home, self.lease.name)
        self._bounds: Bounds | None = None
        self._asked_to_stop = False
        # Before training has started, agent and trainer may not hear a signal yet, and there is nothing new to save.
        self._is_heard = self.phase is Phase.TRAINING and self.home.known.steps is not None
        self._repeats: dict[Outcome, tuple[int, int]] = {}
        self._begin_again = False
        self.gave_up: Action | None = None
        """What is to follow, where the attempt itself has tried all else."""

    @property
    def has_sent(self) -> bool:
        """Whether the run lies on the machine, so that there may be something to fetch."""
        return self.home.sent_after(self.lease.name) is not None

    async def carry_out(self) -> Result:
        """Goes through to the end of training there, or to whatever else ends the attempt. The machine is not ended here."""
        work = asyncio.create_task(self._work())
        self._reach.keep_contact()
        copies, looks = (
            asyncio.create_task(self._bringing.go_on(self._new_source)),
            asyncio.create_task(self._reach.look_after()),
        )
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
        at = await self._source(await self._reach.connected())
        # Copied on when the machine is given back: until then each second costs.
        await self._bringing.at_the_end(at, only_newest=self._kept_there)
        total = await fetching.fetch_result(at, self.home.folder, lambda _: None)
        fetching.retain(self.home.folder, self.home.ranked, self.home.recipe.train, self.home.known.copied)
        fetching.mark(self.home.folder, self.home.known.delivered)
        await self.home.keep_beat(now=True)
        self.home.tell("fetched", bytes=total)

    async def close(self) -> None:
        """Gives the connection back; the machine goes on."""
        await self._reach.close()

    async def leave(self) -> None:
        """Takes the run, which has ended, off the machine: it waits for the next one, for as long as it may be idle.

        Raises OutcomeError, and TimeoutError, where that cannot be done.
        """
        link = self._reach.link
        if link is None or not link.is_open:  # it bills, and nobody knows for how long it would be waited for
            raise OutcomeError(Outcome.SSH_DOWN)
        await starting.leave(link)

    async def clear(self) -> None:
        """Deletes what the run left on the machine's own disk, so that the next one has its room; it is home by now."""
        if self._reach.link is None or self.home.recipe.compute.volume:
            return
        with suppress(OutcomeError, TimeoutError):
            await self._reach.link.run(f"rm -rf {shlex.quote(await self._run_folder(self._reach.link))}", seconds=60)

    # --- until it trains

    async def _work(self) -> Result:
        """Connects, prepares and follows, as often as the connection breaks."""
        while True:
            try:
                return await self._through()
            except OutcomeError as error:
                action = decide(error.outcome, self._history(error.outcome))
                if action is Action.KEEP_WAITING:
                    await asyncio.sleep(self.patience.tick)
                elif action is Action.START_AGENT:
                    self._begin_again, self._asked_to_stop = True, False
                else:
                    self.gave_up = action
                    raise

    async def _through(self) -> Result:
        """Once through all of it. A machine that does not get a command done in time counts as one that does not answer."""
        try:
            link = await self._reach.connected()
            return await self._followed(link, await self._prepared(link))
        except TimeoutError as error:
            raise OutcomeError(Outcome.SSH_DOWN, f"the machine is too slow: {error}") from error

    def _history(self, outcome: Outcome) -> History:
        """How often this outcome came without a step in between, here and on the machines before."""
        count, at = self._repeats.get(outcome, (0, self.home.step))
        count = count if at == self.home.step else 0
        self._repeats[outcome] = (count + 1, self.home.step)
        known = self.home.known
        return History(self.phase, count + known.losses[outcome.name], known.fruitless)

    async def _prepared(self, link: ssh.Link) -> int:
        """Sets the machine up, sends the run and starts its agent, as far as that is not done; the number of the last event."""
        began = self.lease.clock.now()
        run = await self._run_folder(link)
        after = self.home.sent_after(self.lease.name)
        was_begun = self.phase is Phase.TRAINING and not self._begin_again
        if after is not None and was_begun and await starting.goes_on(link, run):
            return after
        own = await asyncio.to_thread(wheel.own)
        # What is installed comes from elsewhere: the run is sent meanwhile.
        ready, after = await both(set_up(link, self._place, own=own), self._sent(link, run, after))
        await self._order(link, run)
        self._is_heard = False
        await starting.begin(link, ready, self._place, run, again=self._begin_again)
        self._begin_again = False
        if self.phase is Phase.PREPARING:
            self.phase = Phase.TRAINING
            now = self.lease.clock.now()
            await asyncio.to_thread(lambda: self.lease.note(ready_at=now))
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

    async def _sent(self, link: ssh.Link, run: str, after: int | None) -> int:
        """Sends the run, unless it lies there; the number of the last event there that is known here."""
        if after is not None and await self._is_there(link, run):
            return after
        return await self._send(link)

    async def _send(self, link: ssh.Link) -> int:
        code = self.home.recipe.compute.code
        cloned = await clone(link, self._place, code) if code else ""
        await self.home.keep_beat(now=True)
        # A copy that does not grow while it is on its way: what happens to other machines meanwhile is written down too.
        after = self.home.last_number
        await asyncio.to_thread(sending.freeze, self.home.folder)
        load = await asyncio.to_thread(sending.load_of, self.home.folder, self.home.facts)
        await transfer.send(link, load.files, self._place)
        if cloned:
            await link.run(f"ln -sfn {shlex.quote(cloned)} {shlex.quote(f'{self._place}/{load.run}/{CLONE}')}")
        self.home.tell("sent", lease=self.lease.name, after=after, bytes=load.bytes)
        return after

    async def _order(self, link: ssh.Link, run: str) -> None:
        """Tells the machine what to do, and what time it has left: last of all, for each minute before has been paid for."""
        now = self.lease.clock.now()
        gone = now - (self.lease.row.serving_since or now)
        price = self.lease.row.usd_per_hour
        budget = on_machine(self.home.recipe.budget, self._time(), price, self.home.seconds_before, gone)
        files = sending.write_request(self.home.folder, self.home.facts, self.offer, self.home.needs, budget)
        await transfer.send(link, files, run)

    def _time(self) -> Allowance:
        """What the machine may take from when it served this run: a deadline may have been shortened since it was asked for."""
        since, deadline = self.lease.row.serving_since, self.lease.row.deadline
        if since is None or deadline is None:
            return self.allowed
        return replace(self.allowed, seconds=min(self.allowed.seconds, deadline - since))

    # --- while it trains

    async def _followed(self, link: ssh.Link, after: int) -> Result:
        """Writes down what the machine tells, until its agent has ended."""
        run = await self._run_folder(link)
        known = self.home.sent_after(self.lease.name)
        since = self.lease.row.serving_since or self.lease.clock.now()
        self._bounds = self._bounds or self.home.bounds(self.lease.name, since)
        async with aclosing(batches(link, run, after if known is None else known)) as found:
            async for batch in found:
                self._reach.hear()
                self._note([told for told in batch if isinstance(told, Event)], self._bounds)
                for told in batch:
                    if isinstance(told, Ended):
                        return await self._ended(link)
                    self._take(told, self._bounds)
                await asyncio.sleep(0)  # other runs have their turn, however much this machine has to tell
        raise OutcomeError(Outcome.SSH_DOWN)

    def _take(self, told: Told, bounds: Bounds) -> None:
        """What the machine tells beside events while it trains."""
        if isinstance(told, Beat):
            self.home.beat(bounds.beat(told, self.lease.clock.now()))
        elif isinstance(told, Checkpoints):
            self._bringing.listed(int(name.removeprefix("step-")) for name in told.names)
        elif isinstance(told, AgentGone):
            raise OutcomeError(Outcome.AGENT_GONE)

    def _note(self, events: list[Event], bounds: Bounds) -> None:
        """Events of the machine. The run's end is only taken for one when everything is home."""
        believed: list[Event] = []
        try:
            for event in events:
                bounds.event(event)
                believed.append(event)
                self._is_heard = self._is_heard or event.kind == "started"
                if event.kind in ENDINGS:
                    self._last = event
                elif event.kind in ("loaded", "started"):
                    self._last = None  # the trainer was started again
        finally:
            written = self.home.mirror_all([self._from_here(one) for one in believed if one.kind not in ENDINGS])
        if written:
            bounds.size(self.home.folder.events.stat().st_size)

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
            return Result(why_failed(self.home.known.faults), str(event.data["error"]), event)
        causes = {"person": Outcome.STOPPED_BY_PERSON, "budget": Outcome.BUDGET}
        outcome = causes.get(str(event.data["cause"]), Outcome.PREEMPTED)
        if outcome is Outcome.PREEMPTED and self.lease.is_within(self.allowed.margin):
            return Result(
                Outcome.DEADLINE, f"{self.allowed.why} is used up"
            )  # its own switch has told the agent to end
        if outcome is Outcome.PREEMPTED and not self._kept_there:
            await self._copy_last(link)
        return Result(outcome, str(event.data["reason"]), event)

    async def _copy_last(self, link: ssh.Link) -> None:
        """Brings the newest checkpoint of a machine that is taken back, if that can be done. Raises OutcomeError UNTRUSTED."""
        try:
            async with asyncio.timeout(_LAST_COPY):
                await self._bringing.at_the_end(await self._source(link), only_newest=True)
        except OutcomeError as error:
            if error.outcome is Outcome.UNTRUSTED:
                raise
        except TimeoutError:
            pass

    async def _source(self, link: ssh.Link) -> Source:
        """The run there, as what it made comes home."""
        return Source(link, await self._run_folder(link), self.lease.name, self.home.needs.disk_bytes)

    async def _new_source(self) -> Source | None:
        """The same for checkpoints that were just made; None where they stay there."""
        return None if self._reach.link is None or self._kept_there else await self._source(self._reach.link)

    @property
    def _kept_there(self) -> bool:
        """Whether checkpoints outlive the machine without coming home: they lie on a network volume."""
        return self.home.recipe.compute.copies == copies.VOLUME

    # --- what cuts it short

    def _cut(self) -> Result | None:
        """Why it ends now whatever it does; None where it goes on."""
        request = self.home.request
        if request == "now" or (request == "stop" and not self._is_heard):
            return Result(Outcome.STOPPED_BY_PERSON, "stopped at once")
        if self.lease.is_within(0.4 * self.allowed.margin):
            return Result(Outcome.DEADLINE, f"{self.allowed.why} is used up")
        return None

    async def _pass_stop_on(self) -> None:
        """Has the trainer write a checkpoint and end, where a person asks for that and the machine can be reached."""
        link = self._reach.link
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
