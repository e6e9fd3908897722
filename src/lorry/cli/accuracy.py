"""How good past estimates were, on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from lorry import units
from lorry.cli import output
from lorry.plan.accuracy import Accuracy, Estimated, accuracy, estimated
from lorry.track.folder import RunFolder
from lorry.track.store import Store

_RUNS = 50
"""The newest ones that are looked at."""
_COLUMNS = (
    output.Column("run"),
    output.Column("device"),
    output.Column("planned", right=True),
    output.Column("from - to", right=True),
    output.Column("took", right=True),
    output.Column("plan", right=True),
    output.Column("after 20 steps", right=True),
)


def show(*, as_json: bool) -> None:
    """Prints what was planned of the last runs, what they took, and how far plans were off."""
    rows = Store.open().list(status="finished", limit=_RUNS)
    found = [one for row in rows if (one := estimated(RunFolder(row.folder)))]
    total = accuracy(found)
    if as_json:
        output.emit_json({"all": asdict(total) if total else None, "runs": [_as_json(one) for one in found]})
    elif total is None:
        output.note("no run that was planned has finished yet")
    else:
        output.table(_COLUMNS, [_cells(one) for one in found])
        output.data("")
        output.data(_told(total))


def _told(total: Accuracy) -> str:
    said = (
        "" if total.forecast_error is None else f"; what runs said after 20 steps was off by {total.forecast_error:.0%}"
    )
    share = f"{total.within} of {total.runs} took what was planned, between the least and the most"
    return f"{share}; the likely figure was off by {total.error:.0%}{said} (medians)"


def _cells(one: Estimated) -> list[str]:
    planned, forecast = one.planned, one.forecast_error
    span = f"{units.duration(planned.low)} - {units.duration(planned.high)}"
    errors: Sequence[str] = (f"{one.error:+.0%}", "-" if forecast is None else f"{forecast:+.0%}")
    return [one.run, one.device, units.duration(planned.likely), span, units.duration(one.took), *errors]


def _as_json(one: Estimated) -> dict[str, object]:
    return {**asdict(one), "error": one.error, "forecast_error": one.forecast_error, "within": one.is_within}
