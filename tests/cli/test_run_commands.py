"""`ps`, `show`, `logs` and `report`, on runs as they are left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import run_folders
from lorry.cli.main import run
from lorry.track import process
from lorry.track.folder import RunFolder
from lorry.track.store import Store

Capture = pytest.CaptureFixture[str]


def stored(folder: RunFolder, status: str, at: float = 1.0, **changes: object) -> RunFolder:
    store = Store.open()
    store.add(folder.id, name="n", folder=folder.path, model="org/tiny-1b", method="sft", created_at=at)
    store.update(folder.id, status=status, step=40, steps=40, loss=0.5, **changes)  # type: ignore[arg-type]
    return folder


@pytest.fixture
def done(lorry_home: Path) -> RunFolder:
    return stored(run_folders.finished(lorry_home / "runs" / "tiny-done"), "finished", at=2.0)


@pytest.fixture
def failed(lorry_home: Path) -> RunFolder:
    return stored(run_folders.failed(lorry_home / "runs" / "tiny-failed"), "failed")


def test_ps_without_runs_says_how_to_start(capsys: Capture):
    assert run(["ps"]) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert "lorry run RECIPE" in said.err


def test_ps_lists_newest_first_with_status_step_and_loss(done: RunFolder, failed: RunFolder, capsys: Capture):
    assert run(["ps"]) == 0
    _, first, second = capsys.readouterr().out.splitlines()
    assert first.split()[:5] == ["tiny-done", "finished", "here", "40/40", "0.5000"]
    assert second.split()[:2] == ["tiny-failed", "failed"]


def test_ps_json_and_status_and_limit(done: RunFolder, failed: RunFolder, capsys: Capture):
    assert run(["ps", "--json", "--status", "failed"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["id"], row["status"], row["folder"]) == ("tiny-failed", "failed", str(failed.path))
    assert run(["ps", "--limit", "1"]) == 0
    said = capsys.readouterr()
    assert "tiny-failed" not in said.out
    assert "1 of 2 runs" in said.err


def test_ps_rebuild_finds_runs_that_the_store_lost(done: RunFolder, lorry_home: Path, capsys: Capture):
    for file in lorry_home.glob("lorry.db*"):
        file.write_bytes(b"torn" * 1000)
    assert run(["ps"]) == 2
    assert "`lorry ps --rebuild`" in capsys.readouterr().err
    assert run(["ps", "--rebuild"]) == 0
    assert "tiny-done" in capsys.readouterr().out


def test_show_tells_what_a_run_is_and_how_it_scores(done: RunFolder, capsys: Capture):
    assert run(["show", "tiny-d"]) == 0
    out = capsys.readouterr().out
    assert "better on loss, exact_match; not distinguishable on bash_valid" in out
    assert "Model" in out
    assert "exact_match: adapter 0.9000 (0.8200 to 0.9800), base model 0.0200" in out


def test_show_json_has_the_row_and_the_summary(done: RunFolder, capsys: Capture):
    assert run(["show", "last", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["id"], found["summary"]["adapter"]["delivered_step"]) == ("tiny-done", 40)


def test_show_of_a_run_whose_process_is_gone_says_interrupted(lorry_home: Path, capsys: Capture):
    run_folders.begun(lorry_home / "runs" / "half", recorded=7)
    stored(RunFolder(lorry_home / "runs" / "half"), "running", pid=os.getpid(), pid_started=1.0)
    assert run(["show", "half"]) == 0
    assert "interrupted, at step 7 of 40" in capsys.readouterr().out


def test_show_of_a_run_without_its_folder_still_answers(lorry_home: Path, capsys: Capture):
    stored(RunFolder(lorry_home / "runs" / "gone"), "finished")
    assert run(["show", "gone"]) == 0
    assert "folder is gone" in capsys.readouterr().err


def test_logs_are_readable_lines(failed: RunFolder, capsys: Capture):
    assert run(["logs", "tiny-failed"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "2026-01-03 14:30:52  run tiny-failed"
    assert "step 1: loss 3.1065" in lines[4]
    assert lines[-1].endswith("failed: the loss is not a number (hint: lower train.learning_rate)")


def test_logs_json_is_one_event_a_line(done: RunFolder, capsys: Capture):
    assert run(["logs", "--json"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["seq"] for event in found] == list(range(1, len(found) + 1))
    assert found[-1]["kind"] == "finished"


def test_followed_logs_show_what_comes_and_end_with_the_run(lorry_home: Path):
    log = run_folders.begun(lorry_home / "runs" / "live", recorded=1)
    mine = {"pid": os.getpid(), "pid_started": process.started(os.getpid())}
    stored(RunFolder(lorry_home / "runs" / "live"), "running", **mine)
    follower = subprocess.Popen(
        [sys.executable, "-m", "lorry", "logs", "-f", "live"], stdout=subprocess.PIPE, text=True
    )
    assert follower.stdout is not None
    assert "run live" in follower.stdout.readline()
    run_folders.add_step(log, 2, loss=1.5)
    deadline = time.monotonic() + 60
    seen = ""
    while "step 2: loss 1.5000" not in seen and time.monotonic() < deadline:
        seen += follower.stdout.readline()
    log.append("finished", seconds=3.0)
    Store.open().update("live", status="finished")
    rest, _ = follower.communicate(timeout=60)
    assert "step 2: loss 1.5000" in seen
    assert rest.splitlines()[-1].endswith("finished after 3.0 s")


def test_trainers_output_is_printed_without_control_characters(failed: RunFolder, capsys: Capture):
    failed.logs.mkdir()
    (failed.logs / "trainer.log").write_bytes(b"10%\r20%\r\nb\xffd \x1b[31mred\n")
    assert run(["logs", "--trainer", "tiny-failed"]) == 0
    assert capsys.readouterr().out == "10%\n20%\nb\ufffdd \\x1b[31mred\n"


def test_trainers_output_that_is_not_there_is_an_error(failed: RunFolder, capsys: Capture):
    assert run(["logs", "--trainer", "tiny-failed"]) == 2
    assert "no output of a training process" in capsys.readouterr().err


def test_damaged_events_are_an_error_with_the_line(failed: RunFolder, capsys: Capture):
    with failed.events.open("a") as file:
        file.write("}{\n")
    assert run(["logs", "tiny-failed"]) == 2
    assert "events.jsonl:9: this line is not an event" in capsys.readouterr().err


def test_report_is_written_where_it_is_missing_and_printed(done: RunFolder, capsys: Capture):
    assert run(["report", "tiny-done"]) == 0
    assert capsys.readouterr().out == done.report.read_text()
    assert done.report_html.exists()


@pytest.mark.parametrize("newer", ["events.jsonl", "eval/scores.json"])
def test_report_is_written_anew_when_the_run_went_on_or_was_scored_again(done: RunFolder, newer: str, capsys: Capture):
    run(["report", "tiny-done"])
    done.report.write_text("old")
    later = time.time() + 10
    os.utime(done.path / newer, (later, later))
    capsys.readouterr()
    assert run(["report", "tiny-done"]) == 0
    assert capsys.readouterr().out.startswith("# tiny-done")


def test_report_html_prints_the_pages_path_and_json_the_summary(failed: RunFolder, capsys: Capture):
    assert run(["report", "--html"]) == 0
    assert capsys.readouterr().out == f"{failed.report_html}\n"
    assert run(["report", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["error"]["error"] == "the loss is not a number"


def test_report_of_a_run_without_its_folder_is_an_error(lorry_home: Path, capsys: Capture):
    stored(RunFolder(lorry_home / "runs" / "gone"), "finished")
    assert run(["report", "gone"]) == 2
    assert "folder is gone" in capsys.readouterr().err
