"""Several recipes on rented machines, one after another: the machine of one goes to the next where that can use it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import typer

from lorry import job
from lorry.cli import output, rental
from lorry.cli.following import ending
from lorry.cli.outcome import View
from lorry.cli.rental import Terms
from lorry.cli.watching import EndedError, ended_by_signals, follow_rented
from lorry.compute import receipt
from lorry.compute.control import controller
from lorry.compute.control.controller import InTurn
from lorry.errors import LorryError, MayBillError
from lorry.job import Wish
from lorry.plan.plan import Plan
from lorry.track.leases import LeaseRow, Leases
from lorry.track.run import Run


def run(wishes: Sequence[Wish], terms: Terms) -> int:
    """Carries them out in order; the exit code of the first that went wrong, or of one whose machine may still bill.

    All are checked and agreed to before the first is rented for. One that fails does not keep the next from its turn.
    """
    found = [rental.agreed(wish, terms) for wish in wishes]
    agreed = [one for one in found if one is not None]
    if terms.dry_run:
        return max((plan.exit_code for plan, _ in agreed), default=0)
    if len(agreed) < len(found):
        output.note("nothing was rented")
        return 0
    wrong = [code for code in _carried_out(agreed, terms) if code]
    return MayBillError.exit_code if MayBillError.exit_code in wrong else next(iter(wrong), 0)


def _carried_out(agreed: Sequence[tuple[Plan, Wish]], terms: Terms) -> list[int]:
    """Carries out what is agreed to, until a run is let go; the exit codes."""
    codes: list[int] = []
    left: list[Run] = []
    try:
        with ended_by_signals(), InTurn() as turns:
            for plan, wish in agreed:
                left.append(job.opened(wish, plan, turns.keep))
            for one, (plan, _) in zip(list(left), agreed, strict=True):
                left = [Run(folder) for folder in turns.begin(one.folder)]
                codes.append(_one(one, left, View(told=plan.warnings, as_json=terms.as_json)))
                if ending(one.folder) is None:
                    break
    except EndedError as error:
        raise SystemExit(128 + error.number) from error
    finally:
        _leave(left)
    return codes


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


def _one(run: Run, then: Sequence[Run], view: View) -> int:
    """One of them; its exit code."""
    try:
        follow_rented(lambda watch: job.carry_on(run, watch, then=then), view, run.folder)
    except typer.Exit as ended:
        return int(ended.exit_code)
    except LorryError as error:
        if not then:
            raise
        output.error(f"`{run.id}`: {error}", error.hint)
        return error.exit_code
    return 0
