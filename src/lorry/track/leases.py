"""Leases in the store: a row for each machine that was asked for, written before it was, until its end is confirmed.

Also the network volumes that lorry made: they cost money as long as they are there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sql
from sqlalchemy import exc

from lorry.errors import InputError
from lorry.track.store import Store

State = Literal["asked", "rented", "ending", "ended"]
"""`asked`: written, and the provider may have a machine of this name. `rented`: it has. `ending`: it was told to end it.
`ended`: it has confirmed that there is none (any more)."""
OPEN: tuple[State, ...] = ("asked", "rented", "ending")
"""States in which a machine may bill."""


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
    state: State = "asked"
    machine_id: str = ""
    """What the provider calls it; empty until it has answered."""
    described: str = ""
    """What was rented, in words: `runpod community, RTX 4090`."""
    gpu: str = ""
    usd_per_hour: float = 0.0
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
    """When training on it began."""
    ended_at: float | None = None
    """When the provider confirmed that it is gone."""
    deadline: float | None = None
    """When the machine ends itself, or is ended, whatever happens."""
    outcome: str = ""
    """How it ended: the name of an `Outcome`."""
    why: str = ""
    """The same in words, as the provider or the machine said it."""

    @property
    def is_open(self) -> bool:
        """Whether a machine may bill."""
        return self.state in OPEN

    def seconds(self, now: float) -> float:
        """Seconds that are billed up to now, or to its end; nothing before the provider had it."""
        if self.rented_at is None:
            return 0.0
        return max(0.0, (now if self.ended_at is None else self.ended_at) - self.rented_at)

    def usd(self, now: float) -> float:
        """What it has cost up to now, or to its end, its own disks included."""
        return self.seconds(now) * (self.usd_per_hour + self.storage_usd_per_hour) / 3600


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


_KINDS: dict[str, Any] = {"float": sql.Float, "int": sql.Integer, "bool": sql.Boolean, "dict": sql.JSON}


def _table(name: str, row: type, key: Sequence[str], metadata: sql.MetaData) -> sql.Table:
    """A table with a column for each field of a row."""
    kinds = {one.name: _KINDS.get(str(one.type).split("[")[0].split(" ")[0], sql.String) for one in fields(row)}
    return sql.Table(name, metadata, *(sql.Column(one, kinds[one], primary_key=one in key) for one in kinds))


_tables = sql.MetaData()
_leases = _table("leases", LeaseRow, ["name"], _tables)
_volumes = _table("volumes", VolumeRow, ["provider", "id"], _tables)


class Leases:
    """All leases and volumes, in the store's database. Each method is a transaction of its own, on disk when it returns."""

    def __init__(self, store: Store) -> None:
        self._store = store
        with self._store.connection() as connection:
            _tables.create_all(connection)

    @classmethod
    def open(cls, path: Path | None = None) -> Leases:
        """Those of the store at `path`, by default of lorry's home."""
        return cls(Store.open(path))

    def add(self, row: LeaseRow) -> None:
        """Writes a lease down, before its machine is asked for. Raises InputError where the name was used before."""
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
        return self.get(name)

    def get(self, name: str) -> LeaseRow:
        """The lease of this name. Raises InputError where there is none."""
        found = self._select(_leases.select().where(_leases.c.name == name))
        if not found:
            raise InputError(f"there is no lease `{name}`", hint="`lorry costs` lists them")
        return found[0]

    def of_run(self, run_id: str) -> list[LeaseRow]:
        """The leases of a run, in the order in which they were asked for."""
        return self._select(_leases.select().where(_leases.c.run_id == run_id).order_by(_leases.c.asked_at))

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

    def volume_deleted(self, provider: str, volume_id: str, at: float) -> None:
        """Writes down that a volume is gone."""
        where = (_volumes.c.provider == provider) & (_volumes.c.id == volume_id)
        with self._store.connection() as connection:
            connection.execute(_volumes.update().where(where).values(deleted_at=at))

    def _select(self, query: Any) -> list[LeaseRow]:
        with self._store.connection() as connection:
            return [LeaseRow(**found) for found in connection.execute(query).mappings()]
