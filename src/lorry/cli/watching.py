"""Watching a rented run from a terminal, and what Ctrl-C asks then: let it go, stop it, or end its machine now."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import replace

import typer

from lorry import job
from lorry.cli import output
from lorry.cli.following import ending, to_the_end
from lorry.cli.outcome import View, follow, tell
from lorry.cli.progress import Progress
from lorry.compute import receipt
from lorry.compute.control import controller
from lorry.compute.control.at_home import Request, ask
from lorry.errors import DetachedError, GateMissedError, InputError, LorryError, RefusedError, StoppedError
from lorry.job import Watcher
from lorry.track.events import Event
from lorry.track.folder import RunFolder, home
from lorry.track.leases import Leases
from lorry.track.run import Run
from lorry.track.store import Store

_QUESTION = "detach, stop after a checkpoint, or end it now? (detach, stop, now, or go on)"
_ANSWERS: dict[str, Request] = {
    **dict.fromkeys(("d", "detach"), "detach"),
    **dict.fromkeys(("s", "stop"), "stop"),
    **dict.fromkeys(("n", "now", "end"), "now"),
    **dict.fromkeys(("g", "go", "go on", "c", "continue"), ""),
}


class _Seen:
    """Which run is watched, and how far it was shown."""

    def __init__(self, folder: RunFolder | None, number: int = 0) -> None:
        self.folder = folder
        self.number = number

    def note(self, event: Event) -> None:
        if event.kind == "created" and self.folder is None:
            self.folder = RunFolder(home() / "runs" / str(event.data["run"]))
        self.number = max(self.number, event.seq)


def follow_rented(act: Callable[[Watcher], Run], view: View, folder: RunFolder | None = None) -> None:
    """Carries a rented run out under the eyes of the person; Ctrl-C asks what is to become of it."""
    seen = _Seen(folder)

    def watched(watch: Watcher) -> Run:
        def show(event: Event) -> None:
            seen.note(event)
            watch(event)

        return act(show)

    view = replace(view, says_no=lambda: ask(seen.folder, "stop") if seen.folder else None)
    try:
        with ended_by_signals():
            follow(watched, view)
        _show_receipt(seen.folder)
    except EndedError as error:
        with suppress(OSError):  # the terminal may be gone
            _let_go(seen, None)
        raise SystemExit(128 + error.number) from error
    except DetachedError as error:
        _let_go(seen, error)
    except KeyboardInterrupt:
        if seen.folder is None or not seen.folder.is_rented:
            raise
        _ask(seen, view)
    except RefusedError:
        if seen.folder is None or not controller.is_controlled(seen.folder):
            _show_receipt(seen.folder)
            raise
        attach(seen.folder, view, after=seen.number)  # a controller of all runs was faster
    except (LorryError, typer.Exit):
        _show_receipt(seen.folder)
        raise


class EndedError(BaseException):
    """A signal wants this process to end; no error, so that nothing on the way takes it for one."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def ended_by_signals() -> Generator[None]:
    """Within, SIGTERM and a closed terminal let the run go, instead of leaving it to nobody."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGHUP"):
        yield
        return

    def end(number: int, _frame: object) -> None:
        raise EndedError(number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def attach(folder: RunFolder, view: View, *, after: int = 0) -> None:
    """Takes a run up that nobody controls, or watches the one that another process controls, until that one is gone."""
    seen = _Seen(folder, after)
    while ending(folder) is None:
        if not controller.is_controlled(folder):
            follow_rented(lambda watch: job.carry_on(Run(folder), watch, after=seen.number), view, folder)
            return
        try:
            _look_on(folder, seen, view, unless=lambda: not controller.is_controlled(folder))
        except KeyboardInterrupt:
            _ask(seen, view)
            return
    say_outcome(folder, view)


def watch(folder: RunFolder, view: View) -> None:
    """Shows a run live to its end, and changes nothing: Ctrl-C ends the watching alone."""
    try:
        _look_on(folder, _Seen(folder), view)
    except KeyboardInterrupt:
        output.note(f"the run goes on; `lorry watch {folder.id}` shows it again")
        return
    say_outcome(folder, view)


def say_outcome(folder: RunFolder, view: View) -> None:
    """Tells how a run ended, as whoever carried it out was told. Raises what went wrong with it."""
    last = ending(folder)
    if last is None:
        raise StoppedError(f"`{folder.id}` was interrupted", hint=f"`lorry resume {folder.id}` goes on with it")
    run = Run(folder)
    job.settle(folder)
    missed: GateMissedError | None = None
    try:
        job.raise_unless_well(run, last)
    except GateMissedError as error:
        missed = error
    except LorryError:
        _show_receipt(folder)
        raise
    if view.as_json:
        output.emit_json(run.summary)
    else:
        tell(run)
    _show_receipt(folder)
    if missed is not None:
        raise missed


def rented(run: str) -> RunFolder:
    """The folder of a rented run. Raises InputError for one that trains here."""
    row = Store.open().find(run)
    folder = RunFolder(row.folder)
    if not folder.is_rented:
        raise InputError(f"`{row.id}` trains on this machine", hint=f"follow it: `lorry logs -f {row.id}`")
    return folder


def refuse_over(folder: RunFolder) -> None:
    """Raises InputError for a run that has ended; what its controller may have died before writing down is written first."""
    if ending(folder) is not None:
        if Store.open().find(folder.id).status == "detached":
            job.settle(folder)
        raise InputError(f"`{folder.id}` has ended", hint=f"`lorry show {folder.id}` tells how")


def _look_on(folder: RunFolder, seen: _Seen, view: View, unless: Callable[[], bool] = lambda: False) -> None:
    """Shows what comes, until the run is over or `unless` says so."""
    progress = Progress(price_per_hour=view.price_per_hour, told=view.told)
    store = Store.open()
    try:
        for event in to_the_end(store, store.find(folder.id), after=seen.number, unless=unless):
            seen.note(event)
            progress.show(event)
    finally:
        progress.close()


def _show_receipt(folder: RunFolder | None) -> None:
    """What ran, for how long, what it cost, and that all of it is given back."""
    if folder is not None and folder.is_rented:
        given = receipt.receipt(folder.id, Leases.open().since(), time.time())
        if given.items or given.may_bill:
            output.note(receipt.text(given))


def _ask(seen: _Seen, view: View) -> None:
    """What is to become of a run whose watching was interrupted. A second Ctrl-C lets it go."""
    folder = seen.folder
    if folder is None:
        raise KeyboardInterrupt
    try:
        answer = _answer(folder) if output.can_ask() else "detach"
    except (KeyboardInterrupt, InputError):
        answer = "detach"
    if answer == "detach":
        _let_go(seen, None)
        return
    if answer:
        ask(folder, answer)
    attach(folder, view, after=seen.number)


def _answer(folder: RunFolder) -> Request:
    has_machine = any(row.is_open for row in Leases.open().of_run(folder.id))
    stands = "the machine works on" if has_machine else "no machine is rented yet"
    while True:
        said = output.ask(f"{stands}; {_QUESTION}", default="go on").strip().lower()
        if said in _ANSWERS:
            return _ANSWERS[said]
        output.note(f"`{said}` is none of them")


def _let_go(seen: _Seen, error: DetachedError | None) -> None:
    """Has a process of its own go on with the run, so that checkpoints come home and the machine is given back."""
    folder = seen.folder
    if folder is None:
        raise StoppedError(error.message if error else "interrupted")
    if not controller.is_controlled(folder):
        controller.go_on_alone(folder)
    output.note(f"the run goes on without this terminal; `lorry attach {folder.id}` watches it again")
