"""Whatever a reward function starts ends with it, however it hides, and however either of the two is ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import pytest

from lorry.trainer.rewards._base import Completion, Fault
from lorry.trainer.rewards._worker import Worker

HIDING = {
    "a child": "subprocess.Popen(WORDS)",
    "one that hears no SIGTERM": "subprocess.Popen(['sh', '-c', 'trap \"\" TERM HUP INT; ' + ' '.join(WORDS) + '; true'])",
    "one in a session of its own": "subprocess.Popen(WORDS, start_new_session=True)",
    "a grandchild in a session of its own": "subprocess.run(['sh', '-c', 'setsid ' + ' '.join(WORDS) + ' &'])",
    "a daemon": "os.fork() or (os.setsid(), os.fork() or os.execvp('sleep', WORDS), os._exit(0))",
    "a process of multiprocessing": "multiprocessing.Process(target=os.execvp, args=('sleep', WORDS)).start()",
    "a forked one": "multiprocessing.get_context('fork').Process(target=os.execvp, args=('sleep', WORDS)).start()",
    "many": "[subprocess.Popen(WORDS, start_new_session=bool(at % 2)) for at in range(20)]",
}
ASKED = [Completion("x", [])]


@contextmanager
def marked() -> Generator[list[str]]:
    """The words of a process that nobody else starts; whatever of it a test leaves is ended."""
    words = ["sleep", f"60{os.getpid()}.{time.monotonic_ns()}"]
    yield words
    for one in running(words):
        one.kill()


def running(words: list[str]) -> list[psutil.Process]:
    return [one for one in psutil.process_iter(["cmdline"]) if (one.info["cmdline"] or [])[-2:] == words]


def wait(holds: Callable[[], bool], seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.02)
    return holds()


def file_with(folder: Path, words: list[str], start: str, then: str) -> Path:
    """A file whose `f` starts something, waits until it runs, and goes on."""
    lines = [
        "import multiprocessing, os, signal, subprocess, time",
        "import psutil",
        f"WORDS = {words!r}",
        "def runs():",
        "    return any((one.info['cmdline'] or [])[-2:] == WORDS for one in psutil.process_iter(['cmdline']))",
        "def f(completion):",
        f"    {start}",
        "    while not runs(): time.sleep(0.02)",
        f"    {then}",
    ]
    file = folder / "mine.py"
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


@pytest.mark.parametrize("way", ["a child", "a daemon"])
def test_timeout_ends_what_the_function_started(way: str, tmp_path: Path):
    with marked() as words:
        file = file_with(tmp_path, words, HIDING[way], "time.sleep(600)")
        with closing(Worker(file, "f", (2.0, 60.0))) as worker:
            worker.start()
            assert worker.scores(ASKED) == [Fault("took longer than 2 seconds")]
            assert wait(lambda: not running(words)), "it outlives the function"


@pytest.mark.parametrize("way", HIDING)
def test_what_the_function_started_goes_on_between_answers_and_ends_with_the_run(way: str, tmp_path: Path):
    with marked() as words:
        worker = Worker(file_with(tmp_path, words, HIDING[way], "return 1.0"), "f", (20.0, 60.0))
        worker.start()
        assert worker.scores(ASKED) == [1.0]
        assert running(words), "a server that it started may be asked again"
        worker.close()
        assert wait(lambda: not running(words))


@pytest.mark.parametrize("way", ["a child", "a grandchild in a session of its own", "a daemon", "a forked one", "many"])
def test_trainer_that_is_killed_leaves_nothing_that_the_function_started(way: str, tmp_path: Path):
    script = (
        "import sys; from pathlib import Path\n"
        "from lorry.trainer.rewards._base import Completion\nfrom lorry.trainer.rewards._worker import Worker\n"
        "worker = Worker(Path(sys.argv[1]), 'f', (600, 60))\nworker.start()\nprint(worker._process.pid, flush=True)\n"
        "worker.scores([Completion('x', [])])"
    )
    with marked() as words:
        file = file_with(tmp_path, words, HIDING[way], "time.sleep(600)")
        with subprocess.Popen([sys.executable, "-c", script, str(file)], stdout=subprocess.PIPE, text=True) as trainer:
            assert trainer.stdout is not None
            keeper = psutil.Process(int(trainer.stdout.readline()))
            assert wait(lambda: bool(running(words)), 60)
            both = [keeper, *keeper.children(recursive=True)]
            trainer.send_signal(signal.SIGKILL)
        assert wait(lambda: not running(words)), "it outlives the trainer"
        assert psutil.wait_procs(both, timeout=10)[1] == []


def test_copy_of_the_trainer_that_holds_the_pipe_keeps_nothing_alive(tmp_path: Path):
    """A trainer that forks, as loaders of data do, leaves the other end of the pipe open when it is killed."""
    script = (
        "import os, sys, time; from pathlib import Path\nfrom lorry.trainer.rewards._worker import Worker\n"
        "worker = Worker(Path(sys.argv[1]), 'f', (600, 60))\nworker.start()\n"
        "copy = os.fork() or (time.sleep(600), os._exit(0))\n"
        "print(worker._process.pid, copy, flush=True)\ntime.sleep(600)"
    )
    file = file_with(tmp_path, ["sleep", "0"], "pass", "pass")
    with subprocess.Popen([sys.executable, "-c", script, str(file)], stdout=subprocess.PIPE, text=True) as trainer:
        assert trainer.stdout is not None
        keeper, copy = (psutil.Process(int(number)) for number in trainer.stdout.readline().split())
        trainer.send_signal(signal.SIGKILL)
        trainer.stdout.close()
    try:
        assert psutil.wait_procs([keeper], timeout=10)[1] == []
    finally:
        copy.kill()


@pytest.mark.parametrize("end", ["os._exit(0)", "os.killpg(0, signal.SIGKILL)", "os.kill(os.getpid(), signal.SIGSEGV)"])
def test_function_that_ends_its_process_takes_along_what_it_started(end: str, tmp_path: Path):
    with marked() as words:
        file = file_with(tmp_path, words, HIDING["a grandchild in a session of its own"], end)
        with closing(Worker(file, "f", (20.0, 60.0))) as worker:
            worker.start()
            assert worker.scores(ASKED) == [Fault("its process has ended")]
            assert wait(lambda: not running(words))


def test_function_that_ended_while_nobody_asked_is_told_and_replaced(tmp_path: Path):
    text = "import os, threading\ndef f(completion):\n    if completion == 'bad':\n"
    file = tmp_path / "mine.py"
    file.write_text(
        text + "        threading.Timer(0.2, lambda: os._exit(0)).start()\n    return 1.0", encoding="utf-8"
    )
    with closing(Worker(file, "f", (20.0, 60.0))) as worker:
        worker.start()
        assert worker.scores([Completion("bad", [])]) == [1.0]
        assert worker._process is not None
        worker._process.wait(20)
        fault, after = worker.scores([Completion("good", []), Completion("good", [])])
    assert (fault, after) == (Fault("its process has ended"), 1.0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_keeper_that_is_told_to_end_ends_all(number: signal.Signals, tmp_path: Path):
    with marked() as words:
        file = file_with(tmp_path, words, HIDING["one in a session of its own"], "return 1.0")
        with closing(Worker(file, "f", (20.0, 60.0))) as worker:
            worker.start()
            worker.scores(ASKED)
            assert worker._process is not None
            worker._process.send_signal(number)
            assert wait(lambda: not running(words))


def test_function_cannot_outlive_its_keeper_that_it_kills(tmp_path: Path):
    file = tmp_path / "mine.py"
    text = "import os, signal, time\ndef f(completion):\n    os.kill(os.getppid(), signal.SIGKILL)\n    time.sleep(600)"
    file.write_text(text, encoding="utf-8")
    with closing(Worker(file, "f", (20.0, 60.0))) as worker:
        worker.start()
        assert worker._process is not None
        own = psutil.Process(worker._process.pid).children()
        assert worker.scores(ASKED) == [Fault("its process has ended")]
        assert psutil.wait_procs(own, timeout=10)[1] == []


def test_function_may_start_processes_and_wait_for_them(tmp_path: Path):
    file = tmp_path / "mine.py"
    lines = [
        "import subprocess",
        "from concurrent.futures import ProcessPoolExecutor",
        "def f(completion):",
        "    said = subprocess.run(['sh', '-c', 'echo 3; exit 4'], capture_output=True, check=False)",
        "    with ProcessPoolExecutor(2) as pool:",
        "        return float(said.stdout) + said.returncode + sum(pool.map(abs, [-1, -2]))",
    ]
    file.write_text("\n".join(lines), encoding="utf-8")
    with closing(Worker(file, "f", (30.0, 60.0))) as worker:
        worker.start()
        assert worker.scores(ASKED) == [10.0]
