"""The store: rows, names, several processes, damaged files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lorry.errors import InputError
from lorry.track import process
from lorry.track.events import EventLog
from lorry.track.folder import RunFolder, write_json
from lorry.track.store import Store


def add(store: Store, run_id: str, at: float = 1.0) -> None:
    store.add(run_id, name=run_id, folder=Path("/runs") / run_id, model="m", method="sft", created_at=at)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "lorry.db")


def test_added_run_is_found_with_what_it_was_given(store: Store):
    add(store, "a-1", at=5.0)
    row = store.find("a-1")
    assert (row.id, row.folder, row.status, row.created_at, row.loss) == (
        "a-1",
        Path("/runs/a-1"),
        "created",
        5.0,
        None,
    )


def test_update_changes_only_what_it_names(store: Store):
    add(store, "a")
    store.update("a", status="running", step=3, loss=1.5, steps=10)
    store.update("a", step=4)
    row = store.find("a")
    assert (row.status, row.step, row.steps, row.loss) == ("running", 4, 10, 1.5)
    assert row.updated_at > row.created_at


def test_update_of_unknown_run_is_refused(store: Store):
    with pytest.raises(InputError, match="no run has the id"):
        store.update("nobody", step=1)


def test_unknown_status_is_refused(store: Store):
    add(store, "a")
    with pytest.raises(ValueError, match="dancing"):
        store.update("a", status="dancing")


def test_loss_that_is_no_number_is_kept_as_none(store: Store):
    add(store, "a")
    store.update("a", loss=float("nan"))
    assert store.find("a").loss is None


def test_same_id_twice_is_refused(store: Store):
    add(store, "a")
    with pytest.raises(InputError, match="already"):
        add(store, "a")


def test_unique_prefix_finds_the_run_and_an_ambiguous_one_names_them(store: Store):
    add(store, "qwen-1")
    add(store, "qwen-2")
    assert store.find("qwen-2").id == "qwen-2"
    with pytest.raises(InputError, match=r"several.*`qwen-2`, `qwen-1`"):
        store.find("qwen")


def test_prefix_is_taken_literally(store: Store):
    add(store, "abc")
    for text in ("a%", "_bc", "ABC", ""):
        with pytest.raises(InputError, match="there is no run"):
            store.find(text)


def test_misspelt_id_gets_the_nearest_as_hint(store: Store):
    add(store, "smollm2-sft-1")
    with pytest.raises(InputError) as caught:
        store.find("smolm2-sft-1")
    assert "smollm2-sft-1" in caught.value.hint


def test_last_is_the_newest_and_an_empty_store_says_so(store: Store):
    with pytest.raises(InputError, match="no runs yet"):
        store.find("last")
    add(store, "new", at=9.0)
    add(store, "old", at=2.0)
    assert store.find("last").id == "new"


def test_list_is_newest_first_limited_and_filtered(store: Store):
    for number in range(5):
        add(store, f"r{number}", at=float(number))
    store.update("r1", status="finished")
    assert [row.id for row in store.list(limit=2)] == ["r4", "r3"]
    assert [row.id for row in store.list(status="finished")] == ["r1"]
    assert store.count() == 5


def test_running_row_of_this_process_is_running(store: Store):
    add(store, "a")
    store.update("a", status="running", pid=os.getpid(), pid_started=process.started(os.getpid()))
    assert store.find("a").status == "running"
    assert [row.id for row in store.list(status="running")] == ["a"]


def test_running_row_whose_process_is_gone_is_interrupted(store: Store):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    add(store, "a")
    store.update("a", status="running", pid=gone.pid, pid_started=1.0)
    assert store.find("a").status == "interrupted"
    assert [row.id for row in store.list(status="interrupted")] == ["a"]
    assert store.list(status="running") == []


def test_rented_run_whose_controller_is_gone_is_detached(store: Store, tmp_path: Path):
    for name in ("rented", "rebuilt", "done"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "needs.json").write_text("{}")
        store.add(name, name=name, folder=tmp_path / name, model="m", method="sft", created_at=1.0)
    store.update("rented", status="running", pid=os.getpid(), pid_started=1.0)
    store.update("rebuilt", status="interrupted")
    store.update("done", status="finished")
    assert [store.find(name).status for name in ("rented", "rebuilt", "done")] == ["detached", "detached", "finished"]
    assert {row.id for row in store.list(status="detached")} == {"rented", "rebuilt"}
    assert store.list(status="interrupted") == []


def test_number_that_belongs_to_another_process_by_now_is_interrupted(store: Store):
    add(store, "a")
    store.update("a", status="running", pid=os.getpid(), pid_started=1.0)
    assert store.find("a").status == "interrupted"


_WRITER = """
import sys
from pathlib import Path
from lorry.track.store import Store
store = Store.open(Path(sys.argv[1]))
for number in range(25):
    run = f"{sys.argv[2]}-{number}"
    store.add(run, name="n", folder="f", model="m", method="sft", created_at=1.0)
    store.update(run, status="running", step=number)
"""


def test_several_processes_create_and_write_at_once_without_losing_a_row(tmp_path: Path):
    path = tmp_path / "lorry.db"
    writers = [subprocess.Popen([sys.executable, "-c", _WRITER, str(path), f"w{n}"]) for n in range(4)]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0, 0, 0]
    store = Store.open(path)
    assert store.count() == 100
    assert all(row.step == int(row.id.rpartition("-")[2]) for row in store.list())


def test_damaged_database_is_refused_with_a_way_out_and_rebuilt(tmp_path: Path):
    path = tmp_path / "lorry.db"
    path.write_bytes(b"this is no database, it is a letter" * 100)
    with pytest.raises(InputError, match="cannot be read") as caught:
        Store.open(path)
    assert "--rebuild" in caught.value.hint
    assert Store.rebuild(path).list() == []
    assert list(tmp_path.glob("lorry.db.damaged-*"))


def test_newer_database_is_refused(store: Store):
    import sqlite3

    with sqlite3.connect(store.path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(InputError, match="newer lorry"):
        Store.open(store.path)


def test_rebuilt_store_knows_what_the_folders_say(tmp_path: Path):
    folder = RunFolder(tmp_path / "runs" / "tiny-sft-20260103-143052")
    write_json(folder.resolved, {"recipe": {"model": {"id": "org/tiny"}, "method": {"name": "sft"}}})
    log = EventLog(folder.events, clock=lambda: 7.0)
    log.append("created", recipe="r", run="x")
    log.append("started", steps=4, from_step=0)
    log.append(
        "step", step=2, loss=1.25, learning_rate=0, grad_norm=0, trained_tokens=1, tokens_per_second=1, memory_bytes=1
    )
    row = Store.rebuild(tmp_path / "lorry.db").find("last")
    assert (row.name, row.model, row.method, row.status) == ("tiny-sft", "org/tiny", "sft", "interrupted")
    assert (row.step, row.steps, row.loss, row.created_at) == (2, 4, 1.25, 7.0)


def test_folder_in_place_of_the_database_is_an_error_with_a_hint(tmp_path: Path):
    (tmp_path / "lorry.db").mkdir()
    with pytest.raises(InputError, match=r"lorry\.db"):
        Store.open(tmp_path / "lorry.db")


def test_store_that_was_open_writes_into_the_rebuilt_one(tmp_path: Path):
    store = Store.open(tmp_path / "lorry.db")
    add(store, "a")
    write_json(RunFolder(tmp_path / "runs" / "a").resolved, {"recipe": {}})
    Store.rebuild(tmp_path / "lorry.db")
    store.update("a", status="finished", step=7)
    row = Store.open(tmp_path / "lorry.db").find("a")
    assert (row.status, row.step) == ("finished", 7)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the start is told by the clock itself")
def test_clock_that_is_set_ends_no_running_run(store: Store, monkeypatch: pytest.MonkeyPatch):
    import psutil

    add(store, "a")
    store.update("a", status="running", pid=os.getpid(), pid_started=process.started(os.getpid()))
    before = psutil._psplatform.boot_time()
    monkeypatch.setattr(psutil._psplatform, "boot_time", lambda: before + 3600.0)
    assert psutil.boot_time() == before + 3600.0
    assert store.find("a").status == "running"
