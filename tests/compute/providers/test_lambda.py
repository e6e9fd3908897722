"""Lambda Cloud: types by region, launches, and states."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from lorry.compute.outcomes import Outcome, OutcomeError
from lorry.compute.providers._base import Address
from scripted import SECRET, Scripted, offer, order, reply, wanted

LAUNCH, KEYS = "POST /api/v1/instance-operations/launch", "GET /api/v1/ssh-keys"


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMBDA_API_KEY", SECRET)
    monkeypatch.delenv("LAMBDA_API_URL", raising=False)


def kind(name: str = "gpu_1x_a100_sxm4", card: str = "A100 (40 GB SXM4)", **changes: Any) -> dict[str, Any]:
    given = {"name": name, "description": f"1x {card}", "gpu_description": card, "price_cents_per_hour": 199}
    return {
        "instance_type": {**given, "specs": {"vcpus": 30, "memory_gib": 200, "storage_gib": 512, "gpus": 1}, **changes},
        "regions_with_capacity_available": [{"name": "us-east-1", "description": "Virginia"}, {"name": "us-west-2"}],
    }


def run(scripted: Scripted, method: str, *arguments: Any, **settings: Any) -> Any:
    return asyncio.run(getattr(scripted.provider("lambda", **settings), method)(*arguments))


def types(*kinds: dict[str, Any]) -> Scripted:
    return Scripted().on(
        "GET /api/v1/instance-types", reply(200, {"data": {str(n): one for n, one in enumerate(kinds)}})
    )


def error(status: int, code: str, message: str = "so it is") -> httpx.Response:
    return reply(status, {"error": {"code": code, "message": message, "suggestion": "wait"}})


@pytest.mark.parametrize(
    ("described", "card"),
    [
        ("A100 (40 GB SXM4)", "A100 40GB SXM"),
        ("A100 (80 GB SXM4)", "A100 80GB SXM"),
        ("H100 (80 GB SXM5)", "H100 SXM"),
        ("H100 (80 GB PCIe)", "H100 PCIe"),
        ("GH200 (96 GB)", "GH200"),
        ("A6000 (48 GB)", "RTX A6000"),
        ("RTX 6000 (24 GB)", "Quadro RTX 6000"),
        ("B200 (180 GB SXM6)", "B200"),
        ("A10 (24 GB PCIe)", "A10"),
    ],
)
def test_descriptions_mean_cards_of_the_catalog(described, card):
    found = run(types(kind(card=described)), "offers", wanted())
    assert {one.gpu.name for one in found} == {card}


def test_offers_are_one_for_each_region_that_has_one_free():
    found = run(types(kind()), "offers", wanted("A100"))
    assert [(one.key, one.place, one.usd_per_hour.likely) for one in found] == [
        ("gpu_1x_a100_sxm4", "us-east-1", 1.99),
        ("gpu_1x_a100_sxm4", "us-west-2", 1.99),
    ]
    assert [one.place for one in run(types(kind()), "offers", wanted("A100"), regions=["us-west-2"])] == ["us-west-2"]


@pytest.mark.parametrize(
    "changes", [{"price_cents_per_hour": 0}, {"specs": None}, {"gpu_description": "N/A", "description": "cpu"}]
)
def test_type_without_a_price_or_a_card_is_left_out(changes):
    assert run(types(kind(**changes)), "offers", wanted()) == []


def test_what_lambda_lacks_is_not_asked_for():
    for lacking in (wanted(interruptible="only"), wanted(cpu=True), wanted(volume="v")):
        assert run(Scripted(), "offers", lacking) == []


def launched(*answers: httpx.Response, keys: list[dict[str, Any]] | None = None) -> Scripted:
    return Scripted().on(LAUNCH, *answers).on(KEYS, reply(200, {"data": keys or []}))


def what() -> Any:
    return order(offer("lambda", gpu="A100 40GB SXM", key="gpu_1x_a100_sxm4", place="us-east-1"), start="arm")


def test_launch_registers_the_key_under_a_name_made_from_it():
    scripted = launched(reply(200, {"data": {"instance_ids": ["i-1"]}})).on(
        "POST /api/v1/ssh-keys", reply(200, {"data": {}})
    )
    assert run(scripted, "create", what()).id == "i-1"
    name = scripted.body("POST /api/v1/ssh-keys")["name"]
    assert scripted.body(LAUNCH) == {
        "region_name": "us-east-1",
        "instance_type_name": "gpu_1x_a100_sxm4",
        "ssh_key_names": [name],
        "name": "lorry-a1b2c3d4-tiny",
        "user_data": "#!/bin/sh\n(\narm\n) &\n",
    }
    again = launched(reply(200, {"data": {"instance_ids": ["i-2"]}}), keys=[{"name": name}])
    assert run(again, "create", what()).id == "i-2"


def test_two_launches_keep_the_gap_that_lambda_asks_for():
    scripted = launched(reply(200, {"data": {"instance_ids": ["i-1"]}})).on(
        "POST /api/v1/ssh-keys", reply(200, {"data": {}})
    )
    provider = scripted.provider("lambda")

    async def twice() -> None:
        await provider.create(what())
        await provider.create(what())

    asyncio.run(twice())
    assert max(scripted.slept) > 11


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (error(400, "instance-operations/launch/insufficient-capacity"), Outcome.NO_CAPACITY),
        (error(400, "global/quota-exceeded"), Outcome.NOT_ALLOWED),
        (error(403, "global/account-inactive"), Outcome.NOT_ALLOWED),
        (error(400, "global/invalid-parameters"), Outcome.REQUEST_WRONG),
        (error(404, "global/object-does-not-exist"), Outcome.REQUEST_WRONG),
        (error(401, "global/invalid-api-key"), Outcome.KEY_REFUSED),
        (error(429, "global/rate"), Outcome.BUSY),
        (error(500, "global/internal-error"), Outcome.UNCERTAIN),
        (reply(200, {"data": {"instance_ids": []}}), Outcome.UNCERTAIN),
        (reply(200, {"data": {"instance_ids": [None]}}), Outcome.UNCERTAIN),
    ],
)
def test_every_answer_to_a_launch_has_its_outcome(answer, outcome):
    scripted = launched(answer).on("POST /api/v1/ssh-keys", error(400, "global/duplicate"))
    with pytest.raises(OutcomeError) as caught:
        run(scripted, "create", what())
    assert caught.value.outcome is outcome
    assert len(scripted.asked(LAUNCH)) == 1


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("booting", "starting"),
        ("active", "running"),
        ("unhealthy", "broken"),
        ("terminating", "broken"),
        ("terminated", "ended"),
        ("preempted", "ended"),
        ("new", "running"),
    ],
)
def test_every_status_has_its_state(status, state):
    row = {"id": "i-1", "name": "n", "ip": "1.2.3.4", "status": status, "instance_type": {"price_cents_per_hour": 199}}
    machine = run(Scripted().on("GET /api/v1/instances/i-1", reply(200, {"data": row})), "find", "i-1")
    assert machine.state == state
    assert machine.address == (Address("1.2.3.4", 22, "ubuntu") if state == "running" else None)


def test_machine_that_is_gone_is_none_and_ending_it_is_silent():
    scripted = Scripted().on("GET /api/v1/instances/i-1", error(404, "global/object-does-not-exist"))
    scripted.on("POST /api/v1/instance-operations/terminate", error(400, "global/object-does-not-exist"))
    assert run(scripted, "find", "i-1") is None
    assert run(scripted, "end", "i-1") is None
    assert scripted.body("POST /api/v1/instance-operations/terminate") == {"instance_ids": ["i-1"]}
