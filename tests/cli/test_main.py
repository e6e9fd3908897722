"""The command line's shell: help, errors in one form, exit codes, debug, streams."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lorry.cli import faults
from lorry.cli.main import COMMANDS, run
from lorry.errors import LorryError, MissingExtraError, RecipeError, RefusedError

LORRY = [sys.executable, "-m", "lorry"]


def test_help_lists_every_command_in_its_group(capsys: pytest.CaptureFixture[str]):
    assert run(["--help"]) == 0
    out = capsys.readouterr().out
    for title, commands in COMMANDS.items():
        assert f"{title}:" in out
        assert all(f"  {name} " in out for name in commands)


def test_no_argument_shows_the_help(capsys: pytest.CaptureFixture[str]):
    assert run([]) == 0
    assert "Usage: lorry" in capsys.readouterr().out


def test_version_goes_to_stdout(capsys: pytest.CaptureFixture[str]):
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("lorry 0.")


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["pss"], "there is no command `lorry pss`", "did you mean `lorry ps`?"),
        (["xyzzy"], "there is no command `lorry xyzzy`", "`lorry --help` lists the commands"),
        (["ps", "--limt", "3"], "`lorry ps` has no option `--limt`", "did you mean `--limit`?"),
        (["ps", "--limit", "many"], "--limit", "`lorry ps --help` explains the command"),
        (["ps", "--status", "dancing"], "'dancing' is not one of 'created', 'running'", "`lorry ps --help`"),
        (["ps", "one", "two"], "unexpected extra argument", "`lorry ps --help`"),
        (["show", "nobody"], "there is no run `nobody`", "`lorry ps` lists the runs"),
    ],
)
def test_wrong_usage_is_an_error_with_a_hint_and_exit_code_2(
    arguments: list[str], message: str, hint: str, capsys: pytest.CaptureFixture[str]
):
    assert run(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert message in said.err.partition("\n\nhint: ")[0]
    assert hint in said.err.partition("\n\nhint: ")[2]
    assert "Traceback" not in said.err


@pytest.mark.parametrize("arguments", [["--debug", "show", "x"], ["show", "--debug", "x"], ["show", "x", "--debug"]])
def test_debug_shows_the_traceback_wherever_it_stands(arguments: list[str], capsys: pytest.CaptureFixture[str]):
    assert run(arguments) == 2
    said = capsys.readouterr().err
    assert "Traceback (most recent call last)" in said
    assert "error: there is no run `x`" in said


def test_debug_does_not_stay_on_for_the_next_command_line(capsys: pytest.CaptureFixture[str]):
    run(["show", "x", "--debug"])
    capsys.readouterr()
    run(["show", "x"])
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (RecipeError("must be positive", place="train.steps", hint="h"), 2, "error: train.steps: must be positive\n"),
        (RefusedError("too dear"), 3, "error: too dear\n"),
        (LorryError("went wrong"), 1, "error: went wrong\n"),
        (ModuleNotFoundError("No module named 'torch'", name="torch"), 2, "`pip install 'lorry[train]'`"),
        (OSError(errno.ENOSPC, "No space left on device", "/x/y"), 2, "error: No space left on device: /x/y"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), 2, "hint: check who owns it"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "x" * 9999), 2, f"too long: {'x' * 199}…\n"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "/x/y"), 2, "hint: a part of this path is a file"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory"), 2, "hint: go to one that exists"),
        (RuntimeError("Could not determine home directory."), 2, "write the path whole"),
    ],
)
def test_known_errors_keep_their_exit_code(error: Exception, code: int, text: str, capsys: pytest.CaptureFixture[str]):
    assert faults.say(error, debug=False) == code
    said = capsys.readouterr().err
    assert text in said
    assert "fault" not in said


def test_missing_extra_counts_as_wrong_input():
    assert MissingExtraError.exit_code == 2


def test_fault_is_called_one_and_its_traceback_is_kept(lorry_home: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(KeyError) as caught:
        {}["oops"]
    assert faults.say(caught.value, debug=False) == 1
    said = capsys.readouterr().err
    (kept,) = (lorry_home / "logs").glob("fault-*.txt")
    assert said.startswith("error: lorry has a fault: KeyError: 'oops'")
    assert "Traceback" not in said
    assert str(kept) in said
    assert "Traceback" in kept.read_text()


def test_fault_with_no_place_to_write_is_still_said(lorry_home: Path, capsys: pytest.CaptureFixture[str]):
    lorry_home.write_text("a file where the folder should be")
    assert faults.say(KeyError("oops"), debug=False) == 1
    assert "hint: the same command with `--debug`" in capsys.readouterr().err


@pytest.mark.parametrize("home", ["afile", "afile/below", "/proc/lorry", "x" * 300, "~nobody-of-that-name/lorry"])
def test_home_that_cannot_be_one_is_no_fault(
    home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "afile").write_text("")
    monkeypatch.setenv("LORRY_HOME", home)
    assert run(["ps"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert "LORRY_HOME" in said.partition("\n\nhint: ")[2]


def test_fault_is_said_even_where_home_stands_for_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("LORRY_HOME", "~nobody-of-that-name/lorry")
    assert faults.say(KeyError("oops"), debug=False) == 1
    assert faults.say(OSError(errno.ENOSPC, "No space left on device", "/x"), debug=False) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_reader_who_leaves_early_is_no_error(tmp_path: Path):
    lister = subprocess.Popen([*LORRY, "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert lister.stdout is not None
    lister.stdout.close()
    _, said = lister.communicate(timeout=60)
    assert said == b""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
def test_closed_streams_are_no_fault():
    for closed in (">&-", "2>&-", ">&- 2>&-"):
        done = subprocess.run(f"{' '.join(LORRY)} ps {closed}", shell=True, capture_output=True, check=False)  # noqa: S602
        assert done.returncode == 0, closed
        assert b"Traceback" not in done.stderr


def test_stream_that_is_not_utf8_gets_escapes():
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([*LORRY, "show", "naïve-☃"], capture_output=True, env=environment, check=False)
    assert done.returncode == 2
    assert b"na\\xefve-\\u2603" in done.stderr


def test_hostile_run_name_reaches_no_terminal_raw():
    done = subprocess.run([*LORRY, "show", "x\x1b[31m\x9b\u202e"], capture_output=True, check=False)
    assert done.returncode == 2
    assert b"`x\\x1b[31m\\x9b\\u202e`" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_disk_behind_stdout_is_an_error_with_a_hint():
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([*LORRY, "--version"], stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 2
    assert b"No space left" in done.stderr
    assert b"Traceback" not in done.stderr


def test_env_file_gives_tokens_that_the_environment_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_TOKEN", "from-the-environment")
    monkeypatch.setenv("WANDB_API_KEY", "")
    monkeypatch.delenv("WANDB_API_KEY")
    (tmp_path / ".env").write_text("HF_TOKEN=from-the-file\nWANDB_API_KEY=key\n", encoding="utf-8")
    assert run(["--help"]) == 0
    assert (os.environ["HF_TOKEN"], os.environ["WANDB_API_KEY"]) == ("from-the-environment", "key")


def test_binary_env_file_is_an_error_with_a_hint(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_bytes(b"HF_TOKEN=\xff\xfe\x00")
    assert run(["ps"]) == 2
    assert "hint: " in capsys.readouterr().err
