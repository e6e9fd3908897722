"""The whole rented flow without an account: `python -m lorry.emulators.demo RECIPE` (`make demo-remote`).

An emulated RunPod is started; the recipe is trained on a machine rented there, which is taken away in the middle; the run goes
on on another one, and comes home. Then the same recipe is trained here, undisturbed, and the two adapters are compared to the
last bit. In the end nothing may be left: no machine, no process, no open lease. Exits with 1 where any of this does not hold.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lorry.emulators.control import Control
from lorry.track.events import read
from lorry.track.folder import RunFolder
from lorry.track.leases import Leases
from lorry.track.store import Store

GPU = "RTX 4090"
"""What the emulated machine acts; it trains on this computer's processor."""
_SHORT = [word for one in ("train.steps=40", "train.save_every=10", "evaluate.rows=16") for word in ("-o", one)]
"""It is trained twice, on this computer's processor: forty steps show all that there is to see."""
_CLEARING = 15.0
"""Seconds in which an emulated machine that has ended must be gone, its processes and its disk."""
_LORRY = [sys.executable, "-m", "lorry"]
Say = Callable[[str], None]


def main(recipe: Path, step: int) -> int:
    """Shows it, with the machine taken away after this step; 0 where all of it holds."""
    with tempfile.TemporaryDirectory(prefix="lorry-demo-") as folder, emulator(Path(folder)) as (control, variables):
        control.arm("interrupt", step=step)
        _say(f"RunPod is emulated at {control.url}; the first machine is taken away after step {step}")
        words = ["run", str(recipe), "--on", "runpod", "-o", f"compute.gpu=[{GPU}]", *_SHORT, "--yes", "--new"]
        _run(words, {**os.environ, **variables})
        remote = _last()
        left = _left(control)
    _say("the same recipe here, undisturbed")
    _run(["run", str(recipe), *_SHORT, "--new", "--yes"], dict(os.environ))
    return _verdict(remote, _last(), left)


@contextmanager
def emulator(folder: Path) -> Generator[tuple[Control, dict[str, str]]]:
    """An emulated RunPod for as long as the block runs, and the variables that lead to it."""
    words = [*_LORRY, "emulate", "runpod", "--home", str(folder), "--json"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None  # noqa: S101 - it was asked for
    try:
        told = json.loads(process.stdout.readline())
        with Control(told["url"]) as control:
            yield control, told["variables"]
    finally:
        process.terminate()
        process.wait(60)
        process.stdout.close()


def _left(control: Control) -> list[str]:
    """Machines that cost, or of which anything is left here; a cloud clears up for seconds after it has confirmed an end."""
    end = time.monotonic() + _CLEARING
    while control.left() and time.monotonic() < end:
        time.sleep(0.2)
    return [f"{one.name}: {one.state}" for one in control.left()]


def _verdict(remote: RunFolder, here: RunFolder, left: Sequence[str]) -> int:
    """Says what holds; the exit code."""
    lost = [event for event in read(remote.events) if event.kind == "lost"]
    machines = [event for event in read(remote.events) if event.kind == "returned"]
    still = [row.name for row in Leases.open().of_run(remote.id) if row.is_open]
    found = [
        (bool(lost), f"the machine was lost once: {lost[0].data['message'] if lost else 'it was not'}"),
        (len(machines) == len(lost) + 1, f"{len(machines)} machines were rented and given back"),
        (
            not left and not still,
            f"nothing is left: {', '.join([*left, *still]) or 'no machine, no process, no lease'}",
        ),
        (_weights(remote) == _weights(here), "the adapter is that of the undisturbed run, to the last bit"),
    ]
    for holds, told in found:
        _say(f"{'yes' if holds else 'NO '}  {told}")
    return 0 if all(holds for holds, _ in found) else 1


def _weights(folder: RunFolder) -> bytes:
    return (folder.adapter / "adapter_model.safetensors").read_bytes()


def _run(words: Sequence[str], environment: dict[str, str]) -> None:
    subprocess.run([*_LORRY, *words], check=True, env=environment)


def _last() -> RunFolder:
    return RunFolder(Store.open().find("last").folder)


def _say(text: str) -> None:
    sys.stderr.write(f"demo: {text}\n")


if __name__ == "__main__":
    try:
        sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 25))
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)
