"""Several recipes on rented machines, one after another: the machine of one goes to the next where that can use it."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from lorry import job
from lorry.cli import output, rental
from lorry.cli.following import ending
from lorry.cli.outcome import View
from lorry.cli.rental import Terms
from lorry.cli.watching import follow_rented
from lorry.compute.control.controller import InTurn
from lorry.errors import LorryError, MayBillError
from lorry.job import Wish
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
    runs = [job.opened(wish, plan) for plan, wish in agreed]
    views = [View(told=plan.warnings, as_json=terms.as_json) for plan, _ in agreed]
    codes: list[int] = []
    with InTurn([one.folder for one in runs]) as turns:
        for one, view in zip(runs, views, strict=True):
            left = [Run(folder) for folder in turns.begin(one.folder)]
            codes.append(_one(one, left, view))
            if left and ending(one.folder) is None:
                _say_left(left)
                break
    wrong = [code for code in codes if code]
    return MayBillError.exit_code if MayBillError.exit_code in wrong else next(iter(wrong), 0)


def _say_left(left: Sequence[Run]) -> None:
    """Whoever lets a run go wants the terminal, and no machine for the next one beside it."""
    names = " and ".join(f"`{one.id}`" for one in left)
    output.note(f"not started: {names}; `lorry attach RUN` starts one, `lorry controller` all of them")


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
