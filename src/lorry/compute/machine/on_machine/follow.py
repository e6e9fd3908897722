"""Tells the controller, line by line, what happens in a run's folder on this machine.

Sent as source and run as `python3 -u -c "import sys; exec(sys.stdin.buffer.read(N))"`; the line after the source holds what is
wanted, as JSON: `folder`, `after` (the number of the last event that is known), `silence` and `pulse` (seconds), `a_minute` and
`in_all` (the most bytes to be sent). Needs Python 3.8 and nothing else. Each line that it writes begins with a letter:

    o 1                    it has begun, with this version of what follows
    e {...}                a line of events.jsonl, as it is
    h {...}                heartbeat.json, or null while there is none; every few seconds
    c ["step-000050"]      the checkpoints that are complete, when they change
    g 4711                 the agent's process is gone, and training has not ended
    x 0                    training has ended, with what stands in ~/.lorry/ended; all events were told before
    ! ...                  what keeps it from going on; the last line

It ends when its stdin closes, when nothing came there for `silence` seconds (then nobody listens any more), and when it has
sent all that may be sent over one connection.
"""

from __future__ import annotations

import json
import os
import select
import sys
import time

LONGEST = 1 << 20
PIECE = 1 << 16
PAUSE = 0.5
MINUTE = 61
SAFE = 4096  # a pipe that takes anything takes so many bytes at once


class Gone(Exception):  # noqa: N818 - no error: whoever listened has left
    """Nobody listens any more."""


class Line:
    """The connection to the controller."""

    def __init__(self, wanted: dict[str, float], contact: str) -> None:
        self.silence = wanted["silence"]
        self.a_minute = self.left = wanted["a_minute"]
        self.in_all = wanted["in_all"]
        self.contact = contact
        self.heard = self.minute = time.monotonic()

    def listen(self, seconds: float, *, to_write: bool = False) -> bool:
        """Waits for so long, or until something can be written; whether it can. Raises Gone."""
        readable, writable, _ = select.select([0], [1] if to_write else [], [], seconds)
        now = time.monotonic()
        if readable:
            if not os.read(0, SAFE):
                raise Gone
            self.heard = now
        elif now - self.heard > self.silence:
            raise Gone
        return bool(writable)

    def say(self, data: bytes) -> None:
        """Writes bytes at the pace that is allowed, for as long as somebody listens, and touches `contact`."""
        self.left -= len(data)
        self.in_all -= len(data)
        if self.in_all < 0:
            raise Gone
        while self.left < 0 and time.monotonic() - self.minute < MINUTE:
            self.listen(1.0)
            if self.listen(0.0, to_write=True):
                os.write(1, b"h null\n")  # else it would seem to have fallen silent
        if time.monotonic() - self.minute >= MINUTE:
            self.left, self.minute = self.a_minute - len(data), time.monotonic()
        while data:
            if self.listen(1.0, to_write=True):
                data = data[os.write(1, data[:SAFE]) :]
        try:
            os.utime(self.contact)
        except OSError:
            touch(self.contact)


def touch(path: str) -> None:
    """Makes a file that is not there yet; a disk that refuses is none of the controller's concern."""
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120 - pathlib takes a megabyte more
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    except OSError:
        pass


class Events:
    """`events.jsonl`, read on from where it was; half a line waits for its end."""

    def __init__(self, path: str, after: int) -> None:
        self.path = path
        self.after = after
        self.file = -1
        self.place = 0
        self.seen = (-1, -1, -1)

    def tell(self, line: Line) -> None:
        """Sends the whole lines that are new."""
        try:
            now = os.stat(self.path)  # noqa: PTH116
            if (now.st_ino, now.st_size, now.st_mtime_ns) == self.seen:
                return
            if now.st_ino != self.seen[0] or now.st_size < self.place:
                self.open()
        except OSError:
            return
        self.seen = (now.st_ino, now.st_size, now.st_mtime_ns)
        while self.piece(line):
            pass

    def open(self) -> None:
        """Begins anew: the file is another one, or was cut; what was told is passed over."""
        file = os.open(self.path, os.O_RDONLY)
        if self.file >= 0:
            os.close(self.file)
        self.file, self.place = file, 0

    def piece(self, line: Line) -> bool:
        """Sends the lines of one piece of the file; whether there was a whole one."""
        data = os.pread(self.file, PIECE, self.place)
        while data and b"\n" not in data and len(data) <= LONGEST:
            more = os.pread(self.file, PIECE, self.place + len(data))
            if not more:
                return False
            data += more
        end = data.rfind(b"\n") + 1
        if len(data) > LONGEST and (not end or data.find(b"\n") >= LONGEST):
            line.say(b"! a line of events.jsonl is longer than a MiB\n")
            raise Gone
        self.place += end
        new = [b"e " + one + b"\n" for one in data[:end].split(b"\n")[:-1] if self.is_new(one)]
        if new:
            line.say(b"".join(new))
        return end > 0

    def is_new(self, event: bytes) -> bool:
        """Whether its number is above those that are known; a line without one is for the controller to judge."""
        head, mark, rest = event[:64].partition(b'"seq":')
        number = rest.split(b",")[0].strip(b" }\r") if mark and len(head) < 8 else b""
        if not number.isdigit():
            return True
        if int(number) <= self.after:
            return False
        self.after = int(number)
        return True


def content(path: str) -> bytes:
    """The first bytes of a small file; none where there is none."""
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError:
        return b""
    try:
        return os.read(file, SAFE + 1)
    except OSError:
        return b""
    finally:
        os.close(file)


def facts(pid: int) -> tuple[bytes, float] | None:
    """A process's state and start, in ticks since the machine's; None where there is none, or no /proc."""
    fields = content(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    return (fields[0], float(fields[19])) if len(fields) > 19 else None


def is_agent(path: str, pid: int, started: bytes) -> bool:
    """Whether a process is the one that was written down: its number may have become another's."""
    found = facts(pid)
    if found is None:
        if os.path.exists("/proc/self/stat"):  # noqa: PTH110
            return False
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except OSError:
            pass
        return True
    if found[0] in b"ZX":
        return False
    if started.isdigit():
        return int(started) == int(found[1])
    # Begun after its number was written: another's, or the clock was set. Its command line knows.
    boot = next((one.split()[1] for one in content_of_stat() if one.startswith(b"btime")), b"0")
    begun = int(boot) + found[1] / os.sysconf("SC_CLK_TCK")
    return begun <= os.stat(path).st_mtime + 2 or b"lorry" in content(f"/proc/{pid}/cmdline")  # noqa: PTH116


def content_of_stat() -> list[bytes]:
    """The lines of /proc/stat, which grows with the processors."""
    with open("/proc/stat", "rb") as file:  # noqa: PTH123
        return file.readlines()


class Watch:
    """What is told beside events."""

    def __init__(self, folder: str, home: str, pulse: float) -> None:
        self.folder = folder
        self.home = home
        self.pulse = pulse
        self.beaten = self.looked = float("-inf")
        self.checkpoints: list[str] = []
        self.missing = 0
        self.gone = ""
        self.ended = b""
        self.empty_since = 0.0

    def tell(self, line: Line, events: Events) -> None:
        """Sends what is due."""
        now = time.monotonic()
        if now - self.looked >= self.pulse / 2:
            self.looked = now
            self.tell_checkpoints(line)
            self.tell_agent(line)
        self.tell_end(line, events, now)
        if now - self.beaten >= self.pulse:
            self.beaten = now
            beat = content(self.folder + "/heartbeat.json").replace(b"\n", b" ").strip()
            line.say(b"h " + (beat if 0 < len(beat) <= SAFE else b"null") + b"\n")

    def tell_checkpoints(self, line: Line) -> None:
        """Sends the list of complete checkpoints if it is another one."""
        place = self.folder + "/checkpoints/"
        try:
            names = [one for one in os.listdir(place) if one.startswith("step-")]  # noqa: PTH208
        except OSError:
            names = []
        found = sorted(one for one in names if os.path.exists(place + one + "/manifest.json"))  # noqa: PTH110
        if found != self.checkpoints:
            self.checkpoints = found
            line.say(b"c " + json.dumps(found).encode() + b"\n")

    def tell_agent(self, line: Line) -> None:
        """Says once that the agent is gone: missing at two looks, so that its last word has time to be written."""
        path = self.home + "/agent.pid"
        words = content(path).split()
        if not words or not words[0].isdigit() or content(self.home + "/ended"):
            self.missing = 0
            return
        try:
            lives = is_agent(path, int(words[0]), words[1] if len(words) > 1 else b"")
        except OSError:
            return
        self.missing = 0 if lives else self.missing + 1
        gone = words[0].decode()
        if self.missing >= 2 and gone != self.gone:
            self.gone = gone
            line.say(b"g " + words[0] + b"\n")

    def tell_end(self, line: Line, events: Events, now: float) -> None:
        """Says that training has ended, after its last events; an exit code that never comes is not waited for long."""
        path = self.home + "/ended"
        if not os.path.exists(path):  # noqa: PTH110
            self.ended, self.empty_since = b"", 0.0
            return
        said = content(path).replace(b"\n", b" ").strip()[:100]
        self.empty_since = self.empty_since or now
        if self.ended or (not said and now - self.empty_since < 10):
            return
        events.tell(line)
        self.ended = said or b"?"
        line.say(b"x " + self.ended + b"\n")


def main() -> None:
    """Tells until nobody listens."""
    wanted = json.loads(sys.stdin.buffer.readline())
    home = os.path.expanduser("~/.lorry")  # noqa: PTH111
    folder = os.path.expandvars(os.path.expanduser(wanted["folder"]))  # noqa: PTH111
    line = Line(wanted, home + "/contact")
    events = Events(folder + "/events.jsonl", wanted["after"])
    watch = Watch(folder, home, wanted["pulse"])
    try:
        line.say(b"o 1\n")
        while True:
            events.tell(line)
            watch.tell(line, events)
            line.listen(PAUSE)
    except (Gone, BrokenPipeError, ConnectionResetError):
        # Nothing is left to be flushed; an error in flushing would be written to a stderr that nobody reads.
        os._exit(0)


if __name__ == "__main__":
    main()
