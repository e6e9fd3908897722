"""Leases in the store: a row for each machine that was asked for, written before it was, until its end is confirmed.

Also the network volumes that lorry made: they cost money as long as they are there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sql
from sqlalchemy import exc

from lorry.errors import InputError, RefusedError
from lorry.track.folder import write_json
from lorry.track.store import Store

State = Literal["asked", "rented", "ending", "ended"]
"""`asked`: written, and the provider may have a machine of this name. `rented`: it has. `ending`: it was told to end it.
`ended`: it has confirmed that there is none (any more)."""
OPEN: tuple[State, ...] = ("asked", "rented", "ending")
"""States in which a machine may bill."""


@dataclass(frozen=True, slots=True)
class Span:
    """A time in which a machine cost the same and served the same run."""

    start: float
    end: float
    run_id: str
    usd_per_hour: float
    """Of the machine; 0 while it was stopped."""
    storage_usd_per_hour: float

    @property
    def hours(self) -> float:
        """How long it was."""
        return (self.end - self.start) / 3600

    @property
    def usd(self) -> float:
        """What it cost."""
        return self.hours * (self.usd_per_hour + self.storage_usd_per_hour)


@dataclass(frozen=True, slots=True)
class LeaseRow:
    """One lease. Times are seconds since 1970, prices US dollars an hour of the whole machine."""

    name: str
    """What the machine is called at its provider; unique for ever."""
    run_id: str
    """The run that it was rented for first."""
    attempt: int
    provider: str
    settings: dict[str, Any] = field(default_factory=dict[str, Any])
    """Of the provider's plugin: the same account and address is asked later. No keys."""
    account: str = ""
    """`reap.account` of the provider when it was rented: another account's list says nothing of it. Empty where not known."""
    state: State = "asked"
    machine_id: str = ""
    """What the provider calls it; empty until it has answered."""
    described: str = ""
    """What was rented, in words: `runpod community, RTX 4090`."""
    gpu: str = ""
    usd_per_hour: float = 0.0
    """As rented; what it came to cost later stands in `prices`."""
    storage_usd_per_hour: float = 0.0
    """Of disks that bill beside the machine, volumes left out."""
    on_demand_usd_per_hour: float | None = None
    """What the same machine costs where nobody may take it back; None where it is that one, or not known."""
    interruptible: bool = False
    host: str = ""
    """What of the provider's it stood on, as far as known: hosts that never became ready are passed over."""
    host_key: str = ""
    """The machine's SSH host key, as first seen; nothing else is spoken to."""
    asked_at: float = 0.0
    rented_at: float | None = None
    ready_at: float | None = None
    """When training on it began, of the run that it serves now."""
    ended_at: float | None = None
    """When the provider confirmed that it is gone."""
    deadline: float | None = None
    """When the machine ends itself, or is ended, whatever happens."""
    outcome: str = ""
    """How it ended: the name of an `Outcome`."""
    why: str = ""
    """The same in words, as the provider or the machine said it."""
    prices: list[list[float]] = field(default_factory=list[list[float]])
    """Prices that hold later on, each `[since, usd_per_hour, storage_usd_per_hour]`: the first is 0 while it is stopped, both
    where it bills nothing any more."""
    runs: list[list[Any]] = field(default_factory=list[list[Any]])
    """Runs that it served after the first, each `[since, run_id]`."""

    @property
    def is_open(self) -> bool:
        """Whether a machine may bill."""
        return self.state in OPEN

    @property
    def serves(self) -> str:
        """The run that it was handed to last, or was rented for."""
        return str(self.runs[-1][1]) if self.runs else self.run_id

    @property
    def serving_since(self) -> float | None:
        """When it began to serve that run; None before the provider had it."""
        return float(self.runs[-1][0]) if self.runs else self.rented_at

    def seconds_of(self, run_id: str, now: float) -> float:
        """Seconds that it served a run up to now, or to its end."""
        return math.fsum(3600 * span.hours for span in self.spans(now) if span.run_id == run_id)

    def usd_of(self, run_id: str, now: float) -> float:
        """What it has cost while it served a run."""
        return math.fsum(span.usd for span in self.spans(now) if span.run_id == run_id)

    def seconds(self, now: float) -> float:
        """Seconds that are billed up to now, or to its end; nothing before the provider had it."""
        if self.rented_at is None:
            return 0.0
        return max(0.0, (now if self.ended_at is None else self.ended_at) - self.rented_at)

    def usd(self, now: float) -> float:
        """What it has cost up to now, or to its end, its own disks included."""
        return math.fsum(span.usd for span in self.spans(now))

    def spans(self, now: float) -> list[Span]:
        """What was billed up to now, or to its end: a span for each price and each run, in order of time.

        Times in which it came to cost nothing are left out; of a machine that never costs anything all are there.
        """
        if self.rented_at is None:
            return []
        end = self.rented_at + self.seconds(now)
        cuts = sorted({float(one[0]) for one in (*self.prices, *self.runs) if self.rented_at < one[0] < end})
        starts = [self.rented_at, *cuts]
        found = [self._span(start, until) for start, until in zip(starts, [*cuts, end], strict=True)]
        is_free = not self.usd_per_hour and not self.storage_usd_per_hour
        return [span for span in found if is_free or span.usd_per_hour or span.storage_usd_per_hour]

    def price_at(self, at: float) -> tuple[float, float]:
        """USD an hour of the machine and of its disks at a time."""
        held = [one for one in sorted(self.prices, key=lambda one: one[0]) if one[0] <= at]
        return (held[-1][1], held[-1][2]) if held else (self.usd_per_hour, self.storage_usd_per_hour)

    def most_at(self, at: float) -> float:
        """USD an hour that it costs at a time, disks included, or as soon as it runs: one that was stopped may start again."""
        return max(sum(self.price_at(at)), self.usd_per_hour + self.storage_usd_per_hour)

    def run_at(self, at: float) -> str:
        """The run that it served at a time."""
        held = [one for one in sorted(self.runs, key=lambda one: one[0]) if one[0] <= at]
        return str(held[-1][1]) if held else self.run_id

    def _span(self, start: float, end: float) -> Span:
        return Span(start, end, self.run_at(start), *self.price_at(start))


@dataclass(frozen=True, slots=True)
class VolumeRow:
    """A network volume that lorry made; `deleted_at` is None as long as it is there."""

    id: str
    provider: str
    name: str
    gb: int
    place: str
    usd_per_month: float | None
    created_at: float
    deleted_at: float | None = None
    settings: dict[str, Any] = field(default_factory=dict[str, Any])
    account: str = ""
    """`reap.account` of the provider when it was made, as of a lease. Empty where not known."""


_KINDS: dict[str, Any] = {
    "float": sql.Float,
    "int": sql.Integer,
    "bool": sql.Boolean,
    "dict": sql.JSON,
    "list": sql.JSON,
}


def _table(name: str, row: type, key: Sequence[str], metadata: sql.MetaData) -> sql.Table:
    """A table with a column for each field of a row."""
    kinds = {one.name: _KINDS.get(str(one.type).split("[")[0].split(" ")[0], sql.String) for one in fields(row)}
    return sql.Table(name, metadata, *(sql.Column(one, kinds[one], primary_key=one in key) for one in kinds))


_tables = sql.MetaData()
_leases = _table("leases", LeaseRow, ["name"], _tables)
_volumes = _table("volumes", VolumeRow, ["provider", "id"], _tables)


def _add_account(connection: sql.Connection) -> None:
    """Adds the column that the volumes of older stores lack: whose those are is not known."""
    if _has_account(connection):
        return
    connection.exec_driver_sql("BEGIN IMMEDIATE")
    if not _has_account(connection):  # another process may have been first
        connection.exec_driver_sql("ALTER TABLE volumes ADD COLUMN account VARCHAR DEFAULT ''")
    connection.exec_driver_sql("COMMIT")


def _has_account(connection: sql.Connection) -> bool:
    return any(column[1] == "account" for column in connection.exec_driver_sql("PRAGMA table_info(volumes)"))


def _copied(path: Path) -> LeaseRow | None:
    """A copy's row; None where it cannot be read."""
    try:
        return LeaseRow(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


_FEW = 500
"""Runs that are asked for by name; of more, all are read: a statement can only be so long."""


class Leases:
    """All leases and volumes, in the store's database. Each method is a transaction of its own, on disk when it returns."""

    def __init__(self, store: Store) -> None:
        self._store = store
        with self._store.connection() as connection:
            _tables.create_all(connection)
            _add_account(connection)

    @classmethod
    def open(cls, path: Path | None = None) -> Leases:
        """Those of the store at `path`, by default of lorry's home."""
        return cls(Store.open(path))

    def add(self, row: LeaseRow) -> None:
        """Writes a lease down, before its machine is asked for.

        Raises InputError where the name was used before, RefusedError where nothing can be written.
        """
        try:
            self._keep(row)
        except OSError as error:
            hint = "free some room in lorry's home, or set LORRY_HOME to a folder that can be written"
            raise RefusedError(f"the lease of a machine cannot be written down: {error}", hint=hint) from error
        try:
            with self._store.connection() as connection:
                connection.execute(_leases.insert().values(**asdict(row)))
        except exc.IntegrityError as error:
            raise InputError(f"there is a lease `{row.name}` already") from error

    def change(self, name: str, **changes: Any) -> LeaseRow:
        """Writes what changed, and returns the row. Raises InputError for an unknown name."""
        with self._store.connection() as connection:
            if connection.execute(_leases.update().where(_leases.c.name == name).values(**changes)).rowcount == 0:
                raise InputError(f"there is no lease `{name}`", hint="`lorry costs` lists them")
        row = self.get(name)
        with suppress(OSError):  # it is in the database: a full disk must not keep anybody from ending a machine
            self._keep(row)
        return row

    def restore(self) -> int:
        """Puts back the leases whose copies lie beside a store that was lost; how many."""
        found = [row for path in sorted(self._copies.glob("*.json")) if (row := _copied(path)) is not None]
        with self._store.connection() as connection:
            for row in found:
                connection.execute(_leases.insert().prefix_with("OR REPLACE").values(**asdict(row)))
        return len(found)

    def priced(self, name: str, at: float, usd_per_hour: float, storage_usd_per_hour: float) -> LeaseRow:
        """Writes what it costs from a time on, if that is new: a stopped machine bills its disks only, bids move."""
        row = self.get(name)
        if row.price_at(at) == (usd_per_hour, storage_usd_per_hour):
            return row
        return self.change(name, prices=[*row.prices, [at, usd_per_hour, storage_usd_per_hour]])

    def handed(self, name: str, at: float, run_id: str) -> LeaseRow:
        """Writes which run it serves from a time on, without being rented again; training of that one has not begun."""
        return self.change(name, runs=[*self.get(name).runs, [at, run_id]], ready_at=None)

    def get(self, name: str) -> LeaseRow:
        """The lease of this name. Raises InputError where there is none."""
        found = self._select(_leases.select().where(_leases.c.name == name))
        if not found:
            raise InputError(f"there is no lease `{name}`", hint="`lorry costs` lists them")
        return found[0]

    def of_run(self, run_id: str) -> list[LeaseRow]:
        """The leases that were asked for for a run, in that order."""
        return self._select(_leases.select().where(_leases.c.run_id == run_id).order_by(_leases.c.asked_at))

    def serving(self, run_id: str) -> list[LeaseRow]:
        """Every lease whose machine may bill and serves a run now, also one that was asked for for another."""
        handed = sql.cast(_leases.c.runs, sql.String).contains(json.dumps(run_id), autoescape=True)
        maybe = _leases.c.state.in_(OPEN) & ((_leases.c.run_id == run_id) | handed)
        found = self._select(_leases.select().where(maybe).order_by(_leases.c.asked_at))
        return [row for row in found if row.serves == run_id]

    def places(self, runs: Sequence[str]) -> dict[str, str]:
        """Where each of these that is rented was last, in few words: `runpod, RTX 4090`, or a host's own name."""
        columns = (_leases.c.run_id, _leases.c.provider, _leases.c.gpu, _leases.c.machine_id, _leases.c.runs)
        query = sql.select(*columns).where(_leases.c.machine_id != "").order_by(_leases.c.asked_at)
        if len(runs) <= _FEW:
            had_others = sql.cast(_leases.c.runs, sql.String) != "[]"
            query = query.where(_leases.c.run_id.in_(runs) | had_others)
        found: dict[str, str] = {}
        with self._store.connection() as connection:
            for run, provider, gpu, machine, others in connection.execute(query):
                where = _in_few_words(str(provider), str(gpu), str(machine))
                found |= dict.fromkeys([str(run), *(str(one[1]) for one in others or [])], where)
        return found

    def opened(self) -> list[LeaseRow]:
        """Every lease whose machine may bill."""
        return self._select(_leases.select().where(_leases.c.state.in_(OPEN)).order_by(_leases.c.asked_at))

    def since(self, at: float = 0.0) -> list[LeaseRow]:
        """Every lease that was open at that time or later."""
        late = sql.or_(_leases.c.ended_at.is_(None), _leases.c.ended_at >= at)
        return self._select(_leases.select().where(late).order_by(_leases.c.asked_at))

    def add_volume(self, row: VolumeRow) -> None:
        """Writes a volume down; one of the same id is replaced."""
        values = asdict(row)
        with self._store.connection() as connection:
            connection.execute(_volumes.insert().prefix_with("OR REPLACE").values(**values))

    def volumes(self) -> list[VolumeRow]:
        """The volumes that lorry made, also those that are deleted."""
        with self._store.connection() as connection:
            return [VolumeRow(**found) for found in connection.execute(_volumes.select()).mappings()]

    def volume_is_of(self, row: VolumeRow, account: str) -> None:
        """Writes down which account has a volume, if that is new: keys change, and older stores did not know."""
        if row.account != account:
            self.add_volume(replace(row, account=account))

    def volume_deleted(self, provider: str, volume_id: str, at: float) -> None:
        """Writes down that a volume is gone."""
        where = (_volumes.c.provider == provider) & (_volumes.c.id == volume_id)
        with self._store.connection() as connection:
            connection.execute(_volumes.update().where(where).values(deleted_at=at))

    @property
    def _copies(self) -> Path:
        return self._store.path.parent / "leases"

    def _keep(self, row: LeaseRow) -> None:
        """A copy beside the store: one that is damaged must not make anybody forget a machine that bills."""
        write_json(self._copies / f"{row.name}.json", asdict(row))

    def _select(self, query: Any) -> list[LeaseRow]:
        with self._store.connection() as connection:
            return [LeaseRow(**found) for found in connection.execute(query).mappings()]


def _in_few_words(provider: str, gpu: str, machine: str) -> str:
    """A host has the name that the person gave it; a machine that was rented has one that says nothing."""
    if provider == "ssh":
        return f"ssh:{machine}"
    return f"{provider}, {gpu}" if gpu else provider
