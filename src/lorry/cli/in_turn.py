"""Several recipes on rented machines, one after another: the machine of one goes to the next where that can use it.

One that continues the adapter of another waits until that is at home, and rents a machine of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import typer

from lorry import job
from lorry.cli import output, rental
from lorry.cli.chain import Chain
from lorry.cli.following import ending
from lorry.cli.outcome import View
from lorry.cli.terms import Terms
from lorry.cli.watching import EndedError, ended_by_signals, follow_rented
from lorry.compute import receipt
from lorry.compute.control import controller
from lorry.compute.control.controller import InTurn
from lorry.errors import LorryError, MayBillError
from lorry.job import Wish
from lorry.plan.plan import Plan
from lorry.track.leases import LeaseRow, Leases
from lorry.track.run import Run


def run(chain: Chain, terms: Terms) -> int:
    """Carries them out in order; the exit code of the first that went wrong, or of one whose machine may still bill.

    All are checked and agreed to before the first is rented for. One that fails keeps those from their turn that continue its
    adapter, and no others.
    """
    found: list[tuple[Plan, Wish] | None] = []
    for number, wish in enumerate(chain.wishes):
        found.append(rental.agreed(wish, terms))
        chain.say_what_is_to_come(number)
    agreed = [one for one in found if one is not None]
    if terms.dry_run:
        return max((plan.exit_code for plan, _ in agreed), default=0)
    if len(agreed) < len(found):
        output.note("nothing was rented")
        return 0
    wrong = [code for code in _Turns(chain, agreed, terms).carry_out() if code]
    return MayBillError.exit_code if MayBillError.exit_code in wrong else next(iter(wrong), 0)


class _Turns:
    """Runs that are agreed to, each of which is opened before the first begins, or once its adapter is at home."""

    def __init__(self, chain: Chain, agreed: Sequence[tuple[Plan, Wish]], terms: Terms) -> None:
        self._chain, self._agreed, self._terms = chain, agreed, terms
        self._opened: dict[int, Run] = {}
        self._left: list[Run] = []

    def carry_out(self) -> list[int]:
        """Carries them out, until a run is let go; the exit codes."""
        codes: list[int] = []
        try:
            with ended_by_signals(), InTurn() as turns:
                for number, (plan, wish) in enumerate(self._agreed):
                    if not self._chain.waits(number):
                        self._open(number, wish, plan, turns)
                for number in range(len(self._agreed)):
                    codes.append(self._turn(number, turns))
                    opened = self._opened.get(number)
                    if opened is not None and ending(opened.folder) is None:
                        self._say_what_waits(number + 1)
                        break
        except EndedError as error:
            raise SystemExit(128 + error.number) from error
        finally:
            _leave(self._left)
        return codes

    def _open(self, number: int, wish: Wish, plan: Plan, turns: InTurn) -> None:
        self._opened[number] = job.opened(wish, plan, turns.keep)
        self._left.append(self._opened[number])

    def _turn(self, number: int, turns: InTurn) -> int:
        """The turn of one; its exit code."""
        plan, wish = self._agreed[number]
        is_last = number == len(self._agreed) - 1
        try:
            if number not in self._opened:
                self._open(number, wish, self._chain.ready(number, plan), turns)
            run = self._opened[number]
            self._left = [Run(folder) for folder in turns.begin(run.folder)]
            # A machine goes to the very next alone: one that waits for a later run would bill meanwhile.
            then = [self._opened[number + 1]] if number + 1 in self._opened else []
            code = _followed(run, then, View(told=plan.warnings, as_json=self._terms.as_json))
        except LorryError as error:
            if is_last:
                raise
            output.error(f"`{self._name(number)}`: {error}", error.hint)
            return error.exit_code
        if code == 0 and ending(run.folder) is not None:
            self._chain.made[number] = run
        return code

    def _name(self, number: int) -> str:
        opened = self._opened.get(number)
        return opened.id if opened else self._chain.names[number]

    def _say_what_waits(self, first: int) -> None:
        """Of those that could not be opened yet nothing is left that another command would take up."""
        names = [self._chain.names[number] for number in range(first, len(self._agreed)) if number not in self._opened]
        if names:
            told = " and ".join(f"`{name}`" for name in names)
            with suppress(OSError):  # the terminal may be gone
                output.note(f"not started, for the adapter to continue is not here: {told}; run it when it is")


def _leave(left: Sequence[Run]) -> None:
    """Whoever lets a run go wants the terminal, and no machine for the next one beside it.

    One that was handed a machine just before goes on with that in the background, for nobody else would look after it.
    """
    serving = {one.id: Leases.open().serving(one.id) for one in left}
    for one in left:
        if serving[one.id]:
            _go_on_alone(one, serving[one.id])
    names = " and ".join(f"`{one.id}`" for one in left if not serving[one.id])
    if names:
        with suppress(OSError):  # the terminal may be gone
            output.note(f"not started: {names}; `lorry attach RUN` starts one, `lorry controller` all of them")


def _go_on_alone(run: Run, rows: Sequence[LeaseRow]) -> None:
    """Raises MayBillError where no process can be started for a run that has a machine."""
    if controller.is_controlled(run.folder):
        return
    try:
        controller.go_on_alone(run.folder)
    except OSError as error:
        raise receipt.may_bill(rows) from error
    with suppress(OSError):
        output.note(f"`{run.id}` has a machine and goes on without this terminal; `lorry attach {run.id}` watches it")


def _followed(run: Run, then: Sequence[Run], view: View) -> int:
    """One of them, under the eyes of the person; its exit code."""
    try:
        follow_rented(lambda watch: job.carry_on(run, watch, then=then), view, run.folder)
    except typer.Exit as ended:
        return int(ended.exit_code)
    return 0
