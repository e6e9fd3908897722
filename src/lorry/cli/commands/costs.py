"""`lorry costs`: what rented machines and volumes have cost, and how much they may."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Annotated

import typer

from lorry import plugins, units
from lorry.cli import output
from lorry.cli.options import takes
from lorry.errors import InputError
from lorry.track import caps as kept
from lorry.track import ledger
from lorry.track.caps import Cap, Caps
from lorry.track.folder import home
from lorry.track.leases import LeaseRow, Leases, VolumeRow
from lorry.track.ledger import By, Line

app = typer.Typer(help="Show what rented machines have cost, and cap what they may.")

_TITLES = ("hours", "attempts", "saved", "failures", "recoveries", "interventions", "bills now")


@app.callback(invoke_without_command=True)
def show(
    ctx: typer.Context,
    by: Annotated[By, typer.Option(help="A line for each of these; months are in UTC.")] = "run",
    since: Annotated[str | None, typer.Option(help="Only what was billed from this day on: `2026-11-01`.")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, with amounts in full.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with amounts in full.")] = False,
) -> None:
    """Show what rented machines and volumes have cost: what still bills first, the total last.

    `saved` is what interruptible machines cost less than the same ones on demand. Amounts count disks and volumes too.
    `lorry costs cap` limits what may be spent.
    """
    if ctx.invoked_subcommand is not None:
        return
    begin = _moment(since) if since else 0.0
    leases, now = Leases.open(), time.time()
    rows, volumes = leases.since(begin), leases.volumes()
    lines, total = ledger.costs(rows, volumes, by, now, begin), ledger.total(rows, volumes, now, begin)
    if as_json:
        output.emit_json({"by": by, "lines": [asdict(one) for one in lines], "total": asdict(total)})
    elif as_csv:
        output.exact(_as_csv(by, lines))
    elif not lines:
        output.note(f"nothing was billed since {since}" if since else "nothing was rented yet")
    else:
        columns = [output.Column(by), *(output.Column(title, right=True) for title in ("USD", *_TITLES))]
        output.table(columns, [_cells(one) for one in [*lines, total]], fold=False)
        _explain(rows, volumes)


def _moment(text: str) -> float:
    """A day, a month or a time as seconds since 1970; UTC where it names no zone."""
    try:
        found = datetime.fromisoformat(f"{text}-01" if len(text) == len("2026-11") else text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError) as error:
        raise InputError(f"`{text}` is no date", hint="write it as `2026-11-01`, or `2026-11`") from error


def _cells(line: Line) -> list[str]:
    bills = f"{units.money(line.usd_per_hour)}/h" if line.open or line.usd_per_hour else "-"
    counts = [line.failures, line.recoveries, line.interventions]
    saved = units.money(line.saved_usd) if line.saved_usd >= 0 else f"-{units.money(-line.saved_usd)}"
    return [line.what, units.money(line.usd), f"{line.hours:.2f}", str(line.attempts), saved, *map(str, counts), bills]


def _as_csv(by: By, lines: list[Line]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [one.name for one in fields(Line)]
    writer.writerow([by if name == "what" else name for name in names])
    writer.writerows([getattr(line, name) for name in names] for line in lines)
    return text.getvalue()


def _explain(rows: list[LeaseRow], volumes: list[VolumeRow]) -> None:
    """What the table cannot show."""
    for row in rows:
        if row.is_open and row.rented_at is None:
            output.warn(f"not known whether a machine was made for `{row.name}` at {row.provider}; `lorry reap` asks")
    unknown = [one.name for one in volumes if one.usd_per_month is None and one.deleted_at is None]
    if unknown:
        output.warn(f"the price of these volumes is not known, and not counted: {', '.join(unknown)}")


@dataclass(frozen=True)
class CapOptions:
    """What `lorry costs cap` takes."""

    day: Annotated[list[str] | None, typer.Option(help="The most of a day (UTC): `20`, `8h`, or `none`.")] = None
    month: Annotated[list[str] | None, typer.Option(help="The most of a month (UTC): `200`, `300h`, or `none`.")] = None
    account: Annotated[
        list[str] | None, typer.Option(help="The most in all with a provider: `runpod=100`, `runpod=none`.")
    ] = None
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False


@app.command(name="cap")
@takes(CapOptions)
def cap(options: CapOptions) -> None:
    """Limit what may be spent, in US dollars or in hours of rented machines; without options, show the limits.

    A machine is rented only for as long as every limit allows, counting what open machines may cost until their deadlines.
    A run has its own limits in its recipe: `budget: {usd: 5, hours: 8}`.
    """
    before = kept.caps(home())
    after = Caps(
        _changed(before.day, options.day or []),
        _changed(before.month, options.month or []),
        _accounts(before.accounts, options.account or []),
    )
    if after != before:
        kept.write(home(), after)
    if options.json:
        output.emit_json(asdict(after))
        return
    parts = {
        "a day": after.day,
        "a month": after.month,
        **{f"with {name}": one for name, one in after.accounts.items()},
    }
    lines = [f"{_said(one)} {name}" for name, one in parts.items() if one != Cap()]
    for line in lines:
        output.data(f"at most {line}")
    if not lines:
        output.note("nothing is capped; for example: `lorry costs cap --day 20 --month 200`")


def _accounts(before: Mapping[str, Cap], given: list[str]) -> dict[str, Cap]:
    found = dict(before)
    for text in given:
        name, equals, amount = text.partition("=")
        if not equals:
            raise InputError(f"`{text}` names no amount", hint="write it as `--account runpod=100`")
        found[name] = _changed(found.get(name, Cap()), [amount])
        if found[name] == Cap():
            del found[name]
        elif name not in plugins.names("providers"):
            near = get_close_matches(name, plugins.names("providers"), n=1)
            hint = f"did you mean `{near[0]}`?" if near else f"there are: {', '.join(plugins.names('providers'))}"
            raise InputError(f"no provider is called `{name}`", hint=hint)
    return found


def _changed(cap: Cap, given: list[str]) -> Cap:
    """The cap with an amount of dollars (`20`, `$20`), of hours (`8h`), or without any (`none`)."""
    for text in given:
        said = text.strip().casefold()
        if said == "none":
            cap = Cap()
        elif said.endswith("h"):
            cap = replace(cap, hours=_amount(said.removesuffix("h"), text))
        else:
            cap = replace(cap, usd=_amount(said.removeprefix("$"), text))
    return cap


def _amount(number: str, text: str) -> float:
    try:
        found = float(number)
    except ValueError:
        found = -1.0
    if not 0 <= found < 1e12:
        raise InputError(f"`{text}` is no amount", hint="write dollars as `20`, hours as `8h`, or `none`")
    return found


def _said(cap: Cap) -> str:
    parts = [units.money(cap.usd) if cap.usd is not None else "", f"{cap.hours:g} h" if cap.hours is not None else ""]
    return " and ".join(filter(None, parts))
