"""Which run may have a machine that another one has done with."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from lorry.compute.allowance import Allowance
from lorry.compute.control.handing_on import Offered, seconds_needed, suits
from lorry.compute.control.succession import Candidate, Succession
from lorry.compute.needs import Needs, OnGpu
from lorry.plan import gpus
from lorry.plan.offers import Offer
from lorry.plan.ranges import Range
from lorry.plugins import make
from lorry.recipe.schema import Recipe
from renting import NOON, open_lease

CARD = gpus.get("RTX 4090")
HOUR = 3600.0


def recipe(**compute: Any) -> Recipe:
    given = {"on": ["runpod"], "gpu": ["RTX 4090"], **compute}
    return Recipe.model_validate({"model": {"id": "tiny"}, "data": {"train": "rows.jsonl"}, "compute": given})


def needs(seconds: float | None = 600.0, **given: Any) -> Needs:
    on = {CARD.name: OnGpu(seconds, seconds and 2 * seconds)}
    return Needs(**{"disk_gb": 20, "on": on, **given})


def candidate(run_id: str = "run-2", *, asks: Needs | None = None, **compute: Any) -> Candidate:
    wanted = recipe(**compute)
    return Candidate(run_id, wanted, asks or needs(), [make("providers", one) for one in wanted.compute.on])


def offered(*, left: float = 2 * HOUR, **row: Any) -> Offered:
    (provider,) = candidate().providers
    given = {"provider": "runpod", "settings": provider.model_dump(mode="json"), "deadline": NOON + left, **row}
    offer = Offer("runpod", "RTX 4090", CARD, CARD.memory, Range.exact(0.5))
    return Offered(open_lease(**given), offer, recipe(), needs(), NOON)


def fits(one: Candidate, what: Offered | None = None, *, allowed: float = 24 * HOUR) -> bool:
    return suits(what or offered(), one, Allowance(allowed, "a limit"))


def test_run_of_the_same_installation_may_have_it():
    assert fits(candidate())


@pytest.mark.parametrize(
    "compute",
    [
        {"image": "other:1"},
        {"volume": "models"},
        {"gpu": ["H100"]},
        {"gpu": ["cpu"]},
        {"interruptible": "only"},
        {"on": ["vast"]},
        {"on": [{"name": "runpod", "url": "https://elsewhere.example/v2"}]},
    ],
)
def test_run_that_asks_for_another_machine_may_not(compute: dict[str, Any]):
    assert not fits(candidate(**compute))


def test_run_that_needs_more_disk_or_more_memory_may_not():
    assert not fits(candidate(asks=needs(disk_gb=21)))
    assert not fits(candidate(asks=needs(on={})))


def test_machine_that_may_be_taken_back_is_only_for_runs_that_allow_that():
    assert not fits(candidate(), offered(interruptible=True))
    assert fits(candidate(interruptible="prefer"), offered(interruptible=True))


def test_deadline_must_be_far_enough_for_the_slowest_case():
    assert seconds_needed(needs(600.0), offered().offer) == pytest.approx(1.1 * 1200 + 60)
    assert not fits(candidate(), offered(left=1300))
    assert fits(candidate(), offered(left=1400))


def test_run_of_unknown_length_needs_half_an_hour():
    unknown = needs(None)
    assert not fits(candidate(asks=unknown), offered(left=1700))
    assert fits(candidate(asks=unknown), offered(left=1900))


def test_budget_that_ends_before_the_machines_deadline_does_not_take_it():
    assert not fits(candidate(), offered(left=2 * HOUR), allowed=1.9 * HOUR)


def test_another_account_of_the_same_provider_may_not(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RUNPOD_API_KEY", "one-key")
    assert not fits(candidate(), offered(account="0123456789ab"))


def test_who_has_waited_longest_is_given_the_machine():
    given: list[str] = []

    async def waits(succession: Succession, one: Candidate) -> None:
        if await succession.wait(one, asyncio.sleep(60)):
            given.append(one.run_id)

    async def work() -> None:
        succession = Succession()
        tasks = [asyncio.create_task(waits(succession, candidate(f"run-{number}"))) for number in (1, 2, 3)]
        await asyncio.sleep(0)
        first = succession.first(lambda one: one.run_id != "run-1")
        assert first is not None
        succession.give(first)
        await asyncio.sleep(0.05)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert succession.first(lambda _one: True) is None, "who does not wait any more is given nothing"

    asyncio.run(work())
    assert given == ["run-2"]


def test_pause_that_is_over_gives_nothing():
    async def work() -> bool:
        return await Succession().wait(candidate(), asyncio.sleep(0))

    assert not asyncio.run(work())
