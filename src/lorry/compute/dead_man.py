"""The dead-man switch: the shell command that a machine runs before anything else, so that it ends itself without lorry."""

from __future__ import annotations

import base64
import gzip
import shlex
import time
from dataclasses import dataclass, field
from importlib.resources import files

_UNPACKED = (
    "printf %s $packed|base64 -d|gzip -dc",
    "printf %s $packed|openssl base64 -d -A|gzip -dc",
    "python3 -c 'import base64, gzip, sys; print(gzip.decompress(base64.b64decode(sys.argv[1])).decode())' $packed",
)
"""Ways to the script, the likeliest first: images differ in what they have. Providers take some 4,000 characters."""

_FOR_EVER = 1e11
"""Seconds; what is infinite has to be a number to a shell."""


@dataclass(frozen=True)
class Switch:
    """When a machine ends itself. Durations are seconds; caps in hours and dollars are in the deadline."""

    deadline: float
    """Seconds since 1970: not a second longer, whatever is under way."""
    idle: float
    """While no run is on it: so long after it started, a run was taken off it, or the controller last touched `contact`."""
    silence: float
    """While a run is on it and has not ended: so long after its heartbeat last changed. The controller does not count."""
    grace: float
    """Once training has ended: so long after that, or after the controller last touched `contact`."""
    made: float = field(default_factory=time.time)
    """Seconds since 1970, by this computer's clock: when the machine was ordered. It has not been up since before."""


def start_command(switch: Switch, ends_itself: str) -> str:
    """One line of POSIX shell that arms the switch in the background and returns at once, with 0.

    Run again, after a restart of the container or beside a switch that is armed, it arms with the same deadline, and the
    newest switch is the one that counts. `ends_itself` is the provider's command, which takes its key from the machine's
    environment: the line and what it leaves behind hold no secret. Where it is empty, the machine cannot end itself, and all
    that happens is that the agent is asked to end, at the deadline.

    What it goes by, all in `$HOME/.lorry`: `run` (one line: the run's folder, with `heartbeat.json` in it), `ended`
    (training is over), `contact` (touched while a controller is connected), `agent.pid` (its first word is the agent's pid,
    which gets one SIGTERM and up to 20 s to save, before the deadline rather than after it). What it writes there: `place`
    (where lorry keeps its files: `$LORRY_PLACE`, else `$HOME/lorry`, made), `booted` (it is armed), `dead_man.pid` and
    `dead_man.log`. An ending that fails is tried again for ever, at last once a minute.

    What holds when the machine's clock is wrong. Idle, silence and grace are counted in uptime from when a file was seen to
    change, so no clock matters to them; each begins anew with the switch. The deadline has come when both the clock and the
    uptime since arming say so: a clock that jumps ahead ends nothing early, one that was ahead at first and is put right
    neither. It has also come when the uptime since arming reaches `deadline - made`: a clock that is or falls behind keeps
    the machine at most for the time between the order and the (last) start of the container. Only a clock that is ahead
    from the start and stays so ends a machine early, by as much.
    """
    names = ("deadline", "made", "idle", "silence", "grace")
    limits = {name: int(max(0.0, min(getattr(switch, name), _FOR_EVER))) for name in names}
    head = " ".join(f"{name}={value}" for name, value in limits.items())
    script = f"{head}\nends_itself={shlex.quote(ends_itself)}\n{_without_comments(_script())}"
    packed = base64.b64encode(gzip.compress(script.encode(), mtime=0)).decode()
    unpack = "; ".join(f'[ -n "$LORRY_DEAD_MAN" ] || LORRY_DEAD_MAN="$({way})"' for way in _UNPACKED)
    return (
        f"( trap '' HUP; exec </dev/null >/dev/null 2>&1; packed={packed}; LORRY_DEAD_MAN=; {unpack}; export LORRY_DEAD_MAN; "
        "$(command -v setsid) sh -c 'eval \"$LORRY_DEAD_MAN\"' lorry-dead-man & )"
    )


def _script() -> str:
    return files("lorry.compute.machine.on_machine").joinpath("dead_man.sh").read_text(encoding="utf-8")


def _without_comments(script: str) -> str:
    """The same program in fewer characters; it has no quoted line that begins with `#` or a space."""
    lines = (line.strip() for line in script.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("#")) + "\n"
