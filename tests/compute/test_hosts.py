"""A person's own hosts: which key was known, and what is found at each before a run."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import borrowed
import sshd
from lorry.compute import hosts, market
from lorry.errors import InputError, RefusedError
from lorry.recipe.compute_on import providers_of
from lorry.track.leases import Leases
from renting import lease, open_lease

OTHER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJqk1lJDpCe4w6Qk2J8CqZgMZ8WnYQYkmm1bVZbV0cUO"


def look(*names: str) -> list[str]:
    return asyncio.run(hosts.look_at(market.providers(providers_of([f"ssh:{name}" for name in names]))))


def test_last_key_is_the_known_one():
    leases = Leases.open()
    leases.add(lease("lorry-1", provider="ssh", machine_id="a@h", host_key="one", asked_at=1.0))
    leases.add(lease("lorry-2", provider="ssh", machine_id="a@h", host_key="two", asked_at=2.0))
    leases.add(lease("lorry-3", provider="runpod", machine_id="a@h", host_key="three", asked_at=3.0))
    assert hosts.known_key(leases, "a@h") == "two"
    assert hosts.known_key(leases, "b@h") == ""


def test_forgotten_key_is_known_no_more_but_for_a_machine_in_use():
    leases = Leases.open()
    leases.add(lease("lorry-1", provider="ssh", machine_id="a@h", host_key="one"))
    leases.add(open_lease("lorry-2", provider="ssh", machine_id="b@h", host_key="two"))
    assert hosts.forget(leases, "a@h")
    assert not hosts.forget(leases, "a@h")
    assert not hosts.forget(leases, "b@h")
    assert (hosts.known_key(leases, "a@h"), hosts.known_key(leases, "b@h")) == ("", "two")


@sshd.needed()
def test_one_host_of_a_pool_that_does_not_answer_is_only_told(tmp_path: Path):
    with borrowed.host(tmp_path) as machine:
        assert look(machine.name) == []
        (told,) = look(machine.name, "me@127.0.0.1:1")
        assert "me@127.0.0.1:1" in told
    with pytest.raises(InputError, match=r"127\.0\.0\.1:1"):
        look("me@127.0.0.1:1")


@sshd.needed()
def test_one_host_of_a_pool_with_another_key_is_refused(tmp_path: Path):
    with borrowed.host(tmp_path) as machine:
        Leases.open().add(lease("lorry-1", provider="ssh", machine_id=machine.name, host_key=OTHER))
        with pytest.raises(RefusedError, match="another host key"):
            look(machine.name, "me@127.0.0.1:1")


def test_provider_that_rents_has_no_hosts_to_look_at():
    assert asyncio.run(hosts.look_at(market.providers(providers_of(["runpod"])))) == []
