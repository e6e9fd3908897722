"""The life of a lease, with a provider that is unreliable in every way: nothing bills unseen."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from lorry.compute.lease import SETTLING, SHORTLY, Clock, Lease, begun, drafted, name_for
from lorry.compute.outcomes import Outcome, OutcomeError
from lorry.compute.providers._base import Capabilities, Machine, Order, Provider, Wanted
from lorry.errors import MayBillError, RefusedError
from lorry.plan.offers import Offer
from lorry.plan.ranges import Range
from lorry.track.leases import Leases

OFFER = Offer("shaky", "RTX 4090", None, 24 * 10**9, Range.exact(0.5), key="4090")


@dataclass
class Cloud:
    """What the provider has, and what it does wrong next."""

    machines: dict[str, Machine] = field(default_factory=dict)
    refusals: list[OutcomeError] = field(default_factory=list)
    ends_fail: int = 0
    appears_after: float = 0.0
    made: int = 0
    price: float = 0.6
    tells_since: bool = True
    now: float = 1000.0

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.now, self.sleep)


CLOUD = Cloud()


class Shaky(Provider):
    """Rents machines in memory."""

    capabilities: ClassVar[Capabilities] = Capabilities()

    async def offers(self, wanted: Wanted) -> list[Offer]:
        return [OFFER] if not wanted.gpus else []

    async def create(self, order: Order) -> Machine:
        refusal = CLOUD.refusals.pop(0) if CLOUD.refusals else None
        if refusal is None or refusal.outcome is Outcome.UNCERTAIN:
            CLOUD.made += 1
            created_at = CLOUD.now if CLOUD.tells_since else None
            machine = Machine(f"m{CLOUD.made}", order.name, "starting", CLOUD.price, created_at=created_at)
            CLOUD.machines[machine.id] = machine
        if refusal is not None:
            raise refusal
        return machine

    async def find(self, machine_id: str) -> Machine | None:
        return CLOUD.machines.get(machine_id)

    async def list(self) -> Sequence[Machine]:
        return [one for one in CLOUD.machines.values() if CLOUD.now >= CLOUD.appears_after]

    async def end(self, machine_id: str) -> None:
        if CLOUD.ends_fail > 0:
            CLOUD.ends_fail -= 1
            raise OutcomeError(Outcome.API_DOWN, "500")
        CLOUD.machines.pop(machine_id, None)

    async def account(self) -> str:
        return "nobody's"

    def by_hand(self, machine_id: str) -> str:
        return f"shaky end {machine_id}"


@pytest.fixture(autouse=True)
def cloud() -> Cloud:
    global CLOUD  # noqa: PLW0603 - a plugin has no place for state of its own
    CLOUD = Cloud()
    return CLOUD


def asked(**facts: Any) -> tuple[Lease, Order]:
    Shaky.name = "shaky"
    order = Order(name_for("run-1"), OFFER, "image")
    provider = Shaky()
    row = replace(drafted("run-1", 1, order, provider), **facts)
    return begun(row, provider, Leases.open(), CLOUD.clock), order


def run(work: Any) -> Any:
    return asyncio.run(work)


def test_lease_is_written_before_its_machine_is_asked_for(cloud):
    lease, order = asked()
    assert Leases.open().get(order.name).state == "asked"
    assert not cloud.machines
    run(lease.ask(order))
    row = Leases.open().get(order.name)
    assert (row.state, row.machine_id, row.usd_per_hour) == ("rented", "m1", 0.6)


@pytest.mark.parametrize("outcome", [Outcome.NO_CAPACITY, Outcome.BALANCE_EMPTY, Outcome.REQUEST_WRONG])
def test_lease_is_closed_where_surely_nothing_was_made(cloud, outcome):
    cloud.refusals = [OutcomeError(outcome)]
    lease, order = asked()
    with pytest.raises(OutcomeError):
        run(lease.ask(order))
    assert not Leases.open().get(order.name).is_open


def test_machine_of_an_ambiguous_answer_is_found_by_its_name(cloud):
    cloud.refusals = [OutcomeError(Outcome.UNCERTAIN)]
    lease, order = asked()
    with pytest.raises(OutcomeError):
        run(lease.ask(order))
    assert Leases.open().get(order.name).is_open
    machine = run(lease.reconcile())
    assert machine is not None
    assert Leases.open().get(order.name).machine_id == "m1"


def test_machine_that_appears_late_is_found_all_the_same(cloud):
    cloud.refusals, cloud.appears_after = [OutcomeError(Outcome.UNCERTAIN)], cloud.now + SETTLING / 2
    lease, order = asked()
    with pytest.raises(OutcomeError):
        run(lease.ask(order))
    assert run(lease.reconcile()) is not None


def test_machine_that_never_appears_closes_the_lease_only_after_a_while(cloud):
    cloud.refusals = [OutcomeError(Outcome.UNCERTAIN)]
    lease, order = asked()
    with pytest.raises(OutcomeError):
        run(lease.ask(order))
    cloud.machines.clear()
    began = cloud.now
    assert run(lease.reconcile()) is None
    assert cloud.now - began >= SETTLING
    assert not lease.row.is_open


def test_machine_that_does_not_appear_shortly_leaves_its_lease_open(cloud):
    cloud.refusals = [OutcomeError(Outcome.UNCERTAIN)]
    lease, order = asked()
    with pytest.raises(OutcomeError):
        run(lease.ask(order))
    cloud.machines.clear()
    began = cloud.now
    assert run(lease.reconcile(seconds=SHORTLY)) is None
    assert SHORTLY <= cloud.now - began < SETTLING / 2
    assert lease.row.is_open, "it may still turn up, and bill"


def test_lease_that_was_asked_for_long_ago_settles_at_once_under_another_controller(cloud):
    lease, _ = asked()
    cloud.now += SETTLING + 100
    began = cloud.now
    assert run(Lease(lease.row, lease.provider, lease.leases, lease.clock).reconcile()) is None
    assert cloud.now == began, "each controller that dies would have it begin anew"


def test_machine_that_is_dearer_than_its_offer_may_be_kept_for_less_long_whoever_finds_it(cloud):
    cloud.refusals, cloud.price = [OutcomeError(Outcome.UNCERTAIN)], 1.0
    lease, order = asked(deadline=cloud.now + 3600)
    with pytest.raises(OutcomeError):
        run(lease.ask(order))
    cloud.now += 10
    later = Lease(Leases.open().get(order.name), lease.provider, lease.leases, lease.clock)
    assert run(later.reconcile()) is not None
    row = Leases.open().get(order.name)
    assert (later.times_dearer, row.usd_per_hour, row.deadline) == (2.0, 1.0, 1000.0 + 1800)


def test_shortened_deadline_is_never_later_than_the_first(cloud):
    cloud.refusals, cloud.price, cloud.tells_since = [OutcomeError(Outcome.UNCERTAIN)], 0.500001, False
    lease, order = asked(deadline=cloud.now + 3600)
    with pytest.raises(OutcomeError):
        run(lease.ask(order))
    cloud.now += 75
    run(lease.reconcile())
    assert Leases.open().get(order.name).deadline <= 1000.0 + 3600


def test_machine_that_is_found_late_counts_from_when_it_was_asked_for(cloud):
    cloud.refusals, cloud.tells_since = [OutcomeError(Outcome.UNCERTAIN)], False
    lease, order = asked()
    with pytest.raises(OutcomeError):
        run(lease.ask(order))
    cloud.now += 3 * 3600
    run(Lease(Leases.open().get(order.name), lease.provider, lease.leases, lease.clock).reconcile())
    assert Leases.open().get(order.name).rented_at == 1000.0, "what it has cost since is not forgotten"


def nothing_can_be_kept(lorry_home: Path) -> None:
    """A file stands where the copies of leases belong."""
    shutil.rmtree(lorry_home / "leases", ignore_errors=True)
    lorry_home.mkdir(exist_ok=True)
    (lorry_home / "leases").write_text("")


def test_full_disk_keeps_no_machine_from_being_ended(cloud, lorry_home):
    lease, order = asked()
    run(lease.ask(order))
    nothing_can_be_kept(lorry_home)
    run(lease.end(Outcome.FINISHED))
    assert not cloud.machines
    assert Leases.open().get(order.name).state == "ended"


def test_nothing_is_asked_for_that_cannot_be_written_down(cloud, lorry_home):
    nothing_can_be_kept(lorry_home)
    with pytest.raises(RefusedError, match="cannot be written down"):
        asked()


def test_second_machine_of_the_same_name_is_ended(cloud):
    lease, order = asked()
    run(lease.ask(order))
    cloud.machines["m9"] = replace(cloud.machines["m1"], id="m9")
    run(lease.reconcile())
    assert list(cloud.machines) == ["m1"]


def test_end_is_asked_for_until_the_provider_confirms_it(cloud):
    lease, order = asked()
    run(lease.ask(order))
    cloud.ends_fail = 7
    run(lease.end(Outcome.FINISHED))
    assert not cloud.machines
    row = Leases.open().get(order.name)
    assert (row.state, row.outcome) == ("ended", "FINISHED")
    assert row.ended_at == cloud.now


def test_end_that_is_not_confirmed_says_what_bills_and_how_to_end_it_by_hand(cloud):
    lease, order = asked()
    run(lease.ask(order))
    cloud.ends_fail = 10**9
    with pytest.raises(MayBillError, match=r"`m1` at shaky may still bill \$0\.60 an hour") as error:
        run(lease.end(Outcome.FINISHED, seconds=60))
    assert "shaky end m1" in error.value.hint
    assert error.value.exit_code == 4
    assert Leases.open().get(order.name).state == "ending", "whoever comes next tries again"


def test_lease_that_was_never_answered_is_ended_by_its_name(cloud):
    cloud.refusals = [OutcomeError(Outcome.UNCERTAIN)]
    lease, order = asked()
    with pytest.raises(OutcomeError):
        run(lease.ask(order))
    run(lease.end(Outcome.STOPPED_BY_PERSON))
    assert not cloud.machines
    assert not lease.row.is_open


def test_ending_twice_changes_nothing(cloud):
    lease, order = asked()
    run(lease.ask(order))
    run(lease.end(Outcome.FINISHED))
    before = lease.row
    run(lease.end(Outcome.HOST_LOST))
    assert lease.row == before


def test_names_are_unique_and_tell_the_run():
    names = {name_for("Qwen3 4B/sft-20260101") for _ in range(1000)}
    assert len(names) == 1000
    assert all(name.startswith("lorry-") and name.endswith("qwen3-4b-sft-20260101") for name in names)


def test_nothing_was_billed_before_it_was_asked_for(cloud):
    lease, order = asked()
    cloud.now -= 500  # the provider's clock is behind
    machine = run(Shaky().create(order))
    cloud.now += 500
    lease.took(machine)
    assert lease.row.rented_at == lease.row.asked_at
