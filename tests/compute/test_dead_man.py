"""The dead-man switch in real shells: what ends a machine, what does not, whatever its clock says."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from lorry.compute.dead_man import Switch, start_command

SHELLS = [shell for shell in ("dash", "bash", "busybox") if shutil.which(shell)]
NOW = 1_000_000
"""What the machine's clock says when it starts; its uptime is 500 s then."""
NEEDED = ("date", "sleep", "stat", "mkdir", "wc", "mv", "base64", "gzip")


class Machine:
    """A home with a shell, a clock and an uptime that the test sets."""

    def __init__(self, folder: Path, shell: str) -> None:
        self.home, self.bin = folder / "home", folder / "bin"
        self.home.mkdir(parents=True)
        self.bin.mkdir()
        (self.bin / "sh").symlink_to(str(shutil.which(shell)))
        self.program("date", f'if [ "$*" = +%s ]; then cat {folder}/clock; else exec {shutil.which("date")} "$@"; fi')
        # Every round of the switch ends in a sleep: who sleeps has looked at everything.
        self.program("sleep", f'echo "$PPID" >>{folder}/rounds; exec {shutil.which("sleep")} "$@"')
        self.variables = {
            "HOME": str(self.home),
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "LORRY_UPTIME": str(folder / "uptime"),
            "LORRY_DEAD_MAN_TICK": "0.05",
            "LORRY_DEAD_MAN_WAIT": "2",
        }
        self.folder, self.clock, self.up = folder, NOW, 500
        self.set()

    def start(self, ends: str = 'echo ended >>"$HOME/ends"', **limits: Any) -> None:
        """Arms a switch whose limits are far away but for those given; times are seconds from now."""
        made, ids = NOW + limits.pop("made", 0), limits.pop("as_", {})
        is_over = self.clock >= NOW + limits.get("deadline", 100_000)
        deadline = NOW + limits.pop("deadline", 100_000)
        far = {"idle": 10_000.0, "silence": 10_000.0, "grace": 10_000.0}
        line = start_command(Switch(deadline, made=made, **(far | limits)), ends)
        assert "\n" not in line
        assert len(line) < 4000
        began = time.monotonic()
        before = self.pid()
        done = subprocess.run(
            [self.bin / "sh", "-c", line], env=self.variables, timeout=20, check=True, capture_output=True, **ids
        )
        assert (done.stdout, done.stderr) == (b"", b"")
        assert time.monotonic() - began < 5
        until(lambda: self.pid() not in (None, before) and (self.at / "place").exists())
        if not is_over:
            self.looked()

    def set(self, clock: float | None = None, up: float | None = None) -> None:
        self.clock, self.up = self.clock if clock is None else NOW + clock, self.up if up is None else 500 + up
        for name, text in (("clock", f"{self.clock}\n"), ("uptime", f"{self.up}.37 99.0\n")):
            (self.folder / f"{name}.new").write_text(text)
            (self.folder / f"{name}.new").rename(self.folder / name)

    def passes(self, seconds: float) -> None:
        """Lets that time have passed since the start."""
        self.set(clock=seconds, up=seconds)

    def program(self, name: str, script: str) -> None:
        (self.bin / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.bin / name).chmod(0o755)

    def looked(self) -> None:
        """Waits until the switch has looked at everything as it is, by way of the process that watches the heartbeat."""
        if (self.at / "run").exists():
            self.rounds(is_watcher=True, seconds=2)
        self.rounds(is_watcher=False, seconds=20)

    def rounds(self, *, is_watcher: bool, seconds: float) -> None:
        """Waits for two whole rounds, or so many seconds."""
        path, main, end = self.folder / "rounds", str(self.pid()), time.monotonic() + seconds
        since = len(path.read_text().splitlines()) if path.exists() else 0
        while time.monotonic() < end:
            lines = path.read_text().splitlines()[since:] if path.exists() else []
            if len([line for line in lines if (line != main) == is_watcher]) > 2:
                return
            time.sleep(0.02)

    @property
    def at(self) -> Path:
        return self.home / ".lorry"

    def pid(self) -> int | None:
        try:
            return int((self.at / "dead_man.pid").read_text())
        except (OSError, ValueError):
            return None

    def has_ended(self) -> bool:
        return (self.home / "ends").exists()

    def stays(self) -> bool:
        self.looked()
        return not self.has_ended() and psutil.pid_exists(self.pid() or -1)

    def touch(self, path: Path, seconds: float = 0) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, (NOW + seconds, NOW + seconds))

    def trains(self, end: str = "\n") -> Path:
        """A run is put on it; the path of its heartbeat."""
        beat = self.home / "lorry/runs/one/heartbeat.json"
        self.touch(beat)
        (self.at / "run").write_text(f"{beat.parent}{end}")
        self.looked()
        return beat


@pytest.fixture(params=SHELLS)
def machine(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Machine]:
    with machine_of(tmp_path, request.param) as made:
        yield made


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[Machine]:
    """One whose shell is as small as there is."""
    with machine_of(tmp_path, SHELLS[0]) as made:
        yield made


@contextmanager
def machine_of(folder: Path, shell: str) -> Iterator[Machine]:
    made = Machine(folder, shell)
    try:
        yield made
    finally:
        for process in psutil.process_iter(["environ"]):
            if (process.info["environ"] or {}).get("LORRY_UPTIME") == made.variables["LORRY_UPTIME"]:
                process.kill()


def until(is_so: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_machine_ends_at_its_deadline_and_not_before(machine):
    machine.start(deadline=100)
    machine.passes(98)
    assert machine.stays()
    machine.passes(100)
    until(machine.has_ended)


def test_place_is_made_and_told(machine):
    machine.variables["LORRY_PLACE"] = str(machine.home / "a volume/lorry")
    machine.start()
    assert (machine.at / "place").read_text() == f"{machine.home}/a volume/lorry\n"
    assert (machine.home / "a volume/lorry").is_dir()
    assert (machine.at / "booted").exists()


def test_place_that_cannot_be_made_is_replaced(plain):
    (plain.home / "file").touch()
    plain.variables["LORRY_PLACE"] = str(plain.home / "file/lorry")
    plain.start()
    assert (plain.at / "place").read_text() == f"{plain.home}/lorry\n"


def test_machine_that_nobody_uses_ends_and_contact_keeps_it(machine):
    machine.start(idle=50)
    machine.passes(45)
    machine.touch(machine.at / "contact", 45)
    machine.looked()
    machine.passes(90)
    assert machine.stays()
    machine.passes(96)
    until(machine.has_ended)


@pytest.mark.parametrize("end", ["\n", ""])
def test_run_with_a_heartbeat_needs_no_controller(machine, end):
    machine.start(idle=50, grace=50, silence=50)
    beat = machine.trains(end)
    for seconds in (40, 80, 120):
        machine.passes(seconds)
        machine.touch(beat, seconds)
        assert machine.stays()
    machine.touch(machine.at / "contact", 125)  # the controller is no reason to keep it
    machine.passes(175)
    until(lambda: "silence: ending the machine" in (machine.at / "dead_man.log").read_text())
    assert machine.has_ended()


def test_trained_machine_waits_for_its_adapter_to_be_fetched(machine):
    machine.start(grace=50, silence=20, idle=20)
    machine.trains()
    machine.touch(machine.at / "ended")
    machine.looked()
    machine.passes(45)
    machine.touch(machine.at / "contact", 45)
    machine.looked()
    machine.passes(90)
    assert machine.stays()
    machine.passes(96)
    until(machine.has_ended)


def test_run_taken_off_the_machine_leaves_it_idle_afresh(plain):
    plain.start(idle=50, silence=200)
    plain.trains()
    plain.passes(150)
    plain.looked()
    (plain.at / "run").unlink()
    plain.looked()
    plain.passes(195)
    assert plain.stays()
    plain.passes(205)
    until(plain.has_ended)


def test_clock_that_jumps_ahead_ends_nothing(machine):
    machine.start(deadline=1000, idle=500, silence=100, grace=100)
    beat = machine.trains()
    machine.set(clock=900_000)
    assert machine.stays()
    machine.touch(beat, 900_010)
    machine.set(clock=900_090, up=90)
    assert machine.stays()
    machine.touch(machine.at / "ended", 900_090)
    machine.set(clock=900_180, up=180)
    assert machine.stays()


def test_clock_that_jumps_back_keeps_a_machine_no_longer_than_its_order_is_old(machine):
    machine.start(deadline=1000, made=-60)
    machine.set(clock=-500_000, up=1000)
    assert machine.stays()
    machine.set(clock=-499_940, up=1060)
    until(machine.has_ended)


def test_clock_that_was_ahead_at_the_start_and_is_put_right_ends_nothing_early(plain):
    plain.set(clock=3600)
    plain.start(deadline=7200)
    plain.set(clock=3700, up=3700)
    assert plain.stays()
    plain.set(clock=7200, up=7200)
    until(plain.has_ended)


def test_clock_that_stands_in_1970_ends_the_machine_in_time(plain):
    plain.set(clock=-NOW)
    plain.start(deadline=1000, made=-30)
    plain.set(clock=1020 - NOW, up=1020)
    assert plain.stays()
    plain.set(clock=1030 - NOW, up=1030)
    until(plain.has_ended)


def test_machine_without_an_uptime_counts_by_its_clock_and_believes_no_jump(machine):
    machine.variables["LORRY_UPTIME"] = str(machine.folder / "nothing/uptime")
    machine.start(idle=100)
    machine.set(clock=50_000)
    assert machine.stays()
    machine.set(clock=50_050)
    assert machine.stays()
    machine.set(clock=50_100)
    until(machine.has_ended)
    subprocess.run(["kill", "-9", str(machine.pid())], check=False)


def test_armed_again_the_newest_switch_counts_with_the_same_deadline(machine):
    machine.start(deadline=100)
    first = machine.pid()
    machine.passes(50)
    machine.start(deadline=100)
    until(lambda: not psutil.pid_exists(first) or psutil.Process(first).status() == psutil.STATUS_ZOMBIE)
    machine.passes(100)
    until(machine.has_ended)


def test_restart_after_the_deadline_ends_the_machine_at_once(plain):
    plain.passes(500)
    plain.start(deadline=100)
    until(plain.has_ended)


def test_agent_is_asked_to_save_before_the_deadline_and_once(machine):
    machine.start(deadline=100)
    agent = subprocess.Popen(
        ["sh", "-c", "trap 'echo asked >>\"$HOME/asked\"' TERM; while :; do sleep 0.1; done"], env=machine.variables
    )
    try:
        (machine.at / "agent.pid").write_text(f"{agent.pid} 12345\n")
        machine.passes(97)
        assert machine.stays()
        assert not (machine.home / "asked").exists()
        machine.passes(98)
        until((machine.home / "asked").exists)
        assert machine.stays()
        machine.passes(100)
        until(machine.has_ended)
        assert (machine.home / "asked").read_text() == "asked\n"
    finally:
        agent.kill()
        agent.wait()


@pytest.mark.parametrize("end", ["\n", "", " 12345"])
def test_agent_has_a_while_to_save_where_money_does_not_press(plain, end):
    plain.start(idle=50)
    agent = subprocess.Popen(["sleep", "100"], env=plain.variables)
    (plain.at / "agent.pid").write_text(f"{agent.pid}{end}")
    plain.passes(50)
    assert agent.wait(timeout=20) == -signal.SIGTERM
    until(plain.has_ended)


@pytest.mark.parametrize("text", ["", "0\n", "-1\n", "1\n", "garbage\n", '{"pid": 5}\n', "99999999\n"])
def test_broken_note_of_the_agent_holds_nothing_up(plain, text):
    plain.start(deadline=100)
    (plain.at / "agent.pid").write_text(text)
    plain.passes(100)
    until(plain.has_ended)


class _Refusing(BaseHTTPRequestHandler):
    asked: list[float]

    def do_DELETE(self) -> None:
        self.asked.append(time.monotonic())
        self.send_response(204 if len(self.asked) > 2 else 500)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return


def test_provider_that_refuses_is_asked_again_with_growing_pauses(machine):
    handler = type("Handler", (_Refusing,), {"asked": []})
    server = HTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f'http://127.0.0.1:{server.server_address[1]}/it\'s "me"'.replace(" ", "%20")
    code = f"import urllib.request as u; u.urlopen(u.Request({url!r}, method='DELETE'), timeout=10)"
    try:
        machine.start(f'{sys.executable} -c {shlex.quote(code)} && touch "$HOME/ends"', deadline=10)
        machine.passes(10)
        until(machine.has_ended)
    finally:
        server.shutdown()
        server.server_close()
    first, second, third = handler.asked[:3]
    assert 0.9 < second - first < third - second
    log = (machine.at / "dead_man.log").read_text()
    assert log.count("ending the machine, exit code 1") >= 2
    assert url not in log


def test_log_of_an_ending_that_fails_for_ever_is_bounded(plain):
    plain.at.mkdir()
    (plain.at / "dead_man.log").write_text("x" * 30_000)
    plain.start("false", deadline=10)
    plain.passes(10)
    until(lambda: "exit code 1" in (plain.at / "dead_man.log").read_text())
    assert (plain.at / "dead_man.log").stat().st_size < 1000


def test_machine_that_cannot_end_itself_loses_its_agent_at_the_deadline_and_nothing_when_idle(plain):
    plain.start("", deadline=100, idle=20)
    agent = subprocess.Popen(["lorry-agent", "100"], executable=shutil.which("sleep"), env=plain.variables)
    (plain.at / "agent.pid").write_text(f"{agent.pid}\n")
    plain.passes(20)
    until(lambda: "idle: this machine cannot end itself" in (plain.at / "dead_man.log").read_text())
    plain.passes(100)
    assert agent.wait(timeout=20) == -signal.SIGTERM


def test_stranger_with_the_number_of_an_agent_of_old_is_left_alone_where_the_machine_stays(plain):
    plain.start("", deadline=10)
    stranger = subprocess.Popen(["sleep", "100"], env=plain.variables)
    (plain.at / "agent.pid").write_text(f"{stranger.pid}\n")
    plain.passes(10)
    until(lambda: "deadline: this machine cannot end itself" in (plain.at / "dead_man.log").read_text())
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


def only(machine: Machine, *programs: str) -> None:
    """Leaves the machine with these programs."""
    for program in programs:
        if not (machine.bin / program).exists():
            (machine.bin / program).symlink_to(str(shutil.which(program)))
    (machine.bin / "cat").symlink_to(str(shutil.which("cat")))
    machine.variables["PATH"] = str(machine.bin)


def test_machine_with_hardly_any_programs_ends_all_the_same(plain):
    only(plain, *NEEDED)
    plain.start(deadline=100)
    plain.passes(100)
    until(plain.has_ended)


@pytest.mark.parametrize("missing", ["base64", "gzip"])
def test_machine_without_a_decoder_uses_another(plain, missing):
    only(plain, *(program for program in NEEDED if program != missing), "python3" if missing == "gzip" else "openssl")
    if missing == "gzip":
        (plain.bin / "python3").unlink()
        (plain.bin / "python3").symlink_to(sys.executable)
    plain.start(deadline=100)
    plain.passes(100)
    until(plain.has_ended)


@pytest.mark.parametrize("shell", SHELLS)
def test_switch_that_cannot_fork_for_a_while_ends_the_machine_all_the_same(shell):
    folder = Path(tempfile.mkdtemp(prefix="lorry-fork-"))
    ids = {"user": 65534, "group": 65534} if os.getuid() == 0 else {}  # to root no such limit applies
    with machine_of(folder, shell) as made:
        for path in (folder, made.home):
            path.chmod(0o777)
        made.start(deadline=100, **{"as_": ids})
        limit = ["prlimit", f"--pid={made.pid()}"]
        subprocess.run([*limit, "--nproc=0:"], check=True, **ids)
        time.sleep(1)
        subprocess.run([*limit, "--nproc=1000:"], check=True, **ids)
        made.looked()
        made.passes(100)
        until(made.has_ended)
    shutil.rmtree(folder)


def test_volume_that_hangs_holds_nothing_up(plain):
    plain.program("stat", f'case "$*" in *heartbeat*) exec sleep 300;; esac; exec {shutil.which("stat")} "$@"')
    plain.start(deadline=1000, silence=50)
    plain.trains()
    plain.passes(40)
    assert plain.stays()
    plain.passes(51)
    until(plain.has_ended)


def test_limits_may_be_infinite(plain):
    plain.start(deadline=float("inf"), idle=float("inf"), silence=float("inf"), grace=50)
    plain.passes(10_000_000)
    assert plain.stays()
