"""How long light commands take, as whole processes: `python benchmarks/cli.py [REPEATS]`.

Prints the median, the fastest and the slowest of REPEATS warm runs (21 by default) of `lorry --help`, and of `lorry ps`
with 10,000 runs in the store (it shows the newest 20; listing all of them is measured too, without a target). Leaves
with 1 when a median misses its target.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from statistics import median

from lorry.track.store import Store

RUNS = 10_000
TARGETS = {"lorry --help": 0.2, "lorry ps": 0.5, "lorry ps --limit 0": None}
"""Warm medians in seconds; None where there is no target."""


def main() -> int:
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 21
    missed = 0
    with tempfile.TemporaryDirectory() as home:
        fill(Path(home))
        for command, target in TARGETS.items():
            seconds = measure(command, home, repeats)
            kept = target is None or median(seconds) <= target
            missed += not kept
            verdict = f", target {target} s: {'kept' if kept else 'MISSED'}" if target else ""
            spread = f"{min(seconds):.3f} to {max(seconds):.3f} s in {repeats} repeats"
            print(f"{command:20} median {median(seconds):.3f} s, {spread}{verdict}")
    return 1 if missed else 0


def fill(home: Path) -> None:
    """A store with 10,000 runs, two of which say that they run."""
    store = Store.open(home / "lorry.db")
    store.close()
    name = "qwen3-qlora-r16-lr2e-4-steps500"
    with closing(sqlite3.connect(store.path)) as connection, connection:
        connection.executemany(
            "INSERT INTO runs VALUES (?, ?, ?, 'Qwen/Qwen3-8B', 'sft', ?, ?, ?, 500, 500, 0.5, ?, NULL)",
            [
                (
                    f"{name}-{number:08d}",
                    name,
                    str(home / "runs" / str(number)),
                    "running" if number >= RUNS - 2 else "finished",
                    1.7e9 + number,
                    1.7e9 + number,
                    os.getpid(),
                )
                for number in range(RUNS)
            ],
        )


def measure(command: str, home: str, repeats: int) -> list[float]:
    """Seconds of each repeat, after two that warm the caches."""
    program = Path(sys.executable).with_name("lorry")
    words = [str(program), *command.split()[1:]]
    environment = {**os.environ, "LORRY_HOME": home}
    seconds: list[float] = []
    for _ in range(repeats + 2):
        began = time.perf_counter()
        subprocess.run(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        seconds.append(time.perf_counter() - began)
    return seconds[2:]


if __name__ == "__main__":
    sys.exit(main())
