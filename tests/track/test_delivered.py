"""Which run's adapter a name means."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lorry.errors import InputError
from lorry.track.delivered import delivered
from lorry.track.folder import RunFolder, home
from lorry.track.store import Store


def made(name: str, at: float, *, adapter: bool = True, smoke: bool = False) -> str:
    """A finished run of an experiment; its id."""
    folder = RunFolder(home() / "runs" / f"{name}-2026010{at:.0f}-000000")
    folder.path.mkdir(parents=True)
    if adapter:
        folder.adapter.mkdir()
    folder.resolved.write_text(json.dumps({"smoke": smoke}), encoding="utf-8")
    Store.open().add(folder.id, name=name, folder=folder.path, model="m", method="sft", created_at=at)
    Store.open().update(folder.id, status="finished")
    return folder.id


def test_last_is_the_newest_run_but_for_smoke_runs():
    made("cpt", 1)
    newest = made("sft", 2)
    made("dpo-smoke", 3, smoke=True)
    assert delivered("last").id == newest


def test_experiments_name_means_its_newest_run_that_has_delivered():
    made("cpt", 1)
    wanted = made("cpt", 2)
    made("cpt", 3, adapter=False)
    made("cpt-large", 4)
    assert delivered("cpt").id == wanted


def test_id_and_the_beginning_of_one_alone_mean_that_run():
    first, second = made("cpt", 1), made("cpt", 2)
    assert delivered(first).id == first
    assert delivered("cpt-20260102").id == second
    with pytest.raises(InputError, match="several runs"):
        delivered("cpt-2026")


@pytest.mark.parametrize("named", ["last", "sft", "sft-20260102"])
def test_run_without_an_adapter_is_refused_and_the_newest_with_one_is_named(named: str):
    with_one, without = made("cpt", 1), made("sft", 2, adapter=False)
    with pytest.raises(InputError, match=f"`{without}` has delivered no adapter") as caught:
        delivered(named)
    assert f"`{with_one}`" in caught.value.hint


def test_last_without_any_run_says_how_to_get_one():
    with pytest.raises(InputError, match="no run yet") as caught:
        delivered("last")
    assert "`lorry run EARLIER THIS`" in caught.value.hint


def test_name_that_no_run_has_is_refused(tmp_path: Path):
    made("cpt", 1)
    with pytest.raises(InputError, match="no run `xyz`"):
        delivered("xyz")
