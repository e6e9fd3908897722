"""A run on an emulated cloud, once for each thing that can go wrong: how it ends, what is left, what it cost."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

import emulated_runs as er
import sshd
from holding_proxy import HoldingProxy
from lorry import job
from lorry.compute.control.at_home import ask
from lorry.compute.control.controller import Settings
from lorry.compute.lease import Clock
from lorry.compute.machine import fetching
from lorry.compute.outcomes import Outcome, OutcomeError
from lorry.errors import LorryError, RefusedError, RunFailedError, StoppedError
from lorry.track.events import read
from lorry.trainer import checkpoint

pytestmark = [sshd.needed(), pytest.mark.slow]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory):
    with er.cloud(tmp_path_factory.mktemp("emulated")) as found:
        yield found


@pytest.fixture(autouse=True)
def _nothing_is_armed(cloud):
    yield
    cloud.control.disarm()
    cloud.control.settings(balance=1000)


# --- asking for a machine


def test_nothing_goes_wrong_and_all_comes_home(cloud, tmp_path):
    run = er.begin(tmp_path)
    assert er.train(run).kind == "finished"
    er.must_be_finished(run, cloud)
    assert er.lost(run) == []


def test_no_capacity_takes_the_next_offer(cloud, tmp_path):
    cloud.control.arm("no_capacity")
    run = er.begin(tmp_path)
    assert er.train(run).kind == "finished"
    er.must_be_finished(run, cloud)
    assert er.lost(run) == ["NO_CAPACITY"]
    assert [row.outcome for row in er.leases(run)] == ["NO_CAPACITY", "FINISHED"]


def test_account_that_may_not_rent_an_offer_takes_the_next(cloud, tmp_path):
    cloud.control.arm("status", status=403)
    run = er.begin(tmp_path)
    assert er.train(run).kind == "finished"
    er.must_be_finished(run, cloud)
    assert er.lost(run) == ["NOT_ALLOWED"]


@pytest.mark.parametrize(("status", "outcome"), [(402, "BALANCE_EMPTY"), (422, "REQUEST_WRONG")])
def test_request_that_no_offer_would_help_ends_the_run(cloud, tmp_path, status, outcome):
    cloud.control.arm("status", status=status)
    run = er.begin(tmp_path)
    with pytest.raises(RunFailedError) as caught:
        job.carry_on(run, lambda _event: None)
    assert caught.value.exit_code == 1
    assert caught.value.hint
    er.must_be_over(run, cloud, "failed")
    assert (er.lost(run), cloud.of_run(run.id)) == ([outcome], [])


def test_provider_that_asks_to_wait_is_asked_again_when_it_said(cloud, tmp_path):
    cloud.control.arm("status", status=429, retry_after=3)
    run = er.begin(tmp_path)
    assert er.train(run).kind == "finished"
    er.must_be_finished(run, cloud)
    refused, rented = er.told(run, "lost")[0], er.told(run, "rented")[0]
    assert rented.at - refused.at >= 3


def test_machine_that_was_made_without_an_answer_is_found_by_its_name(cloud, tmp_path):
    cloud.control.arm("created_but_500")
    run = er.begin(tmp_path)
    assert er.train(run).kind == "finished"
    er.must_be_finished(run, cloud)
    assert len(cloud.of_run(run.id)) == 1


def test_machine_whose_making_stays_unknown_is_ended_once_the_provider_answers(cloud, tmp_path):
    cloud.control.arm("created_but_500")
    cloud.control.arm("status", status=401, on="list")
    run = er.begin(tmp_path)
    er.train(run)
    er.until(lambda: all(one.is_over for one in cloud.of_run(run.id)))
    assert [row for row in er.leases(run) if row.is_open] == []


# --- until it trains


def test_machine_that_never_gets_ready_is_ended_and_the_next_offer_taken(cloud, tmp_path):
    cloud.control.arm("never_ready")
    run = er.begin(tmp_path)
    quick = replace(er.QUICK, patience=replace(er.QUICK.patience, ready=4))
    assert er.train(run, settings=quick).kind == "finished"
    er.must_be_finished(run, cloud)
    assert er.lost(run) == ["NEVER_READY"]
    first, second = er.leases(run)
    assert first.described != second.described


def test_image_that_cannot_start_ends_the_run_with_what_to_do(cloud, tmp_path):
    cloud.control.arm("image_broken")
    run = er.begin(tmp_path)
    last = er.train(run)
    er.must_be_over(run, cloud, "failed")
    assert er.lost(run) == ["IMAGE_BROKEN"]
    assert "compute.image" in last.data["hint"]


@pytest.mark.parametrize("gpu", ["", "NVIDIA RTX A4000"])
def test_machine_that_is_not_as_sold_is_ended_and_the_next_offer_taken(cloud, tmp_path, gpu):
    cloud.control.arm("not_as_sold", gpu=gpu)
    run = er.begin(tmp_path)
    assert er.train(run).kind == "finished"
    er.must_be_finished(run, cloud)
    assert er.lost(run) == ["NOT_AS_SOLD"]


def test_udp_port_that_comes_first_is_passed_over(cloud, tmp_path):
    cloud.control.arm("udp_port_first")
    run = er.begin(tmp_path)
    assert er.train(run).kind == "finished"
    er.must_be_finished(run, cloud)
    assert er.lost(run) == []


def test_ssh_that_is_refused_for_a_while_is_waited_for(cloud, tmp_path):
    cloud.control.arm("ssh_refused", seconds=2)
    run = er.begin(tmp_path)
    assert er.train(run).kind == "finished"
    er.must_be_finished(run, cloud)
    assert er.lost(run) == []


# --- while it trains


def on_machine(cloud, run, **fault):
    """Arms a fault of the machine that the run has now."""
    return lambda: cloud.control.arm(machine=cloud.of_run(run.id)[-1].id, **fault)


def test_connections_that_are_cut_lose_and_repeat_nothing(cloud, tmp_path):
    run = er.begin(tmp_path, steps=100)
    assert er.train(run, er.when(on_machine(cloud, run, kind="cut_connections"), step=10)).kind == "finished"
    now = er.must_be_finished(run, cloud, 100)
    assert {record.attempt for record in now.records.values()} == {1}
    assert len(er.told(run, "step")) == 100


def test_ssh_that_is_away_while_it_trains_is_waited_for(cloud, tmp_path):
    run = er.begin(tmp_path, steps=100)

    def act() -> None:
        on_machine(cloud, run, kind="ssh_refused", seconds=2)()
        on_machine(cloud, run, kind="cut_connections")()

    assert er.train(run, er.when(act, step=10)).kind == "finished"
    er.must_be_finished(run, cloud, 100)
    assert len(cloud.of_run(run.id)) == 1


def must_go_on_where_it_stood(run, lost_steps: int) -> None:
    """Each attempt begins at the newest checkpoint that is home, and loses at most so many steps."""
    told = list(read(run.folder.events))
    starts = [event for event in told if event.kind == "started"]
    assert len(starts) > 1
    for start in starts[1:]:
        before = [event for event in told if event.seq < start.seq]
        home = max((event.step or 0 for event in before if event.kind == "copied"), default=0)
        seen = max((event.step or 0 for event in before if event.kind == "step"), default=0)
        assert start.data["from_step"] >= home
        assert seen - start.data["from_step"] <= lost_steps


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        ({"kind": "interrupt"}, {"STOPPED", "PREEMPTED"}),
        ({"kind": "host_gone", "how": "error"}, {"HOST_LOST"}),
        ({"kind": "vanish"}, {"VANISHED"}),
    ],
    ids=["interrupted", "host-gone", "vanished"],
)
def test_machine_that_is_lost_costs_few_steps_and_another_goes_on(cloud, tmp_path, fault, outcome):
    run = er.begin(tmp_path, steps=150)
    assert er.train(run, er.when(on_machine(cloud, run, **fault), kind="copied")).kind == "finished"
    er.must_be_finished(run, cloud, 150)
    must_go_on_where_it_stood(run, 100)
    (befell,) = er.lost(run)
    assert befell in outcome
    assert len(cloud.of_run(run.id)) == 2


def test_machine_that_lies_loses_its_checkpoints_with_it(cloud, tmp_path):
    run = er.begin(tmp_path, steps=300)

    def lie() -> None:
        folder = Path(cloud.of_run(run.id)[-1].folder)
        path = next(folder.rglob(f"{run.id}/events.jsonl"))
        with path.open("a") as file:
            file.write('{"seq": 1000000, "at": 5, "kind": "returned", "data": {}}\n')

    assert er.train(run, er.when(lie, kind="copied")).kind == "finished"
    er.must_be_finished(run, cloud, 300)
    assert er.lost(run) == ["UNTRUSTED"]
    assert [event.data["from_step"] for event in er.told(run, "started")] == [0, 0], "nothing of it was sent on"
    assert list(run.folder.checkpoints.glob("untrusted-step-*"))


def test_host_that_is_gone_while_the_provider_says_it_runs_is_given_up(cloud, tmp_path):
    run = er.begin(tmp_path, steps=150)
    watch = er.when(on_machine(cloud, run, kind="host_gone", how="running"), kind="copied")
    quick = replace(er.QUICK, patience=replace(er.QUICK.patience, silence=2))
    assert er.train(run, watch, quick).kind == "finished"
    er.must_be_finished(run, cloud, 150)
    assert er.lost(run) == ["HOST_LOST"]


def test_interruption_at_a_step_goes_on_elsewhere(cloud, tmp_path):
    cloud.control.arm("interrupt", step=60)
    run = er.begin(tmp_path, steps=150)
    assert er.train(run).kind == "finished"
    er.must_be_finished(run, cloud, 150)
    must_go_on_where_it_stood(run, 100)


def test_machine_that_is_restarted_at_another_port_goes_on_or_is_replaced(cloud, tmp_path):
    cloud.control.arm("port_changed_after_restart", seconds=1)
    run = er.begin(tmp_path, steps=150)

    def restart() -> None:
        emulator = cloud.emulator
        machine = cloud.of_run(run.id)[-1].id
        headers = {"Authorization": f"Bearer {emulator.key}", "User-Agent": "tests"}
        url = f"{emulator.url}/v2/pods/{machine}/action"
        httpx.post(url, json={"action": "restart"}, headers=headers, trust_env=False).raise_for_status()

    assert er.train(run, er.when(restart, kind="copied")).kind == "finished"
    er.must_be_finished(run, cloud, 150)
    must_go_on_where_it_stood(run, 100)


def test_account_without_money_ends_the_run_and_says_so(cloud, tmp_path):
    run = er.begin(tmp_path, steps=1000)
    last = er.train(run, er.when(lambda: cloud.control.arm("balance_empty"), kind="copied"))
    er.must_be_over(run, cloud, "failed")
    assert "add money" in last.data["hint"]


def test_agent_that_is_killed_is_started_again_on_the_same_machine(cloud, tmp_path):
    run = er.begin(tmp_path, steps=150)
    watch = er.when(lambda: er.kill(cloud.agent(cloud.of_run(run.id)[-1])), kind="copied")
    assert er.train(run, watch).kind == "finished"
    now = er.must_be_over(run, cloud, "finished")
    begun_again = er.told(run, "started")[-1].data["from_step"]
    # The trainer saves the step that it was in when its agent was killed, and nobody is left to tell of it.
    assert {*range(1, 151)} - {*now.records} <= {begun_again}
    assert er.adapter_of(run) == 150
    assert len(cloud.of_run(run.id)) == 1


def test_connection_that_is_cut_while_the_adapter_is_fetched_is_made_again(cloud, tmp_path):
    run = er.begin(tmp_path)
    cut = on_machine(cloud, run, kind="cut_connections")
    cuts = [er.when(cut, kind="scored"), er.when(cut, kind="copied", step=40), er.when(cut, kind="copied", step=35)]
    assert er.train(run, lambda event: [one(event) for one in cuts] and None).kind == "finished"
    er.must_be_finished(run, cloud)
    assert er.lost(run) == []


def test_machine_whose_end_drags_on_harms_nothing_on_the_next_one(cloud, tmp_path):
    cloud.control.arm("delete_fails", times=3)
    run = er.begin(tmp_path, steps=150, budget={"usd": None})
    assert er.train(run, er.when(on_machine(cloud, run, kind="interrupt"), kind="copied")).kind == "finished"
    er.must_be_finished(run, cloud, 150)
    rented, returned = er.told(run, "rented"), er.told(run, "returned")
    assert rented[1].seq < returned[0].seq, "the next one is rented meanwhile"


# --- what ends it from outside


def later(clock: list[float]) -> Settings:
    """Settings whose clock is ahead by what the list holds."""
    return replace(er.QUICK, clock=Clock(now=lambda: time.time() + clock[0]))


def test_deadline_ends_the_machine_and_keeps_what_was_made(cloud, tmp_path):
    run = er.begin(tmp_path, steps=100_000, budget={"hours": 0.05})
    ahead = [0.0]
    last = er.train(run, er.when(lambda: ahead.__setitem__(0, 180.0), kind="copied"), later(ahead))
    assert (last.kind, last.data["cause"]) == ("stopped", "budget")
    er.must_be_over(run, cloud, "stopped")
    assert er.leases(run)[0].outcome == "DEADLINE"
    assert "checkpoint of step" in last.data["reason"]


def test_budget_ends_training_before_the_deadline_and_what_there_is_is_delivered(cloud, tmp_path):
    run = er.begin(tmp_path, steps=100_000, budget={"hours": 125 / 3600})
    ahead = [0.0]
    assert er.train(run, er.when(lambda: ahead.__setitem__(0, 92.0), kind="rented"), later(ahead)).kind == "finished"
    now = er.must_be_over(run, cloud, "finished")
    assert "limit of" in er.told(run, "limit")[0].data["message"]
    assert er.adapter_of(run) == max(now.records)
    assert [row.outcome for row in er.leases(run)] == ["FINISHED"]


def test_switch_that_tells_the_agent_to_end_at_the_deadline_is_no_preemption(cloud, tmp_path):
    run = er.begin(tmp_path, steps=100_000, budget={"hours": 125 / 3600})
    ahead = [0.0]

    def late() -> None:
        ahead[0] = 100.0  # within the margin, and before the controller cuts it short
        cloud.agent(cloud.of_run(run.id)[-1]).terminate()

    last = er.train(run, er.when(late, kind="copied"), later(ahead))
    assert (last.kind, last.data["cause"]) == ("stopped", "budget")
    assert [row.outcome for row in er.leases(run)] == ["DEADLINE"]
    assert er.lost(run) == []


def test_budget_that_pays_no_machine_rents_none(cloud, tmp_path):
    run = er.begin(tmp_path, budget={"usd": 0.001})
    with pytest.raises(RefusedError):
        job.carry_on(run, lambda _event: None)
    er.must_be_over(run, cloud, "stopped")
    assert er.leases(run) == []


@pytest.mark.parametrize("how", ["stop", "now"])
def test_stop_gives_the_machine_back(cloud, tmp_path, how):
    run = er.begin(tmp_path, steps=100_000)
    with pytest.raises(StoppedError) as caught:
        job.carry_on(run, er.when(lambda: ask(run.folder, how), kind="copied"))
    assert caught.value.exit_code == 130
    now = er.must_be_over(run, cloud, "stopped")
    assert now.latest["stopped"]["cause"] == "person" if "stopped" in now.latest else True


def test_stop_at_once_is_heard_while_the_adapter_is_fetched(cloud, tmp_path, monkeypatch):
    run = er.begin(tmp_path)

    async def endless(*_: object) -> int:
        ask(run.folder, "now")
        await asyncio.sleep(60)
        return 0

    monkeypatch.setattr(fetching, "fetch_result", endless)
    began = time.monotonic()
    with pytest.raises(StoppedError):
        job.carry_on(run, lambda _event: None)
    assert time.monotonic() - began < 40
    assert er.must_be_over(run, cloud, "stopped").latest["stopped"]["cause"] == "person"


def test_adapter_that_this_computer_has_no_room_for_is_fetched_once_there_is(cloud, tmp_path, monkeypatch):
    fetch, tried = fetching.fetch_result, []

    async def full_at_first(*given: Any) -> int:
        tried.append(given)
        if len(tried) == 1:
            raise LorryError("no room on this computer")
        return await fetch(*given)

    monkeypatch.setattr(fetching, "fetch_result", full_at_first)
    run = er.begin(tmp_path)
    assert er.train(run).kind == "finished"
    er.must_be_finished(run, cloud)
    assert "no room on this computer; tried again until" in er.told(run, "warning")[0].data["message"]


def test_run_whose_adapter_there_is_never_room_for_fails_and_gives_the_machine_back(cloud, tmp_path, monkeypatch):
    async def full(*_: Any) -> int:
        raise LorryError("no room on this computer")

    monkeypatch.setattr(fetching, "fetch_result", full)
    run = er.begin(tmp_path, compute={"grace_minutes": 0.02})
    with pytest.raises(RunFailedError, match="no room on this computer"):
        job.carry_on(run, lambda _event: None)
    er.must_be_over(run, cloud, "failed")


def test_what_a_lying_machine_brought_is_put_aside_also_where_the_run_was_stopped(cloud, tmp_path, monkeypatch):
    async def untrusted(*_: Any) -> int:
        raise OutcomeError(Outcome.UNTRUSTED)

    monkeypatch.setattr(fetching, "fetch_result", untrusted)
    run = er.begin(tmp_path, steps=100_000)
    with pytest.raises(StoppedError):
        job.carry_on(run, er.when(lambda: ask(run.folder, "stop"), kind="copied"))
    assert checkpoint.steps(run.folder.checkpoints) == []
    assert list(run.folder.checkpoints.glob("untrusted-*"))


def test_deletion_that_fails_is_tried_until_it_is_confirmed(cloud, tmp_path):
    cloud.control.arm("delete_fails", times=3)
    run = er.begin(tmp_path)
    assert er.train(run).kind == "finished"
    er.must_be_finished(run, cloud)


# --- a controller that dies


def test_controller_that_is_killed_is_replaced_where_the_run_stood(cloud, tmp_path):
    run = er.begin(tmp_path, steps=300)
    with er.controlled(run) as process:
        er.until(lambda: er.told(run, "copied"))
        process.kill()
    assert er.train(run).kind == "finished"
    er.must_be_finished(run, cloud, 300)
    assert len(cloud.of_run(run.id)) == 1
    assert len(er.told(run, "step")) == 300, "nothing is lost or repeated"


def test_machine_that_never_gets_ready_is_not_waited_for_anew_by_each_controller(cloud, tmp_path):
    cloud.control.arm("never_ready")
    run = er.begin(tmp_path)
    with er.controlled(run) as process:
        er.until(lambda: er.told(run, "rented"))
        process.kill()
    patience = replace(er.QUICK.patience, ready=20)
    assert er.train(run, settings=replace(later([60.0]), patience=patience)).kind == "finished"
    assert er.lost(run) == ["NEVER_READY"]
    assert er.told(run, "lost")[0].at - er.told(run, "rented")[0].at < 20


def test_controller_that_dies_before_a_machine_is_answered_loses_no_machine(cloud, tmp_path, monkeypatch):
    with HoldingProxy(cloud.emulator.url, b"POST /v2/pods") as proxy:
        monkeypatch.setenv("RUNPOD_API_URL", f"{proxy.url}/v2")
        run = er.begin(tmp_path)
        with er.controlled(run) as process:
            er.until(proxy.held.is_set)
            process.kill()
        assert [row.state for row in er.leases(run)] == ["asked"]
        er.until(lambda: cloud.of_run(run.id))
        assert er.train(run).kind == "finished"
    er.must_be_finished(run, cloud)
    assert len(cloud.of_run(run.id)) == 1


def test_controller_that_dies_while_a_machine_is_ended_rents_no_other(cloud, tmp_path):
    cloud.control.arm("delete_fails", times=4)
    run = er.begin(tmp_path)
    with er.controlled(run) as process:
        er.until(lambda: [row for row in er.leases(run) if row.state == "ending"])
        process.kill()
    assert not er.told(run, "returned")
    assert er.train(run).kind == "finished"
    er.must_be_finished(run, cloud)
    assert len(cloud.of_run(run.id)) == 1


@pytest.mark.slow
def test_machine_whose_controller_never_comes_back_ends_itself_at_its_deadline(cloud, tmp_path):
    run = er.begin(tmp_path, steps=100_000, budget={"hours": 122 / 3600})
    with er.controlled(run) as process:
        er.until(lambda: er.told(run, "copied"))
        process.kill()
    deadline = er.leases(run)[0].deadline or 0
    er.until(lambda: cloud.of_run(run.id)[0].is_over, seconds=200)
    assert (cloud.of_run(run.id)[0].ended or 0) <= deadline + 60
    assert er.train(run).kind in ("stopped", "finished")
    er.must_be_paid(run, cloud)
