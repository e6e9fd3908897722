"""Vast.ai: the market, bids, and what becomes of instances."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import subprocess
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from lorry.compute.outcomes import Outcome, OutcomeError
from lorry.compute.providers import vast
from lorry.compute.providers._base import Address
from lorry.plan import gpus
from lorry.plan.cost import Interruptions
from lorry.plan.ranges import Range
from scripted import SECRET, Scripted, offer, order, reply, wanted

SEARCH, LIST = "POST /api/v0/bundles/", "GET /api/v1/instances/"


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAST_API_KEY", SECRET)
    monkeypatch.delenv("VAST_URL", raising=False)


def ask(**changes: Any) -> dict[str, Any]:
    given = {"id": 77, "machine_id": 5, "gpu_name": "RTX 4090", "num_gpus": 1, "gpu_ram": 24564, "dph_total": 0.31}
    return {**given, "dph_base": 0.29, "min_bid": 0.12, "geolocation": "Sweden, SE", **changes}


def instance(**changes: Any) -> dict[str, Any]:
    return {
        "id": 1234,
        "label": "lorry-a1b2c3d4-tiny",
        "actual_status": "running",
        "cur_state": "running",
        "intended_status": "running",
        "public_ipaddr": "81.2.3.4 ",
        "ports": {"22/tcp": [{"HostIp": "0.0.0.0", "HostPort": "41022"}]},  # noqa: S104 - as Vast.ai answers
        "ssh_host": "ssh5.vast.ai",
        "ssh_port": 21234,
        "dph_total": 0.31,
        "storage_cost": 0.2,
        "disk_space": 73.0,
        "is_bid": False,
        "status_msg": "success",
        "start_date": 1780315200.5,
        **changes,
    }


def run(scripted: Scripted, method: str, *arguments: Any, **settings: Any) -> Any:
    return asyncio.run(getattr(scripted.provider("vast", **settings), method)(*arguments))


def market(on_demand: list[dict[str, Any]], bids: list[dict[str, Any]] | None = None) -> Scripted:
    def answer(request: httpx.Request) -> httpx.Response:
        return reply(200, {"offers": on_demand if json.loads(request.content)["type"] == "on-demand" else bids or []})

    return Scripted().on(SEARCH, answer)


def test_market_on_demand_is_offered_the_cheapest_first():
    found = run(market([ask(id=1, dph_total=0.5), ask(id=2, dph_total=0.3)]), "offers", wanted("RTX 4090"))
    assert [(one.key, one.usd_per_hour.likely, one.tier, one.interruptible) for one in found] == [
        ("2", 0.3, "on demand", False),
        ("1", 0.5, "on demand", False),
    ]
    assert (found[0].machine, found[0].place, found[0].name) == ("5", "Sweden, SE", "vast on demand, RTX 4090")


def test_search_asks_for_the_gpus_names_at_vast_and_for_hosts_that_can_be_reached():
    scripted = market([])
    run(scripted, "offers", wanted("A100-80GB", "RTX 6000 Ada", disk_gb=80), countries=["SE"])
    asked = scripted.body(SEARCH)
    assert asked["gpu_name"] == {"in": ["RTX 6000Ada", "A100 PCIE", "A100 SXM4"]}
    assert (asked["allocated_storage"], asked["disk_space"]) == (80, {"gte": 80})
    assert (asked["verified"], asked["direct_port_count"]) == ({"eq": True}, {"gte": 1})
    assert asked["geolocation"] == {"in": ["SE"]}


def test_gpu_that_vast_has_not_is_not_searched_for():
    assert run(Scripted(), "offers", wanted("A10G")) == []


@pytest.mark.parametrize("name", vast._NAMES)
def test_every_name_of_the_market_that_the_catalog_has_means_cards_of_that_name(name):
    digits = "".join(char for char in name if char.isdigit())
    assert all(digits in spec.name for spec in vast._meant(name) if "SXM4" not in name)


def test_most_of_the_catalog_is_to_be_had_by_name():
    known = {spec for name in vast._NAMES for spec in vast._meant(name)}
    wanted_cards = {
        gpus.get(name) for name in ("RTX 4080 Super", "RTX 4090", "L40S", "H100 SXM", "H200 SXM", "B200", "T4")
    }
    assert wanted_cards <= known
    assert len(known) > 50


def test_memory_tells_cards_of_one_name_apart():
    rows = [ask(id=1, gpu_name="A100 SXM4", gpu_ram=40960), ask(id=2, gpu_name="A100 SXM4", gpu_ram=81920)]
    found = {one.key: one.gpu.name for one in run(market(rows), "offers", wanted())}
    assert found == {"1": "A100 40GB SXM", "2": "A100 80GB SXM"}


@pytest.mark.parametrize(
    "changes",
    [
        {"id": None},
        {"gpu_name": "Riva TNT"},
        {"gpu_name": 5},
        {"dph_total": 0},
        {"dph_total": "x"},
        {"num_gpus": 2},
        {"gpu_ram": -1, "gpu_name": "A100 SXM4"},
    ],
)
def test_offer_that_is_none_is_left_out(changes):
    assert run(market([ask(**changes), 7, None]), "offers", wanted()) == []


def test_bid_costs_what_the_machine_goes_for_and_knows_its_price_on_demand():
    found = run(
        market([ask()], [ask(dph_total=0.14, dph_base=0.12)]), "offers", wanted("RTX 4090", interruptible="prefer")
    )
    assert [one.tier for one in found] == ["bid", "on demand"]
    assert found[0].usd_per_hour.likely == pytest.approx(0.14)
    assert found[0].on_demand == 0.31
    assert isinstance(found[0].terms.interruptions, Interruptions)
    only = run(market([ask()], [ask(min_bid=0.12)]), "offers", wanted("RTX 4090", interruptible="only"))
    assert [one.tier for one in only] == ["bid"]


def test_broken_price_list_leaves_a_guess_of_interruptions(lorry_home):
    lorry_home.mkdir()
    (lorry_home / "prices.yaml").write_text("[")
    assert vast._interruptions().per_hour == Range(0.01, 0.05, 0.25)


def test_daily_quota_of_searches_is_waited_for_until_midnight():
    scripted = Scripted().on(SEARCH, reply(429, {"error": "search_quota_exceeded"}))
    with pytest.raises(OutcomeError) as caught:
        run(scripted, "offers", wanted())
    assert caught.value.outcome is Outcome.BUSY
    assert 0 < caught.value.retry_after <= 86400
    assert len(scripted.requests) <= 6
    assert vast.seconds_to_midnight(datetime(2026, 11, 30, 23, 59, 30, tzinfo=UTC)) == 30


def test_offer_whose_host_speaks_of_the_quota_keeps_no_other_from_being_found():
    rows = [ask(geolocation="search_quota_exceeded")]
    assert len(run(market(rows), "offers", wanted())) == 1


CREATE = "PUT /api/v0/asks/77/"


def creating(answer: httpx.Response, **changes: Any) -> tuple[Scripted, Any]:
    scripted = Scripted().on(CREATE, answer).on("DELETE /api/v0/instances/900/", reply(200, {"success": True}))
    return scripted, order(offer("vast", key="77"), **changes)


def test_create_asks_for_what_the_reference_tells():
    scripted, asked = creating(
        reply(200, {"success": True, "new_contract": 900, "instance_api_key": "x"}), bid=0.2, start="arm"
    )
    made = run(scripted, "create", asked)
    assert (made.id, made.name, made.state, made.usd_per_hour) == ("900", asked.name, "starting", 0.2)
    body = scripted.body(CREATE)
    onstart = body.pop("onstart")
    assert body == {
        "client_id": "me",
        "image": "img:1",
        "env": {"PUBLIC_KEY": "ssh-ed25519 AAAA lorry"},
        "price": 0.2,
        "disk": 50.0,
        "label": "lorry-a1b2c3d4-tiny",
        "runtype": "ssh_direc ssh_proxy",
        "cancel_unavail": True,
    }
    assert onstart.startswith("(\narm\n) &\n")


def test_key_may_log_in_once_it_has_started_and_stands_there_once(tmp_path):
    scripted, asked = creating(reply(200, {"success": True, "new_contract": 900}), start="touch armed; exit 1")
    run(scripted, "create", asked)
    given = {"HOME": str(tmp_path), "PUBLIC_KEY": "ssh-ed25519 AAAA lorry", "PATH": os.environ["PATH"]}
    for _ in range(2):
        subprocess.run(
            ["sh", "-c", scripted.body(CREATE)["onstart"] + "\nwait"], env=given, cwd=tmp_path, timeout=20, check=True
        )
    assert (tmp_path / ".ssh" / "authorized_keys").read_text() == "ssh-ed25519 AAAA lorry\n"
    assert (tmp_path / "armed").exists()


def failed(answer: httpx.Response, **changes: Any) -> tuple[Outcome, Scripted]:
    scripted, asked = creating(answer, **changes)
    with pytest.raises(OutcomeError) as caught:
        run(scripted, "create", asked)
    return caught.value.outcome, scripted


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (
            reply(
                410,
                {"success": False, "error": "invalid_args", "msg": "error 404/3603: no_such_ask 77 is not available"},
            ),
            Outcome.NO_CAPACITY,
        ),
        (reply(400, {"success": False, "msg": "no_such_ask"}), Outcome.NO_CAPACITY),
        (reply(404, {"success": False, "error": "no_such_ask"}), Outcome.NO_CAPACITY),
        (reply(200, {"success": False, "msg": "machine is already rented"}), Outcome.NO_CAPACITY),
        (
            reply(400, {"success": False, "error": "insufficient_credit", "msg": "Your account lacks credit"}),
            Outcome.BALANCE_EMPTY,
        ),
        (reply(402, {"msg": "pay"}), Outcome.BALANCE_EMPTY),
        (reply(403, {"msg": "not allowed"}), Outcome.NOT_ALLOWED),
        (reply(400, {"success": False, "error": "invalid_args", "msg": "bad image"}), Outcome.REQUEST_WRONG),
        (reply(401, {"msg": "bad key"}), Outcome.KEY_REFUSED),
        (reply(500, {"msg": "oops"}), Outcome.UNCERTAIN),
        (reply(200, {"success": True}), Outcome.UNCERTAIN),
        (httpx.Response(200, content=b"<html>"), Outcome.UNCERTAIN),
    ],
)
def test_every_answer_to_a_create_has_its_outcome(answer, outcome):
    assert failed(answer)[0] is outcome


@pytest.mark.parametrize(
    "answer",
    [
        reply(400, {"success": False, "error": "bid_too_low", "new_contract": 900}),
        reply(200, {"success": False, "msg": "your bid is below the current price", "new_contract": 900}),
    ],
)
def test_instance_that_a_low_bid_leaves_is_destroyed(answer):
    outcome, scripted = failed(answer, bid=0.01)
    assert outcome is Outcome.BID_TOO_LOW
    assert len(scripted.asked("DELETE /api/v0/instances/900/")) == 1


def test_instance_that_cannot_be_destroyed_after_a_low_bid_leaves_it_open():
    scripted, asked = creating(reply(400, {"error": "bid_too_low", "new_contract": 901}), bid=0.01)
    scripted.on("DELETE /api/v0/instances/901/", reply(500, {"msg": "oops"}))
    with pytest.raises(OutcomeError, match="901") as caught:
        run(scripted, "create", asked)
    assert caught.value.outcome is Outcome.UNCERTAIN


def found(**changes: Any) -> Any:
    scripted = Scripted().on("GET /api/v0/instances/1234/", reply(200, {"instances": instance(**changes)}))
    return run(scripted, "find", "1234")


STOPPED = {"actual_status": "stopped", "cur_state": "stopped", "intended_status": "stopped"}


@pytest.mark.parametrize(
    ("changes", "state", "preempted"),
    [
        ({}, "running", False),
        ({"actual_status": None, "cur_state": "running"}, "starting", False),
        ({"actual_status": "loading"}, "starting", False),
        ({"actual_status": "created"}, "starting", False),
        ({"actual_status": "exited"}, "stopped", False),
        (STOPPED, "stopped", False),
        ({**STOPPED, "is_bid": True}, "stopped", True),
        ({"actual_status": "offline"}, "broken", False),
        ({"actual_status": 5, "cur_state": []}, "starting", False),
    ],
)
def test_every_status_has_its_state(changes, state, preempted):
    machine = found(**changes)
    assert (machine.state, machine.preempted) == (state, preempted)
    assert (machine.address is not None) == (state == "running")


def test_stopped_instance_bills_its_disk_and_tells_an_empty_balance():
    machine = found(**STOPPED, is_bid=True, status_msg="stopped: insufficient credit")
    assert machine.usd_per_hour == pytest.approx(0.02)
    assert (machine.preempted, machine.balance_empty) == (False, True)


@pytest.mark.parametrize(
    ("changes", "address"),
    [
        ({}, Address("81.2.3.4", 41022, "root")),
        ({"ports": None}, Address("ssh5.vast.ai", 21234, "root")),
        ({"ports": {"22/tcp": None}, "ssh_port": "99999999"}, None),
        ({"ports": {"22/udp": [{"HostPort": "9"}]}, "ssh_host": None}, None),
        ({"public_ipaddr": None, "ssh_port": -1}, None),
    ],
)
def test_address_is_the_machines_own_port_else_the_proxys(changes, address):
    assert found(**changes).address == address


@pytest.mark.parametrize("answer", [reply(200, {"instances": None}), reply(404, {"error": "no_such_instance"})])
def test_instance_that_is_gone_is_none_and_ending_it_is_silent(answer):
    scripted = Scripted().on("GET /api/v0/instances/9/", answer)
    scripted.on("DELETE /api/v0/instances/9/", reply(404, {"success": False, "error": "no_such_instance"}))
    assert run(scripted, "find", "9") is None
    assert run(scripted, "end", "9") is None


@pytest.mark.parametrize(
    "answer",
    [
        reply(400, {"success": False, "error": "invalid_args", "msg": "error 404/3603: no_such_instance 9"}),
        reply(200, {"success": False, "error": "no_such_instance"}),
    ],
)
def test_instance_that_is_gone_is_told_with_several_statuses(answer):
    scripted = Scripted().on("GET /api/v0/instances/9/", answer).on("DELETE /api/v0/instances/9/", answer)
    assert run(scripted, "find", "9") is None
    assert run(scripted, "end", "9") is None


def test_host_that_says_its_instance_is_gone_is_not_believed():
    assert found(status_msg="no_such_instance").state == "running"


def test_refused_end_that_repeats_what_a_host_says_is_no_end():
    told = {"success": False, "msg": "locked", "instances": instance(status_msg="no_such_instance")}
    with pytest.raises(OutcomeError, match="locked"):
        run(Scripted().on("DELETE /api/v0/instances/9/", reply(200, told)), "end", "9")


@pytest.mark.parametrize("answer", [reply(200, {}), reply(200, {"instances": []}), httpx.Response(404, text="<html>")])
def test_answer_that_tells_nothing_is_no_proof_that_it_is_gone(answer):
    with pytest.raises(OutcomeError) as caught:
        run(Scripted().on("GET /api/v0/instances/9/", answer), "find", "9")
    assert caught.value.outcome is Outcome.API_DOWN


def test_end_that_fails_in_a_success_is_an_error():
    with pytest.raises(OutcomeError, match="locked"):
        run(Scripted().on("DELETE /api/v0/instances/9/", reply(200, {"success": False, "msg": "locked"})), "end", "9")


def test_list_goes_through_all_pages():
    pages = [
        reply(200, {"instances": [instance(id=n)], "next_token": token}) for n, token in ((1, "a"), (2, "b"), (3, None))
    ]
    scripted = Scripted().on(LIST, *pages)
    assert [one.id for one in run(scripted, "list")] == ["1", "2", "3"]
    assert [one.url.params.get("after_token") for one in scripted.requests] == [None, "a", "b"]


def test_list_whose_pages_repeat_comes_to_an_end():
    scripted = Scripted().on(LIST, reply(200, {"instances": [instance()], "next_token": "same"}))
    assert len(run(scripted, "list")) == 1


def test_start_that_has_to_wait_for_its_gpu_says_so():
    scripted = Scripted().on("PUT /api/v0/instances/9/", reply(200, {"success": False, "msg": "resources unavailable"}))
    with pytest.raises(OutcomeError) as caught:
        run(scripted, "start", "9")
    assert caught.value.outcome is Outcome.NO_CAPACITY
    assert scripted.body("PUT /api/v0/instances/9/") == {"state": "running"}


def test_account_is_told_without_the_key_that_the_answer_holds():
    data = {"email": "a@example.com", "credit": 12.5, "api_key": SECRET}
    told = run(Scripted().on("GET /api/v0/users/current/", reply(200, data)), "account")
    assert told == "a@example.com, 12.50 USD of credit"


def test_machine_ends_itself_with_its_own_key():
    command = Scripted().provider("vast").ends_itself
    assert shlex.quote("https://console.vast.ai/api/v0/instances/").strip("'") in command
    assert "CONTAINER_API_KEY" in command
    assert "VAST_API_KEY" not in command
