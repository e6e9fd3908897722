"""What comes home from a machine: checkpoints while it trains, adapter and scores at the end. Nothing of it is trusted."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from lorry.compute import transfer
from lorry.compute.outcomes import Outcome, OutcomeError
from lorry.compute.ssh import Link
from lorry.compute.untrusted import Rules, safe_to_load
from lorry.track.folder import RunFolder
from lorry.trainer import checkpoint
from lorry.trainer.checkpoint import DamagedError

_MB, _GB = 10**6, 10**9
_NAME = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,120}"
_LOADED = rf"{_NAME}\.(safetensors|json|jsonl|jinja|model|txt|md)"
"""Weights, configurations, tokenizers, model cards: nothing that runs code when it is loaded."""

CHECKPOINT = Rules({_LOADED: 200 * _GB}, files=64, total=400 * _GB)
RESULT = Rules(
    {
        rf"adapter/{_LOADED}": 200 * _GB,
        rf"adapter/{_NAME}/{_LOADED}": 200 * _GB,
        r"eval/(scores\.json|samples\.jsonl|high_loss\.jsonl)": 2 * _GB,
        r"provenance\.json": 50 * _MB,
        r"heartbeat\.json": _MB,
        r"gpu\.csv": 200 * _MB,
        r"logs/(trainer|agent)\.log(\.[0-9])?": 50 * _MB,
    },
    files=200,
    total=400 * _GB,
)
"""What a run leaves beside its checkpoints. Other files that lie there are its own affair and are left."""


async def place(link: Link) -> str:
    """Lorry's folder on a machine: where it is, the dead-man switch has written down."""
    done = await link.run('cat "$HOME/.lorry/place" 2>/dev/null || printf %s "$HOME/lorry"')
    found = done.out.decode("utf-8", "replace").strip()
    if not found.startswith("/") or not found.isprintable():
        raise OutcomeError(Outcome.UNTRUSTED, "the machine does not say where lorry's folder is")
    return found


async def run_folder(link: Link, run_id: str) -> str:
    """A run's folder on a machine."""
    return f"{await place(link)}/runs/{run_id}"


async def complete(link: Link, run: str) -> set[int]:
    """Steps of the checkpoints that lie on the machine whole."""
    done = await link.run(f"cd {shlex.quote(run)}/checkpoints 2>/dev/null && ls -d step-*/manifest.json")
    names = done.out.decode("ascii", "replace").split()
    found = [name.removeprefix("step-").removesuffix("/manifest.json") for name in names]
    return {int(number) for number in found if number.isdecimal() and len(number) < 12}


async def copy_checkpoint(link: Link, run: str, step: int, folder: RunFolder) -> bool:
    """Brings one checkpoint home: aside, verified, renamed. Whether it is new here.

    One that the machine deletes meanwhile is no fault: False. Raises OutcomeError UNTRUSTED for one that is not whole.
    """
    final = checkpoint.path_of(folder.checkpoints, step)
    if final.exists():
        return False
    aside = final.with_name(f".{final.name}.{os.getpid()}")
    there = f"{run}/checkpoints/{final.name}"
    try:
        try:
            files = await transfer.fetch(link, there, CHECKPOINT, aside)
        except FileNotFoundError:
            return False
        if not any(path.name == checkpoint.MANIFEST for path in files):
            return False
        await asyncio.to_thread(_must_be_whole, aside)
    except DamagedError as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise OutcomeError(Outcome.UNTRUSTED, f"the checkpoint of step {step} is not whole: {error.message}") from error
    except BaseException:
        # What has come stays, so that the next try goes on from there.
        raise
    return _in_its_place(aside, final)


def _in_its_place(aside: Path, final: Path) -> bool:
    """Renames a whole checkpoint; False where another process (`lorry pull`, a controller) was faster with the same one."""
    final.parent.mkdir(parents=True, exist_ok=True)
    try:
        aside.rename(final)
    except OSError:
        if not final.exists():
            raise
        shutil.rmtree(aside, ignore_errors=True)
        return False
    return True


async def fetch_result(link: Link, run: str, folder: RunFolder, progress: Callable[[transfer.Progress], None]) -> int:
    """Brings adapter, scores and logs home; bytes of all. The adapter is put in place whole, or not at all."""
    aside = folder.path / ".fetched"
    files = await transfer.fetch(link, run, RESULT, aside, progress=progress)
    return await asyncio.to_thread(_put_in_place, files, aside, folder)


def _put_in_place(files: Sequence[Path], aside: Path, folder: RunFolder) -> int:
    """Moves what has come to where it belongs; bytes of all."""
    total = sum(path.stat().st_size for path in files)
    if (aside / "adapter").is_dir():
        _must_be_safe(aside / "adapter")
        shutil.rmtree(folder.adapter, ignore_errors=True)
        (aside / "adapter").rename(folder.adapter)
    for path in files:
        name = path.relative_to(aside)
        if name.parts[0] != "adapter":
            target = folder.path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
    shutil.rmtree(aside, ignore_errors=True)
    return total


def forget(folder: RunFolder, there: set[int]) -> None:
    """Deletes checkpoints at home that the machine has deleted by the recipe's own rule, once a newer one is home."""
    here = checkpoint.steps(folder.checkpoints)
    newest = max(here, default=0)
    kept = {step for step in here if step in there or step == newest or step > max(there, default=0)}
    checkpoint.prune(folder.checkpoints, kept)


def mark(folder: RunFolder, delivered: int | None) -> None:
    """Links `final` and `best`, as the trainer does."""
    steps = checkpoint.steps(folder.checkpoints)
    if steps:
        checkpoint.mark(folder.checkpoints, "final", steps[-1])
    if delivered in steps:
        checkpoint.mark(folder.checkpoints, "best", delivered)


def _must_be_whole(place: Path) -> None:
    """Raises DamagedError, or OutcomeError UNTRUSTED, for a checkpoint that cannot be used."""
    _must_be_safe(place)
    checkpoint.verify(place)


def _must_be_safe(folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        if re.search(r"\.(safetensors|json)$", path.name):
            safe_to_load(path)
