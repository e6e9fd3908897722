"""Which offers a run asks for, with whom, for how long, and what it comes to where none becomes a machine."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import stalls
from lorry.compute.control.rented import Rented
from lorry.compute.control.renting import Found, NothingFound, Renting
from lorry.compute.control.succession import Candidate
from lorry.compute.lease import Clock
from lorry.compute.outcomes import Outcome
from lorry.compute.providers._base import Provider
from lorry.plugins import make
from lorry.track.caps import Cap, Caps, write
from lorry.track.folder import home
from renting import HOUR, NOON, lease, open_lease
from stalls import Booth, Stall, offer


def rent(renting: Renting) -> Found | NothingFound | None:
    return asyncio.run(renting.rent("never"))


def refusal(renting: Renting) -> tuple[Outcome, bool]:
    found = rent(renting)
    assert isinstance(found, NothingFound), found
    return found.outcome, found.is_short


def cap(*providers: str) -> None:
    """Leaves nothing with these."""
    write(home(), Caps(accounts=dict.fromkeys(providers, Cap(usd=0.0))))


def at_noon(renting: Renting) -> Renting:
    renting.clock = Clock(lambda: NOON)
    return renting


def test_cap_of_one_provider_leaves_the_others(tmp_path: Path):
    renting = stalls.renting(stalls.folder(tmp_path), Stall(usd=0.5), Booth())
    cap("stall")
    found = rent(renting)
    assert isinstance(found, Found)
    assert found.lease.row.provider == "booth"


def test_caps_of_all_providers_end_the_search(tmp_path: Path):
    renting = stalls.renting(stalls.folder(tmp_path), Stall(), Booth())
    cap("stall", "booth")
    assert refusal(renting) == (Outcome.BUDGET, True)


@pytest.mark.parametrize(
    ("other", "outcome"),
    [
        (Booth(refuses="NO_CAPACITY"), Outcome.NO_CAPACITY),
        (Booth(refuses="BALANCE_EMPTY"), Outcome.BALANCE_EMPTY),
        (Booth(silent="KEY_REFUSED"), Outcome.KEY_REFUSED),
    ],
)
def test_cap_of_one_provider_is_no_reason_while_another_could_be_paid(
    tmp_path: Path, other: Provider, outcome: Outcome
):
    renting = stalls.renting(stalls.folder(tmp_path), Stall(), other)
    cap("stall")
    assert refusal(renting) == (outcome, True)


def test_provider_that_does_not_answer_is_not_waited_for_where_it_could_not_be_paid(tmp_path: Path):
    renting = stalls.renting(stalls.folder(tmp_path), Stall(), Booth(silent="BUSY"))
    cap("stall", "booth")
    assert refusal(renting) == (Outcome.BUDGET, True)


def test_search_without_a_machine_is_not_short_of_money(tmp_path: Path):
    renting = stalls.renting(stalls.folder(tmp_path), Stall(refuses="NO_CAPACITY"))
    assert refusal(renting) == (Outcome.NO_CAPACITY, False)


def test_machine_that_is_being_ended_may_leave_enough_for_an_offer_although_others_have_none(tmp_path: Path):
    rented = Rented(stalls.renting(stalls.folder(tmp_path), Stall(), Booth(refuses="NO_CAPACITY")))
    cap("stall")

    async def ending() -> None:
        await asyncio.sleep(0.2)
        write(home(), Caps())

    async def work() -> Found | NothingFound | None:
        rented.endings.append(asyncio.create_task(ending()))
        return await rented._rent()

    assert isinstance(asyncio.run(work()), Found)


def test_host_is_asked_for_with_the_settings_that_have_it(tmp_path: Path):
    first, second = (make("providers", {"name": "ssh", "hosts": [host]}) for host in ("a@h1", "b@h2"))
    place = stalls.folder(tmp_path, on=[{"name": "ssh", "hosts": [host]} for host in ("a@h1", "b@h2")])
    renting = stalls.renting(place, first, second)  # type: ignore[arg-type]
    renting.leases.add(open_lease(provider="ssh", host="a@h1", machine_id="a@h1"))
    found = rent(renting)
    assert isinstance(found, Found)
    assert found.lease.row.machine_id == "b@h2"
    assert found.lease.row.settings["hosts"] == ["b@h2"]


def test_settings_that_are_refused_bar_no_others_of_the_same_name(tmp_path: Path):
    renting = stalls.renting(stalls.folder(tmp_path), Stall(usd=0.5, refuses="REQUEST_WRONG"), Stall(usd=1.0))
    found = rent(renting)
    assert isinstance(found, Found)
    assert found.lease.row.usd_per_hour == 1.0


def test_what_a_person_agreed_to_for_another_run_holds_for_that_run(tmp_path: Path):
    renting = at_noon(stalls.renting(stalls.folder(tmp_path / "a"), Stall()))
    there = stalls.renting(stalls.folder(tmp_path / "b", agreed_usd=24.0), Stall()).candidate
    row = lease(state="rented", ended_at=None, usd_per_hour=3.0, deadline=NOON + 20 * HOUR)
    allowed = renting.allowed(offer(usd=3.0), there, lease=row)
    assert allowed.seconds == pytest.approx(8 * HOUR)
    assert "$24.00" in allowed.why


def test_machine_that_is_there_costs_what_its_lease_says(tmp_path: Path):
    renting = at_noon(stalls.renting(stalls.folder(tmp_path), Stall()))
    run = renting.candidate
    other = Candidate("run-2", run.recipe, run.needs, run.providers, agreed_usd=24.0)
    row = open_lease(usd_per_hour=3.5, storage_usd_per_hour=0.5)
    assert renting.allowed(offer(usd=3.0), other, lease=row).seconds == pytest.approx(6 * HOUR)
    dearer = open_lease(usd_per_hour=3.0, prices=[[NOON, 6.0, 0.0]])
    assert renting.allowed(offer(usd=3.0), other, lease=dearer).seconds == pytest.approx(4 * HOUR)
