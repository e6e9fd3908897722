"""How long a run stands still when its machine is taken back: from `lost` to the first step on the next machine.

    python benchmarks/recovery.py [ROUNDS] [--scripted] [--boot 3] [--folder /tmp]

Each round rents on an emulated RunPod, trains a tiny model there, has the machine taken back after step 6, and waits until the
run has gone on by two steps on another machine. The machines are real process trees with real sshd, and the agent and the
trainer are the real ones; with `--scripted` the trainer loads no model, and what is left is lorry's own time. `total without
boot` leaves out what the emulator takes to boot a machine (`--boot` seconds). `set up` runs beside sending.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

PARTS = (
    ("rent", "lost", "rented"),
    ("boot, connect, send", "rented", "sent"),
    ("finish setting up, start", "sent", "ready"),
    ("start Python, look at the machine", "ready", "machine"),
    ("load the model", "machine", "loaded"),
    ("read the checkpoint, rows", "loaded", "started"),
    ("first step", "started", "step"),
)
INTERRUPTED = 6


def main() -> None:
    """Prints every round, then the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rounds", nargs="?", type=int, default=3)
    parser.add_argument("--scripted", action="store_true")
    parser.add_argument("--boot", type=float, default=3.0)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        os.environ["LORRY_HOME"] = f"{folder}/home"
        rounds = measure(Path(folder), options)
    names = [*(name for name, _, _ in PARTS), "set up", "total", "total without boot"]
    for name in names:
        seconds = [one[name] for one in rounds]
        print(f"{name:36} {median(seconds):6.2f} s   ({', '.join(f'{one:.2f}' for one in seconds)})")


def measure(folder: Path, options: argparse.Namespace) -> list[dict[str, float]]:
    """The seconds of each part, a round each."""
    from lorry.emulators import launch

    found: list[dict[str, float]] = []
    with launch.running("runpod", folder / "cloud") as cloud:
        cloud.control.settings(boot_seconds=options.boot, ssh_seconds=0, environment=_environment(folder, options))
        for number in range(options.rounds):
            cloud.control.arm("interrupt", step=INTERRUPTED)
            run = begin(folder)
            asyncio.run(until_recovered(run))
            cloud.control.disarm()
            found.append(parts(run, options.boot))
            print(f"round {number + 1}: {found[-1]['total']:.1f} s, {found[-1]['set up']:.1f} s of them setting up")
    return found


def _environment(folder: Path, options: argparse.Namespace) -> dict[str, str]:
    """What every process on the machines has; for scripted trainers a Python that has the script."""
    if not options.scripted:
        return {}
    import borrowed

    (folder / "image" / "bin").mkdir(parents=True)
    python = borrowed.image(folder / "image", scripted=True)
    return {"LORRY_PYTHON": str(python), "LORRY_SCRIPTED_STEP": "0.2"}


def begin(folder: Path) -> Any:
    """A run of so many steps that it does not end before it is looked at."""
    import tiny_runs

    compute = {"on": ["runpod"], "gpu": ["cpu"]}
    train = {"steps": 100_000, "save_every": 2}
    return tiny_runs.begin(tiny_runs.recipe(folder, compute=compute, train=train))


async def until_recovered(run: Any) -> None:
    """Controls a run until it has gone on on its second machine, and has its machines given back."""
    from lorry.compute.control import controller
    from lorry.compute.control.at_home import ask

    seen: list[Any] = []
    work = asyncio.create_task(controller.control(run.folder, seen.append, controller.Settings()))
    until = time.monotonic() + 300
    while not work.done() and time.monotonic() < until:
        await asyncio.sleep(0.1)
        lost = [event.seq for event in seen if event.kind == "lost"]
        if lost and sum(event.kind == "step" and event.seq > lost[0] for event in seen) >= 2:
            break
    ask(run.folder, "now")
    await work


def parts(run: Any, boot: float) -> dict[str, float]:
    """Seconds of each part of the way, by the events' own times."""
    from lorry.track.events import read

    events = list(read(run.folder.events))
    (lost, *_) = [event for event in events if event.kind == "lost"]
    after = [event for event in events if event.seq >= lost.seq]
    at = {kind: first(after, kind) for kind in ("lost", "rented", "sent", "ready", "step")}
    at |= {kind: first(after, kind, at["ready"]) for kind in ("machine", "loaded", "started")}
    found = {name: max(0.0, at[end] - at[start]) for name, start, end in PARTS}
    (ready, *_) = [event for event in after if event.kind == "ready"]
    found["set up"] = sum(ready.data["steps_of_setup"].values())
    found["total"] = at["step"] - at["lost"]
    found["total without boot"] = found["total"] - boot
    return found


def first(events: Iterable[Any], kind: str, otherwise: float | None = None) -> float:
    """When the first event of a kind was written; scripted trainers do not tell all."""
    found = [event.at for event in events if event.kind == kind]
    return found[0] if found or otherwise is None else otherwise


if __name__ == "__main__":
    main()
