"""Rented runs on emulated clouds with faults drawn at random: each ends as it must, and nothing is left or lost.

`LORRY_CHAOS_SEED` draws other faults, `LORRY_CHAOS_RUNS` another number of runs.
"""

from __future__ import annotations

import os
import random
import time

import pytest

import emulated_runs as er
import hired
import remote_plans
import sshd
from lorry.track.folder import RunFolder
from lorry.track.leases import Leases
from lorry.track.run import Run
from lorry.track.store import Store
from remote_havoc import Campaign, faults_of, told
from remote_plans import Plan
from tiny_runs import train_here

pytestmark = sshd.needed()
SEED = int(os.environ.get("LORRY_CHAOS_SEED", "1"))
RUNS = int(os.environ.get("LORRY_CHAOS_RUNS", "90"))
"""With scripted trainers; a ninth as many train."""


def must_end_well(campaign: Campaign, plans: list[Plan], *, seconds: float, calm: bytes = b"") -> None:
    began = time.monotonic()
    under = campaign.carry_out(plans, seconds=seconds)
    print(f"\n{told(campaign, under, time.monotonic() - began)}")
    faults = faults_of(campaign, under, calm)
    assert not faults, "\n".join(faults)


def test_eight_runs_with_random_faults_end_as_they_must(tmp_path):
    plans = [remote_plans.drawn(7, number, longest=100) for number in range(8)]
    with er.cloud(tmp_path, pace=0.04) as cloud:
        campaign = Campaign(tmp_path, {"runpod": cloud}, 7, controller_lives=(15, 25), server_lives=(20, 30))
        must_end_well(campaign, plans, seconds=300)  # 45 on two quiet cores


@pytest.mark.chaos
def test_ninety_scripted_runs_with_random_faults_end_as_they_must(tmp_path):
    few = max(1, RUNS // 30)
    plans = [remote_plans.limited(SEED, number, hangs=hangs) for number in range(few) for hangs in (True, False)]
    clouds = ("runpod", "runpod", "vast")
    plans += [remote_plans.drawn(SEED, number, clouds=clouds) for number in range(RUNS - len(plans))]
    with er.cloud(tmp_path / "a", pace=0.1) as runpod, er.cloud(tmp_path / "b", "vast", pace=0.1) as vast:
        campaign = Campaign(tmp_path, {"runpod": runpod, "vast": vast}, SEED)
        must_end_well(campaign, plans, seconds=2400)


@pytest.mark.chaos
def test_lorry_run_that_is_killed_at_any_moment_leaves_a_run_that_goes_on_or_nothing(tmp_path, lorry_home):
    draw = random.Random(f"{SEED}/lorry run")
    with hired.cloud(tmp_path / "cloud", pace=0.1) as cloud:
        person = hired.Person(tmp_path, lorry_home, cloud.variables)
        try:
            for _ in range(max(2, RUNS // 15)):
                process = person.begin("run", person.recipe(steps=300), "--yes")
                time.sleep(draw.uniform(0.3, 20))
                assert process.poll() is None, person.said(process)
                process.kill()
                process.wait()
            over = person.lorry("controller", "--until-idle")
            assert over.returncode == 0, over.stderr
            runs = [Run(RunFolder(row.folder)) for row in Store.open().list()]
            print(
                f"\n{len(person.processes)} killed, {len(runs)} had begun a run, {len(cloud.control.machines())} machines"
            )
            assert {er.adapter_of(run) for run in runs} == {300}
            assert Leases.open().opened() == []
            cloud.control.wait(lambda _: not cloud.control.left(), seconds=20)
        finally:
            person.end()


@pytest.mark.chaos
def test_ten_real_trainings_with_random_faults_end_with_the_undisturbed_adapter(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    plans = [remote_plans.real(SEED, number) for number in range(max(1, RUNS // 9))]
    with er.cloud(tmp_path, scripted=False, environment={"OMP_NUM_THREADS": "1"}) as cloud:
        campaign = Campaign(tmp_path, {"runpod": cloud}, SEED, at_once=3)
        must_end_well(campaign, plans, seconds=1200, calm=undisturbed(campaign, plans[0]))


def undisturbed(campaign: Campaign, plan: Plan) -> bytes:
    """The adapter of the same recipe, trained here."""
    run = train_here({**campaign.recipe(plan), "compute": {}, "budget": {}})
    return (run.adapter / "adapter_model.safetensors").read_bytes()
