"""Reward functions that do what they must not: each is that answer's fault, told, and never the end of the run."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from lorry.errors import RecipeError
from lorry.trainer.rewards._base import Completion, Fault
from lorry.trainer.rewards._worker import Worker

GOOD = "\n    return len(completion)"
SLOW = 0.5


@contextmanager
def worker(folder: Path, text: str, *, timeout: float = 20.0, start: float = 60.0) -> Generator[Worker]:
    """The function `f` of a file with this text, at work."""
    file = folder / "mine.py"
    file.write_text(text, encoding="utf-8")
    with closing(Worker(file, "f", (timeout, start))) as found:
        found.start()
        yield found


def said(folder: Path, body: str, *texts: str, timeout: float = 20.0) -> list[float | Fault | None]:
    """What `f` with this body says of some completions, one after another."""
    with worker(
        folder, f"import os, sys, time, signal\ndef f(completion):\n    {body}{GOOD}", timeout=timeout
    ) as found:
        return found.scores([Completion(text, [{"role": "user", "content": "?"}]) for text in texts])


FAULTS = {
    "raises": ("if completion == 'bad': raise ValueError('no good')", "ValueError: no good"),
    "ends": ("if completion == 'bad': os._exit(0)", "its process has ended"),
    "exits": ("if completion == 'bad': sys.exit(3)", "its process has ended"),
    "crashes": ("if completion == 'bad': os.kill(os.getpid(), signal.SIGSEGV)", "its process has ended"),
    "nan": ("if completion == 'bad': return float('nan')", "gave nan, which is no number to learn from"),
    "infinite": ("if completion == 'bad': return float('-inf')", "gave -inf, which is no number to learn from"),
    "huge": ("if completion == 'bad': return 1e300", "gave 1e+300, which is no number to learn from"),
    "whole": ("if completion == 'bad': return 10 ** 400", "OverflowError"),
    "text": ("if completion == 'bad': return 'much'", "ValueError"),
    "list": ("if completion == 'bad': return [1]", "TypeError"),
    "endless": ("if completion == 'bad': f(completion)", "RecursionError"),
    "asks": ("if completion == 'bad': input()", "EOFError"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_that_answers_alone(name: str, tmp_path: Path):
    body, told = FAULTS[name]
    before, fault, after = said(tmp_path, body, "good", "bad", "better")
    assert (before, after) == (4.0, 6.0)
    assert isinstance(fault, Fault)
    assert told in fault.told


@pytest.mark.parametrize(
    "body",
    [
        "if completion == 'bad': time.sleep(60)",
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n    while completion == 'bad': pass",
        "if completion == 'bad': import subprocess; subprocess.run(['sleep', '60'])",
        "if completion == 'bad': os.kill(os.getpid(), signal.SIGSTOP)",
    ],
    ids=["sleeps", "spins and hears no SIGTERM", "waits for another", "stops itself"],
)
def test_function_that_hangs_is_replaced(body: str, tmp_path: Path):
    before, fault, after = said(tmp_path, body, "good", "bad", "better", timeout=SLOW)
    assert (before, after) == (4.0, 6.0)
    assert fault == Fault("took longer than 0.5 seconds")


def test_what_a_function_prints_is_no_answer(tmp_path: Path):
    body = "print('{\"score\": 9}'); os.write(1, b'x' * 5_000_000); sys.stdout.flush()"
    assert said(tmp_path, body, "good", "fine") == [4.0, 4.0]


def test_what_is_written_where_answers_go_is_believed_of_nobody(tmp_path: Path):
    lies = "if completion == 'bad':\n        for at in range(3, 20):\n            try: os.write(at, b'no JSON\\n')\n"
    lies += "            except OSError: pass"
    before, fault, after = said(tmp_path, lies, "good", "bad", "better", timeout=5.0)
    assert (before, after) == (4.0, 6.0)
    assert isinstance(fault, Fault)


def test_none_says_that_the_reward_does_not_apply(tmp_path: Path):
    assert said(tmp_path, "if completion == 'other': return None", "good", "other") == [4.0, None]


@pytest.mark.parametrize("text", ["\ud800 \udfff", "a\x00b\n\r\u2028", "x" * 1_000_000, "\U0001f600" * 300_000, ""])
def test_any_text_reaches_the_function_as_it_is(text: str, tmp_path: Path):
    assert said(tmp_path, "pass", text, "good") == [float(len(text)), 4.0]


def test_function_gets_what_it_takes_and_lacks_what_rows_lack(tmp_path: Path):
    text = "def f(completion, prompt, answer, level):\n    return len(prompt + completion + answer) + level"
    asked = [{"role": "user", "content": "what"}]
    with worker(tmp_path, text) as found:
        whole, lacking = found.scores(
            [Completion("ab", asked, "c", {"level": 0.5, "rewards": ["f"]}), Completion("ab", asked, "c")]
        )
    assert whole == 7.5
    assert lacking == Fault("TypeError: f() missing 1 required positional argument: 'level'")


def test_function_in_the_manner_of_trl_is_called_with_lists(tmp_path: Path):
    text = "def f(prompts, completions, level, **more):\n    return [len(completions[0]) + level[0]]"
    with worker(tmp_path, text) as found:
        assert found.scores([Completion("ab", [], "c", {"level": 2})]) == [4.0]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("def f(:", "SyntaxError"),
        ("import nothing_of_that_name", "ModuleNotFoundError"),
        ("raise SystemExit(0)", "SystemExit"),
        ("import os; os._exit(0)", "its process has ended"),
        ("def g(completion): ...\ndef h(completion): ...", "there is no function `f`, but g, h"),
        ("f = 5", "there is no function `f`, but no function"),
        ("f = max", "ValueError"),
    ],
)
def test_file_that_cannot_be_used_is_refused_with_a_hint(text: str, told: str, tmp_path: Path):
    with pytest.raises(RecipeError) as caught, worker(tmp_path, text):
        pass
    assert told in caught.value.message
    assert caught.value.hint
    assert caught.value.place == "mine.py:f"


def test_file_that_hangs_when_it_is_imported_is_refused(tmp_path: Path):
    with (
        pytest.raises(RecipeError, match=r"took longer than 0.5 seconds"),
        worker(tmp_path, "while True: pass", start=SLOW),
    ):
        pass


def test_file_that_is_broken_meanwhile_is_not_waited_for_again_and_again(tmp_path: Path):
    text = "import os\ndef f(completion):\n    os._exit(0)"
    with worker(tmp_path, text, start=1.0) as found:
        (tmp_path / "mine.py").write_text("import time; time.sleep(60)", encoding="utf-8")
        began = time.monotonic()
        faults = found.scores([Completion("bad", [])] * 50)
        assert time.monotonic() - began < 10
    assert len(faults) == 50
    assert all(isinstance(fault, Fault) for fault in faults)
    assert "took longer than 1 seconds" in faults[-1].told  # type: ignore[union-attr]


def test_neighbours_are_imported_and_the_folder_is_the_functions_own(tmp_path: Path):
    (tmp_path / "beside.py").write_text("BONUS = 10", encoding="utf-8")
    (tmp_path / "words.txt").write_text("four", encoding="utf-8")
    text = "from beside import BONUS\ndef f(completion):\n    return BONUS + len(open('words.txt').read())"
    with worker(tmp_path, text) as found:
        assert found.scores([Completion("", [])]) == [14.0]


def test_function_sees_no_secret_but_those_that_it_is_to_see(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    file = tmp_path / "rewards.py"
    file.write_text(
        "import os\ndef f(completion):\n    return float('HF_TOKEN' in os.environ) + 2 * ('OPENAI_API_KEY' in os.environ)\n"
    )
    for allowed, expected in (([], 0.0), (["OPENAI_API_KEY"], 2.0)):
        with closing(Worker(file, "f", (10, 60), allowed)) as worker:
            worker.start()
            assert worker.scores([Completion("yes", [])]) == [expected]


def test_file_with_a_dataclass_can_be_used(tmp_path):
    file = tmp_path / "rewards.py"
    lines = ["from __future__ import annotations", "from dataclasses import dataclass", "@dataclass", "class Found:"]
    file.write_text("\n".join([*lines, "    score: float", "def f(completion):", "    return Found(0.5).score"]))
    with closing(Worker(file, "f", (10, 60))) as worker:
        worker.start()
        assert worker.scores([Completion("yes", [])]) == [0.5]
