"""Leases in the store: written whole, found again, and not forgotten with a store that is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from lorry.errors import InputError
from lorry.track.leases import LeaseRow, Leases, VolumeRow
from lorry.track.store import Store


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
