"""The first process of an emulated machine: runs its start command, begins it anew when it exits, and leaves nothing behind.

    python -I -S init.py FOLDER WORD...

It is run as a file, by any Python, with the standard library alone: there is one for each machine, so it has to stay small. Its
own environment is the container's. SIGTERM ends the machine: everybody is asked, and killed five seconds later. SIGUSR1 starts
the SSH server, if none runs. It leaves with 0 when nobody is left, and with 3 where the machine has a first process already.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator

TAKEN = 3
GRACE = 5.0
"""Seconds from SIGTERM to SIGKILL (RunPod's documentation of pods that were taken back, until May 2026)."""
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER in linux/prctl.h
_DEFAULT = [signal.SIGPIPE, signal.SIGXFSZ, signal.SIGHUP]
"""Signals that are ignored here, and must not be by what is started."""
_LONGEST = 65536
"""Bytes of a line; a longer one is broken."""
_ROTATED = 4 * 2**20
"""Bytes of a log, after which a new one is begun; the one before is kept."""


def main(folder: str, words: list[str]) -> int:
    """Blocks until the machine is stopped."""
    lock = os.open(f"{folder}/run/lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return TAKEN
    adopt_orphans()
    container = Container(folder, words)
    # Not before the handlers of signals are there: by this file others know whom to signal.
    with open(f"{folder}/run/init.pid", "w", encoding="ascii") as file:  # noqa: PTH123 - pathlib takes memory
        file.write(str(os.getpid()))
    container.run()
    return 0


def adopt_orphans() -> None:
    """Makes every process whose parent dies a child of this one, so that none escapes; only Linux can."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)


class Container:
    """The start command, over and over, until SIGTERM."""

    def __init__(self, folder: str, words: list[str]) -> None:
        self._folder, self._words = folder, words
        self._log = Log(f"{folder}/log/container.jsonl")
        self._output, self._input = os.pipe()
        self._bell, bell = os.pipe()
        for end in (self._output, self._bell, bell):
            os.set_blocking(end, False)
        self._stopping = self._wants_ssh = False
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD):
            signal.signal(number, self._signalled)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.set_wakeup_fd(bell, warn_on_full_buffer=False)

    def run(self) -> None:
        """Blocks until nobody is left after SIGTERM."""
        pause = 0.2
        while not self._stopping:
            began = time.monotonic()
            self._wipe()
            code = self._until_exit(self._spawn(self._words))
            if self._stopping:
                break
            self._end_all(grace=0.0)  # whatever else ran in a container dies with its first process
            self._log.write(f"container exited with code {code}, restarting".encode())
            pause = 0.2 if time.monotonic() - began > 10 else min(5.0, pause * 2)
            self._wait(pause)
        self._end_all()
        self._wipe()

    def _signalled(self, number: int, _frame: object) -> None:
        if number == signal.SIGTERM:
            self._stopping = True
        elif number == signal.SIGUSR1:
            self._wants_ssh = True

    def _wipe(self) -> None:
        """An empty container disk; the one there was, where the cloud keeps it."""
        disk = f"{self._folder}/disk"
        os.chdir("/")
        if not os.path.exists(f"{self._folder}/run/keep"):  # noqa: PTH110
            _remove(disk)
        for name in ("root", "tmp", "etc"):
            os.makedirs(f"{disk}/{name}", exist_ok=True)  # noqa: PTH103
        os.chdir(f"{disk}/root")

    def _spawn(self, words: list[str]) -> int | None:
        """The process's number; None where there is no such program."""
        null = os.open(os.devnull, os.O_RDONLY)
        ends = ((null, 0), (self._input, 1), (self._input, 2))
        actions = [(os.POSIX_SPAWN_DUP2, old, new) for old, new in ends]
        try:
            return os.posix_spawnp(words[0], words, os.environ, file_actions=actions, setpgroup=0, setsigdef=_DEFAULT)
        except OSError as error:
            self._log.write(f"exec: {words[0]}: {error.strerror}".encode())
            return None
        finally:
            os.close(null)

    def _until_exit(self, child: int | None) -> int:
        """Its exit code, negative for a signal; 127 where it never ran, and -15 where the machine is to stop."""
        if child is None:
            return 127
        while not self._stopping:
            for ended, status in _reaped():
                if ended == child:
                    return os.waitstatus_to_exitcode(status)
            self._wait(60.0)
        return -signal.SIGTERM

    def _wait(self, seconds: float) -> None:
        """Until a signal comes, or so long; meanwhile what is printed is logged."""
        until = time.monotonic() + seconds
        rung = False
        while not rung and not self._stopping and (left := until - time.monotonic()) > 0:
            ready, _, _ = select.select([self._output, self._bell], [], [], left)
            rung = self._bell in ready
            if self._output in ready:
                self._log.take(os.read(self._output, _LONGEST))
        if rung:
            with contextlib.suppress(BlockingIOError):
                os.read(self._bell, 4096)
        if self._wants_ssh and not self._stopping:
            self._wants_ssh = False
            self._spawn([f"{self._folder}/run/ssh"])

    def _end_all(self, grace: float = GRACE) -> None:
        """Ends every process there is: SIGTERM, and SIGKILL when the grace is over. Returns only when none is left."""
        for pid in _descendants():
            _tell(pid, signal.SIGTERM)
        until = time.monotonic() + grace
        while _has_children():
            if time.monotonic() >= until:
                for pid in _descendants():
                    _tell(pid, signal.SIGKILL)
            with contextlib.suppress(BlockingIOError):
                self._log.take(os.read(self._output, _LONGEST))
            time.sleep(0.01)
        self._log.close_line()


class Log:
    """Lines with their time and number, in a file that never grows past a limit."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._number = _last_number(path)
        self._rest = b""

    def take(self, piece: bytes) -> None:
        """Writes the lines that this completes."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        self._write(lines)
        if len(self._rest) > _LONGEST:
            self.close_line()

    def close_line(self) -> None:
        """Writes what has come of a line."""
        if self._rest:
            self._write([self._rest])
            self._rest = b""

    def write(self, line: bytes) -> None:
        """Writes one line."""
        self._write([line])

    def _write(self, lines: list[bytes]) -> None:
        """Adds lines; a full disk loses them, and nothing else."""
        if not lines:
            return
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1e6):06d}Z"
        entries = "".join(self._entry(stamp, line) for line in lines)
        with contextlib.suppress(OSError), open(self._path, "a", encoding="ascii") as file:  # noqa: PTH123
            file.write(entries)
            if file.tell() > _ROTATED:
                os.replace(self._path, f"{self._path}.1")  # noqa: PTH105

    def _entry(self, stamp: str, line: bytes) -> str:
        self._number += 1
        text = line.decode("utf-8", "replace").rstrip("\r")
        return json.dumps({"ts": stamp, "seq": self._number, "line": text}) + "\n"


def _remove(folder: str) -> None:
    """Deletes a folder with all that is in it; shutil would take 2 MB of memory."""
    for place, folders, files in os.walk(folder, topdown=False):
        for name in files:
            with contextlib.suppress(OSError):
                os.unlink(f"{place}/{name}")  # noqa: PTH108
        for name in folders:
            path = f"{place}/{name}"
            with contextlib.suppress(OSError):
                (os.unlink if os.path.islink(path) else os.rmdir)(path)  # noqa: PTH114


def _last_number(path: str) -> int:
    for name in (path, f"{path}.1"):
        with contextlib.suppress(OSError, ValueError, IndexError), open(name, "rb") as file:  # noqa: PTH123
            file.seek(max(0, os.fstat(file.fileno()).st_size - 2 * _LONGEST))
            return int(json.loads(file.read().splitlines()[-1])["seq"])
    return 0


def _reaped() -> Iterator[tuple[int, int]]:
    """Children that have ended, each with its status."""
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            yield pid, status


def _has_children() -> bool:
    """Whether anybody is left: everyone whose parent died is a child of this process."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def _tell(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _descendants() -> list[int]:
    """Every process below this one."""
    found: list[int] = []
    waiting = [os.getpid()]
    children = _children if os.path.exists(f"/proc/self/task/{os.getpid()}/children") else _scanned()  # noqa: PTH110
    while waiting:
        below = children(waiting.pop())
        found += below
        waiting += below
    return found


def _children(pid: int) -> list[int]:
    """As Linux lists them, for each thread."""
    below: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208
            with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{thread}/children", encoding="ascii") as file:  # noqa: PTH123
                below += [int(word) for word in file.read().split()]
    return below


def _scanned() -> Callable[[int], list[int]]:
    """The same from a list of all processes, for systems without such files."""
    below: dict[int, list[int]] = {}
    import subprocess

    listed = subprocess.run(["ps", "-axo", "pid=,ppid="], capture_output=True, text=True, check=False)
    for line in listed.stdout.splitlines():
        pid, parent = (int(word) for word in line.split())
        below.setdefault(parent, []).append(pid)
    return lambda pid: below.get(pid, [])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
