"""What stands between the trainer and a reward function: when either of them ends, so does all that the function started.

It adopts what loses its parent (PR_SET_CHILD_SUBREAPER of prctl(2)), so that neither a session of its own nor a second fork
takes a process out of its reach. Out of its reach are what others start on the function's behalf (a container's daemon, `at`,
another machine), processes of another user, and what forks and ends faster than processes can be listed. Where the function
itself kills this process, its own process ends with it, and of the others those that have lost their parent stay.
Outside of Linux nobody adopts: there the function's session ends, and its descendants as far as they are known.

The trainer holds it by its input: that it is closed, or that the trainer is gone, is the word to end.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import time
from contextlib import suppress

_LOOK = 1000
"""Milliseconds between two looks whether the parent is still there: a copy of its end of the pipe may outlive it."""
_PATIENCE = 5.0
"""Seconds in which what is killed has to be gone."""
_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_SET_PDEATHSIG, _SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h


def divide(parent: int) -> None:
    """Goes on in a new process, in a session of its own; this one keeps it, and never returns from here."""
    adopts = _prctl(_SET_CHILD_SUBREAPER, 1)
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in (*_ENDING, signal.SIGCHLD):
        signal.signal(number, lambda _number, _frame: None)
    keeper, child = os.getpid(), os.fork()
    if child:
        os._exit(_kept(child, parent, reader, adopts=adopts))
    signal.set_wakeup_fd(-1)
    for number in (*_ENDING, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    os.close(reader)
    os.close(writer)
    os.setsid()
    # A function that hangs does not hear that nobody asks any more.
    _prctl(_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != keeper:
        os._exit(1)


def _kept(child: int, parent: int, woken: int, *, adopts: bool) -> int:
    """Waits for the child, or for the word to end, and ends what is left; the child's exit code, as a shell would tell it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # only the child answers: that it ends is the end of its answers
    look, code = select.poll(), None
    look.register(0, 0)  # hearing nothing but that the other end is closed
    look.register(woken, select.POLLIN)
    while code is None and os.getppid() == parent:
        ready = [descriptor for descriptor, _ in look.poll(_LOOK)]
        numbers = os.read(woken, 1024) if woken in ready else b""
        if 0 in ready or any(number in _ENDING for number in numbers):
            break
        code = _reaped(child)
    _end_all(child, adopts=adopts)
    return 1 if code is None else code if code >= 0 else 128 - code


def _reaped(child: int) -> int | None:
    """The child's exit code, if it has ended; what was adopted and has ended is cleared away."""
    code = None
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            code = os.waitstatus_to_exitcode(ended[1]) if ended[0] == child else code
    return code


def _end_all(child: int, *, adopts: bool) -> None:
    """Kills all descendants, and those that they start meanwhile."""
    import psutil

    end = time.monotonic() + _PATIENCE
    left = psutil.Process().children(recursive=True)
    while True:
        for one in left:
            with suppress(psutil.Error):
                one.kill()
        if not adopts:  # what has lost its parent is in no list
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(child, signal.SIGKILL)
        _reaped(child)
        left = psutil.Process().children(recursive=True)
        if not left or time.monotonic() > end:
            return
        time.sleep(0.01)


def _prctl(option: int, value: int) -> bool:
    """Whether the system does it."""
    return sys.platform == "linux" and ctypes.CDLL(None).prctl(option, value, 0, 0, 0) == 0
