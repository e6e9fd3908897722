"""Rows that are written together."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from lorry.compute.control.rows import Rows
from lorry.errors import LorryError
from lorry.track.store import Store


def store(path: Path, *ids: str) -> Store:
    found = Store.open(path / "lorry.db")
    for one in ids:
        found.add(one, name=one, folder=path / one, model="tiny", method="sft", created_at=1.0)
    return found


def test_changes_are_written_together_the_last_one_of_each(tmp_path):
    found = store(tmp_path, "a", "b")
    rows = Rows(found)
    rows.note("a", status="running", step=1, loss=2.0)
    rows.note("a", step=2)
    rows.note("b", status="running")
    assert found.find("a").step is None
    rows.write()
    assert (found.find("a").status, found.find("a").step, found.find("a").loss) == ("running", 2, 2.0)
    assert found.find("b").status == "running"


def test_row_of_a_run_that_is_held_is_of_now_also_where_nothing_is_new(tmp_path):
    found = store(tmp_path, "a", "b")
    rows = Rows(found)
    rows.held.add("a")
    rows.write()
    assert time.time() - found.find("a").updated_at < 5
    assert found.find("b").updated_at == 1.0


def test_nothing_is_written_twice_so_that_a_later_status_stays(tmp_path):
    found = store(tmp_path, "a")
    rows = Rows(found)
    rows.note("a", status="running")
    rows.write()
    found.update("a", status="finished")
    rows.write()
    assert found.find("a").status == "finished"


def test_run_that_is_left_is_written_once_more_and_then_no_more(tmp_path, monkeypatch):
    found = store(tmp_path, "a", "b")
    rows = Rows(found)
    for one in ("a", "b"):
        rows.held.add(one)
        rows.note(one, status="running", step=7)
    rows.leave("a")
    assert found.find("a").step == 7
    rows.note("b", step=8)
    with monkeypatch.context() as patched:
        patched.setattr(found, "update_all", _refuse)
        rows.leave("b")
    found.update("b", status="finished")
    rows.write()
    assert (found.find("b").status, found.find("b").step) == ("finished", 7)


def _refuse(_changes: object) -> None:
    raise LorryError("busy")


def test_unknown_run_keeps_no_other_from_being_written(tmp_path):
    found = store(tmp_path, "a")
    rows = Rows(found)
    rows.note("gone", status="running")
    rows.note("a", status="running")
    rows.write()
    assert found.find("a").status == "running"


def test_what_could_not_be_written_is_kept_beneath_what_is_newer(tmp_path, monkeypatch):
    found = store(tmp_path, "a")
    rows = Rows(found)
    rows.note("a", status="running", step=1, loss=1.0)

    def refuses(_changes: object) -> None:
        rows.note("a", step=2)
        raise LorryError("busy")

    with monkeypatch.context() as patched:
        patched.setattr(found, "update_all", refuses)
        with pytest.raises(LorryError):
            rows.write()
    rows.write()
    assert (found.find("a").step, found.find("a").loss) == (2, 1.0)
