"""What comes home from a machine: checkpoints while it trains, adapter and scores at the end. Nothing of it is trusted."""

from __future__ import annotations

import asyncio
import re
import shlex
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import psutil

from lorry.compute import transfer
from lorry.compute.machine.told import rung_of
from lorry.compute.outcomes import Outcome, OutcomeError
from lorry.compute.ssh import Link
from lorry.compute.transport.incoming import refusals_told
from lorry.compute.transport.untrusted import Rules, refused, safe_to_load
from lorry.errors import LorryError
from lorry.recipe.schema import TrainSettings
from lorry.track.folder import RunFolder
from lorry.trainer import checkpoint
from lorry.trainer.checkpoint import DamagedError
from lorry.trainer.saving.retention import kept
from lorry.visible import clean

_MB, _GB = 10**6, 10**9
_NAME = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,120}"
_LOADED = rf"{_NAME}\.(safetensors|json|jsonl|jinja|model|txt|md)"
"""Weights, configurations, tokenizers, model cards: nothing that runs code when it is loaded."""

_MOST_PLACE = 1000
_UNKNOWN = 400 * _GB
"""Bytes that a run of unknown size may send."""
_LEFT = 2 * _GB
"""Bytes of this computer's disk that checkpoints leave free: events and the adapter have to be written as well."""
_UNFINISHED = re.compile(r"\.step-\d{6,}\.(?P<lease>.+?)(\.pull-(?P<pid>\d+))?")


@dataclass(frozen=True)
class Source:
    """A run on a machine, as far as it comes home from there."""

    link: Link
    run: str
    """Its folder there."""
    lease: str
    """The machine's; what is here only half bears its name, so that only what came from it is gone on with."""
    expected: int = 0
    """Bytes that the run is planned to write; 0 where nobody knows."""
    by: str = ""
    """Who fetches, where that is not the run's controller: `.pull-4711`."""

    @property
    def most(self) -> int:
        """Bytes that checkpoint or adapter may have: four times what was planned for all of them."""
        return max(4 * self.expected, 2 * _GB) if self.expected else _UNKNOWN


def checkpoint_rules(at: Source) -> Rules:
    """What a checkpoint may be."""
    return Rules({_LOADED: at.most}, files=64, total=at.most, left_free=_LEFT)


def result_rules(at: Source) -> Rules:
    """What a run leaves beside its checkpoints. Other files that lie there are its own affair and are left."""
    allowed = {
        rf"adapter/{_LOADED}": at.most,
        rf"adapter/{_NAME}/{_LOADED}": at.most,
        r"eval/(scores\.json|samples\.jsonl|high_loss\.jsonl)": 2 * _GB,
        r"provenance\.json": 50 * _MB,
        r"gpu\.csv": 200 * _MB,
        r"logs/(trainer|agent)\.log(\.[0-9])?": 50 * _MB,
    }
    return Rules(allowed, files=200, total=at.most + 4 * _GB)


async def place(link: Link) -> str:
    """Lorry's folder on a machine: where it is, the dead-man switch has written down."""
    done = await link.run('cat "$HOME/.lorry/place" 2>/dev/null || printf %s "$HOME/lorry"')
    found = done.out.decode("utf-8", "replace").strip()
    if not found.startswith("/") or not found.isprintable() or len(found) > _MOST_PLACE:
        raise OutcomeError(Outcome.UNTRUSTED, "the machine does not say where lorry's folder is")
    return found


async def run_folder(link: Link, run_id: str) -> str:
    """A run's folder on a machine."""
    return f"{await place(link)}/runs/{run_id}"


async def complete(at: Source) -> set[int]:
    """Steps of the checkpoints that lie on the machine whole."""
    done = await at.link.run(f"cd {shlex.quote(at.run)}/checkpoints 2>/dev/null && ls -d step-*/manifest.json")
    names = done.out.decode("ascii", "replace").split()
    found = [name.removeprefix("step-").removesuffix("/manifest.json") for name in names]
    return {int(number) for number in found if number.isdecimal() and len(number) < 12}


async def copy_checkpoint(at: Source, step: int, folder: RunFolder) -> bool:
    """Brings one checkpoint home: aside, verified, renamed. Whether it is new here.

    One that the machine deletes meanwhile is no fault: False. What has come of one stays, so that the next try goes on from
    there. Raises OutcomeError UNTRUSTED for one that is not whole, LorryError where this computer has no room for it.
    """
    final = checkpoint.path_of(folder.checkpoints, step)
    if final.exists():
        return False
    await asyncio.to_thread(_clear_unfinished, folder, at.lease)
    aside = final.with_name(f".{final.name}.{at.lease}{at.by}")
    try:
        files = await transfer.fetch(at.link, f"{at.run}/checkpoints/{final.name}", checkpoint_rules(at), aside)
    except FileNotFoundError:
        return False
    if not any(path.name == checkpoint.MANIFEST for path in files):
        return False
    await asyncio.to_thread(_must_be_whole, aside, step)
    return await asyncio.to_thread(_settle, aside, final)


def _clear_unfinished(folder: RunFolder, lease: str) -> None:
    """Removes what another machine has left half, or a `lorry pull` that is no more."""
    for path in folder.checkpoints.glob(".step-*.*"):
        found = _UNFINISHED.fullmatch(path.name)
        if found is None or (found["lease"] == lease and not found["pid"]):
            continue
        if found["lease"] != lease or not psutil.pid_exists(int(found["pid"][:9])):
            shutil.rmtree(path, ignore_errors=True)


def _must_be_whole(place: Path, step: int) -> None:
    """Removes a checkpoint that cannot be used. Raises OutcomeError UNTRUSTED for it."""
    try:
        _must_be_safe(place)
        checkpoint.verify(place)
        _must_be_of(place, step)
    except DamagedError as error:
        shutil.rmtree(place, ignore_errors=True)
        told = f"the checkpoint of step {step} is not whole: {clean(error.message)[:300]}"
        raise OutcomeError(Outcome.UNTRUSTED, told) from error
    except OutcomeError:
        shutil.rmtree(place, ignore_errors=True)
        raise


def _must_be_of(place: Path, step: int) -> None:
    """Raises OutcomeError UNTRUSTED for a state that is of another step, or that no trainer could go on from."""
    state = checkpoint.read_state(place)
    if state.get("step") != step:
        raise refused(f"a checkpoint of step {step} that says it is of another")
    rung = state.get("rung")
    if rung is not None and (not isinstance(rung, dict) or rung_of(cast("dict[str, Any]", rung)) != rung):
        raise refused(f"a checkpoint of step {step} with a memory rung that is none")


def _settle(aside: Path, final: Path) -> bool:
    """Puts a checkpoint where it belongs, and whether it was: somebody else may have brought the same one meanwhile."""
    final.parent.mkdir(parents=True, exist_ok=True)
    try:
        with refusals_told(final):
            aside.rename(final)
    except LorryError:
        if not final.is_dir():
            raise
        shutil.rmtree(aside, ignore_errors=True)
        return False
    return True


async def fetch_result(at: Source, folder: RunFolder, progress: Callable[[transfer.Progress], None]) -> int:
    """Brings adapter, scores and logs home; bytes of all. The adapter is put in place whole, or not at all."""
    aside = folder.path / f".fetched.{at.lease}{at.by}"
    await asyncio.to_thread(_clear_fetched, aside)
    files = await transfer.fetch(at.link, at.run, result_rules(at), aside, progress=progress)
    return await asyncio.to_thread(_put_in_place, files, aside, folder)


def _clear_fetched(aside: Path) -> None:
    """Removes what has come from other machines: nothing of it may get into this one's adapter."""
    for path in aside.parent.glob(".fetched*"):
        if path != aside:
            shutil.rmtree(path, ignore_errors=True)


def _put_in_place(files: Sequence[Path], aside: Path, folder: RunFolder) -> int:
    """Moves what has come to where it belongs; bytes of all."""
    total = sum(path.stat().st_size for path in files)
    if (aside / "adapter").is_dir():
        _drop_others(aside / "adapter", set(files))
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


def _drop_others(adapter: Path, files: set[Path]) -> None:
    """Removes what came in an earlier try and is no part of the adapter any more."""
    for path in sorted(adapter.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif path not in files:
            path.unlink()


def forget(folder: RunFolder, there: set[int], brought: set[int]) -> None:
    """Deletes checkpoints that the machine brought and has deleted since by the recipe's own rule.

    Only once everything that it has is home; of what came from elsewhere, and of what is newer, nothing: its word is not
    enough for that.
    """
    here = set(checkpoint.steps(folder.checkpoints))
    if there and there <= here:
        gone = {step for step in brought & here - there if step < max(there)}
        checkpoint.prune(folder.checkpoints, here - gone)


def retain(folder: RunFolder, ranked: Sequence[int], train: TrainSettings, copied: set[int]) -> None:
    """Deletes checkpoints by the recipe's own rule: no machine alone had all that several have brought.

    `ranked` are the evaluated steps, the best first. What a person fetched, and is not among what was `copied`, stays.
    """
    saved = set(checkpoint.steps(folder.checkpoints))
    if saved & copied:
        staying = kept(sorted(saved & copied), ranked, last=train.keep, best=train.keep_best)
        checkpoint.prune(folder.checkpoints, staying | (saved - copied))


def distrust(folder: RunFolder, brought: set[int]) -> None:
    """Puts aside the checkpoints that came from a machine that is not trusted: `untrusted-step-000050`."""
    for step in brought & set(checkpoint.steps(folder.checkpoints)):
        checkpoint.put_aside(checkpoint.path_of(folder.checkpoints, step), "untrusted")


def mark(folder: RunFolder, delivered: int | None) -> None:
    """Links `final` and `best`, as the trainer does."""
    steps = checkpoint.steps(folder.checkpoints)
    if steps:
        checkpoint.mark(folder.checkpoints, "final", steps[-1])
    if delivered in steps:
        checkpoint.mark(folder.checkpoints, "best", delivered)


def clear(folder: RunFolder) -> None:
    """Deletes what was copied in part; for when the run is over and no machine has the rest any more."""
    for part in folder.checkpoints.glob(".step-*.*"):
        if _UNFINISHED.fullmatch(part.name):
            shutil.rmtree(part, ignore_errors=True)
    for part in folder.path.glob(".fetched*"):
        shutil.rmtree(part, ignore_errors=True)
    checkpoint.clear_unfinished(folder.checkpoints)


def _must_be_safe(folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        if re.search(r"\.(safetensors|json)$", path.name):
            safe_to_load(path)
