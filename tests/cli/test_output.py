"""The one place that prints."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from io import StringIO

import pytest

from lorry.cli import output
from lorry.errors import InputError


class Terminal(StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Puts a terminal in the place of both streams; called in a test's body, for pytest sets its own before each."""
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


def test_data_goes_to_stdout_and_everything_else_to_stderr(capsys: pytest.CaptureFixture[str]):
    output.data("data")
    output.note("note")
    output.warn("careful")
    output.error("broken", "mend it")
    said = capsys.readouterr()
    assert said.out == "data\n"
    assert said.err == "note\nwarning: careful\nerror: broken\n\nhint: mend it\n"


def test_json_is_read_by_strict_parsers_and_has_no_raw_controls(capsys: pytest.CaptureFixture[str]):
    value = {"loss": float("nan"), "best": [float("inf")], "text": "\x1b[2J\x9b\u202e é\ud800"}
    output.emit_json(value)
    out = capsys.readouterr().out
    back = json.loads(out, parse_constant=lambda name: pytest.fail(name))
    assert back == {"loss": None, "best": [None], "text": value["text"]}
    assert not {"\x1b", "\x9b", "\u202e", "\ud800"} & set(out)


def test_table_in_a_pipe_is_aligned_and_never_cut(capsys: pytest.CaptureFixture[str]):
    output.table(["name", output.Column("steps", right=True)], [["x" * 200, "7"], ["a\nb", "1000"]])
    assert capsys.readouterr().out.splitlines() == [
        f"{'name':200}  steps",
        f"{'x' * 200}      7",
        f"{'a b':200}   1000",
    ]


def test_table_on_a_terminal_shows_brackets_as_they_are(monkeypatch: pytest.MonkeyPatch):
    screen = terminal(monkeypatch)
    output.table(["name"], [["[red]x[/red]"]])
    assert "[red]x[/red]" in screen.getvalue()


def test_table_that_must_not_fold_keeps_every_cell_whole_on_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch):
    screen = terminal(monkeypatch)
    monkeypatch.setenv("COLUMNS", "60")
    name = "qwen3-qlora-r16-lr2e-4-steps500-20260103-143052"
    rows = [[name, "some words that do not fit"]]
    output.table(["run", "text"], rows, fold=False)
    assert f"{name}  some words that do not fit\n" in screen.getvalue()
    output.table(["run", "text"], rows)
    folded = re.sub("\x1b\\[[0-9;]*m", "", screen.getvalue()).splitlines()[2:]
    assert all(len(line) <= 60 for line in folded)


def test_colour_is_shown_on_a_terminal_only_and_never_with_no_color(monkeypatch: pytest.MonkeyPatch):
    screen = terminal(monkeypatch)
    output.pieces([("yes", "green"), (" plain", "")])
    assert screen.getvalue() == "\x1b[32myes\x1b[0m plain\n"
    monkeypatch.setenv("NO_COLOR", "1")
    assert not output.stdout_has_colour()
    output.error("broken")
    assert screen.getvalue().endswith("plain\nerror: broken\n")


def test_dumb_terminal_gets_no_colour_and_no_live_line(monkeypatch: pytest.MonkeyPatch):
    terminal(monkeypatch)
    monkeypatch.setenv("TERM", "dumb")
    assert not output.stdout_has_colour()
    assert not output.stderr_is_live()


def test_live_line_is_removed_before_anything_else_is_said(monkeypatch: pytest.MonkeyPatch):
    screen = terminal(monkeypatch)
    output.live("step 1")
    output.note("saved")
    output.live("step 2")
    output.live("")
    assert screen.getvalue() == "\r\x1b[2Kstep 1\r\x1b[2Ksaved\n\r\x1b[2Kstep 2\r\x1b[2K"


def test_exact_text_is_cleaned_on_a_terminal(monkeypatch: pytest.MonkeyPatch):
    screen = terminal(monkeypatch)
    output.exact("a\x1b[31m")
    assert screen.getvalue() == "a\\x1b[31m\n"


def test_exact_text_in_a_pipe_is_unchanged(capsys: pytest.CaptureFixture[str]):
    output.exact("a\x1b[31m no newline")
    assert capsys.readouterr().out == "a\x1b[31m no newline"


def test_closed_stderr_does_not_stop_the_command(monkeypatch: pytest.MonkeyPatch):
    closed = StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    output.note("nobody hears this")


def test_question_gives_the_answer_or_the_default(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(sys, "stdin", StringIO(" yes \n\n"))
    assert [output.ask("Sure?", default="no"), output.ask("Sure?", default="no")] == ["yes", "no"]
    assert capsys.readouterr().err == "Sure? [no]: Sure? [no]: "


def test_question_that_nobody_can_answer_is_an_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stdin", StringIO(""))
    with pytest.raises(InputError, match="no answer to: Sure"):
        output.ask("Sure?")


def test_real_pipe_gets_no_escape_sequences():
    code = "from lorry.cli import output as o; o.pieces([('a', 'red')]); o.error('b', 'c'); o.table(['t'], [['d']])"
    environment = {key: value for key, value in os.environ.items() if key != "FORCE_COLOR"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env=environment)
    assert b"\x1b" not in done.stdout + done.stderr
