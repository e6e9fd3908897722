"""Starts training on a machine so that nothing depends on whoever asked for it; asked again, it changes nothing.

Sent as it is, with a line of JSON after it on stdin: `{"words": [...], "run": folder, "environment": {...}, "again": bool}`.
Answers with a line of JSON: `{"state": "started" | "running" | "ended"}`. Without words nothing is started, and the state may
also be `new` or `gone`. Needs nothing but Python.

In `~/.lorry`: `run` (the folder), `agent.pid` (number and start of the process), `ended` (the exit code, once it has ended).
What stands in the environment may be secret: it is in no file and on no command line.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

_WAITS = (
    '"$@" 3>&- & printf "%s\\n" "$!" >&3; exec 3>&-; wait "$!"; code=$?; '
    'printf %s "$code" >"$ENDED.part" && mv "$ENDED.part" "$ENDED"'
)
"""A shell that tells the agent's number, and outlives it by a moment to write down how it ended."""


def _start_of(pid: str) -> str:
    """When a process was started, in ticks since the machine was; empty where there is none, or it is a corpse."""
    try:
        with open("/proc/%s/stat" % pid, encoding="ascii", errors="replace") as file:  # noqa: PTH123, UP031
            rest = file.read().rpartition(")")[2].split()
    except (OSError, ValueError):
        return ""
    return "" if rest[0] == "Z" else rest[19]


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            return file.read().strip()
    except OSError:
        return ""


def _write(path: str, text: str) -> None:
    with open(path + ".part", "w", encoding="utf-8") as file:  # noqa: PTH123
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(path + ".part", path)  # noqa: PTH105


def _state(home: str, run: str) -> str:
    """How it stands with this run on this machine."""
    if _read(home + "/run") != run:
        return "new"
    pid, _, since = _read(home + "/agent.pid").partition(" ")
    if pid.isdigit() and since and _start_of(pid) == since:
        return "running"
    return "ended" if os.path.exists(home + "/ended") else "gone"  # noqa: PTH110


def _begin(asked: dict[str, Any]) -> str:
    home = os.path.join(os.path.expanduser("~"), ".lorry")  # noqa: PTH111, PTH118
    state = _state(home, asked["run"])
    if not asked["words"]:
        return state
    os.makedirs(home, exist_ok=True)  # noqa: PTH103
    os.makedirs(os.path.join(asked["run"], "logs"), exist_ok=True)  # noqa: PTH103, PTH118
    if state == "running" or (state == "ended" and not asked.get("again")):
        return state
    for name in ("ended", "agent.pid"):
        if os.path.exists(home + "/" + name):  # noqa: PTH110
            os.remove(home + "/" + name)  # noqa: PTH107
    _write(home + "/run", asked["run"])
    log = open(os.path.join(asked["run"], "logs", "agent.log"), "ab")  # noqa: PTH123, PTH118, SIM115
    reader, writer = os.pipe()
    subprocess.Popen(
        ["sh", "-c", "exec 3>&%d; %s" % (writer, _WAITS), "lorry", *asked["words"]],  # noqa: UP031
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        cwd=asked["run"],
        env={**os.environ, **asked["environment"], "ENDED": home + "/ended"},
        pass_fds=(writer,),
    )
    os.close(writer)
    with os.fdopen(reader, encoding="ascii") as told:
        pid = told.readline().strip()
    _write(home + "/agent.pid", "%s %s" % (pid, _start_of(pid)))  # noqa: UP031
    return "started"


if __name__ == "__main__":
    request = json.loads(sys.stdin.buffer.readline())
    sys.stdout.write(json.dumps({"state": _begin(request)}) + "\n")
    sys.stdout.flush()
