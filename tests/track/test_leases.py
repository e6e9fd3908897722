"""Leases in the store: written whole, found again, and not forgotten with a store that is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from lorry.errors import InputError
from lorry.track.leases import LeaseRow, Leases, VolumeRow
from lorry.track.store import Store
from renting import lease

_OLDER_VOLUMES = """CREATE TABLE volumes (
    id VARCHAR NOT NULL, provider VARCHAR NOT NULL, name VARCHAR, gb INTEGER, place VARCHAR, usd_per_month FLOAT,
    created_at FLOAT, deleted_at FLOAT, settings JSON, PRIMARY KEY (id, provider)
)"""


def row(name: str = "lorry-1", **changes: object) -> LeaseRow:
    return LeaseRow(name, "run-1", 1, "runpod", {"cloud": "community"}, asked_at=1.0, **changes)  # type: ignore[arg-type]


def test_row_comes_back_as_it_was_written():
    Leases.open().add(row(prices=[[2.0, 0.0, 0.1]], interruptible=True))
    assert Leases.open().get("lorry-1") == row(prices=[[2.0, 0.0, 0.1]], interruptible=True)


def test_name_is_used_once():
    Leases.open().add(row())
    with pytest.raises(InputError, match="already"):
        Leases.open().add(row())


def test_open_leases_are_those_that_may_bill():
    leases = Leases.open()
    for name, state in (("a", "asked"), ("b", "rented"), ("c", "ending"), ("d", "ended")):
        leases.add(row(name, state=state))
    assert [one.name for one in leases.opened()] == ["a", "b", "c"]


def test_store_that_is_lost_takes_no_lease_with_it(lorry_home: Path):
    leases = Leases.open()
    leases.add(row("lorry-1"))
    leases.change("lorry-1", state="rented", machine_id="m1", rented_at=2.0)
    (lorry_home / "lorry.db").write_bytes(b"damaged")
    Store.rebuild()
    assert Leases.open().opened() == [row("lorry-1", state="rented", machine_id="m1", rented_at=2.0)]


def test_copy_that_cannot_be_read_is_passed_over(lorry_home: Path):
    Leases.open().add(row())
    (lorry_home / "leases" / "other.json").write_text("{")
    (lorry_home / "leases" / "third.json").write_text("[1]")
    Store.rebuild()
    assert [one.name for one in Leases.open().opened()] == ["lorry-1"]


def test_volume_is_there_until_it_is_deleted():
    leases = Leases.open()
    leases.add_volume(VolumeRow("v1", "runpod", "models", 50, "EU-RO-1", 3.5, 1.0))
    leases.volume_deleted("runpod", "v1", 9.0)
    (found,) = leases.volumes()
    assert (found.name, found.deleted_at) == ("models", 9.0)


def test_volumes_of_an_older_store_are_of_an_account_that_is_not_known():
    store = Store.open()
    with store.connection() as connection:
        connection.exec_driver_sql(_OLDER_VOLUMES)
        connection.exec_driver_sql(
            "INSERT INTO volumes VALUES ('v1', 'runpod', 'models', 50, 'EU', 3.5, 1.0, NULL, '{}')"
        )
    leases = Leases(store)
    assert [(one.id, one.account) for one in leases.volumes()] == [("v1", "")]
    leases.add_volume(VolumeRow("v2", "runpod", "rows", 50, "EU", 3.5, 1.0, account="0123456789ab"))
    assert [one.account for one in Leases(store).volumes()] == ["", "0123456789ab"]


def test_place_of_a_run_is_that_of_its_last_machine_or_of_the_one_that_was_handed_to_it():
    leases = Leases.open()
    leases.add(lease("lorry-1", run_id="a", provider="runpod", gpu="RTX 4090", asked_at=1.0))
    leases.add(lease("lorry-2", run_id="a", provider="vast", gpu="A100 80GB", asked_at=2.0, runs=[[3.0, "b"]]))
    leases.add(lease("lorry-3", run_id="c", provider="ssh", machine_id="me@box", asked_at=3.0))
    leases.add(lease("lorry-4", run_id="d", machine_id="", asked_at=4.0))
    wanted = {"a": "vast, A100 80GB", "b": "vast, A100 80GB", "c": "ssh:me@box"}
    assert leases.places(["a", "b", "c", "d"]) == wanted
    assert leases.places([str(number) for number in range(1000)]) == wanted
