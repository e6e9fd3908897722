"""The store of all runs: one row a run, in SQLite, for lists; what happened in a run stands in its own events.

Several processes use it at once (write-ahead log, waiting at most 30 seconds for each other). Each statement is a
transaction of its own. It can be lost: `Store.rebuild` makes it anew from the run folders.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NotRequired, TypedDict, Unpack

import sqlalchemy as sql
from sqlalchemy import exc

from lorry.errors import InputError, LorryError
from lorry.track import process
from lorry.track.folder import RunFolder, home

VERSION = 1
"""Of the tables; a newer database is refused, for it may mean something else."""

STATUSES = ("created", "running", "finished", "failed", "stopped", "interrupted", "detached")
"""What a run can be. The last two are found out, not written: the row says that it runs, and its process is gone. A rented run
is `detached` then: its machine may train on, and whoever attaches to it, or `lorry controller`, takes it up.
"""
UNDER_WAY = ("created", "running", "detached")
"""Statuses of runs that go on, or may."""

_WRITTEN_UNDER_WAY = ("created", "running", "interrupted")
"""What stands in the rows of runs that did not come to their end."""
_WAIT = 30.0
"""Seconds to wait for another process's write."""

_tables = sql.MetaData()
_runs = sql.Table(
    "runs",
    _tables,
    sql.Column("id", sql.String, primary_key=True),
    sql.Column("name", sql.String, nullable=False),
    sql.Column("folder", sql.String, nullable=False),
    sql.Column("model", sql.String, nullable=False),
    sql.Column("method", sql.String, nullable=False),
    sql.Column("status", sql.String, nullable=False, index=True),
    sql.Column("created_at", sql.Float, nullable=False, index=True),
    sql.Column("updated_at", sql.Float, nullable=False),
    sql.Column("step", sql.Integer),
    sql.Column("steps", sql.Integer),
    sql.Column("loss", sql.Float),
    sql.Column("pid", sql.Integer),
    sql.Column("pid_started", sql.Float),
)


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run. Times are seconds since 1970; `pid` and its start (as `process.started` gives it) are of the process that
    answers for the run.
    """

    id: str
    name: str
    folder: Path
    model: str
    method: str
    status: str
    created_at: float
    updated_at: float
    step: int | None = None
    steps: int | None = None
    loss: float | None = None
    pid: int | None = None
    pid_started: float | None = None


class NewRun(TypedDict):
    """What a row starts with."""

    name: str
    folder: Path | str
    model: str
    method: str
    created_at: float
    pid: NotRequired[int]
    pid_started: NotRequired[float | None]


class Changes(TypedDict, total=False):
    """What may change in a row."""

    status: str
    step: int | None
    steps: int | None
    loss: float | None
    pid: int | None
    pid_started: float | None


class Store:
    """All runs. Open it once a process; methods raise LorryError when the database cannot be read or written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._engine = sql.create_engine(
            sql.URL.create("sqlite", database=str(path)),
            isolation_level="AUTOCOMMIT",
            # A connection that is kept would go on writing to the file that `rebuild` has put aside.
            poolclass=sql.NullPool,
            connect_args={"timeout": _WAIT},
        )

    @classmethod
    def open(cls, path: Path | None = None) -> Store:
        """The store at `path`, by default `lorry.db` in lorry's home; made when it is missing.

        Raises InputError when the file is damaged or was written by a newer lorry.
        """
        path = path or home() / "lorry.db"
        path.parent.mkdir(parents=True, exist_ok=True)
        store = cls(path)
        with store.connection() as connection:
            version = _version(connection)
            if version == 0:
                _make_tables(connection)
            elif version > VERSION:
                raise InputError(
                    f"{path} was written by a newer lorry (its version is {version}, this one reads {VERSION})",
                    hint="upgrade lorry: `pip install --upgrade lorry`",
                )
        return store

    @classmethod
    def rebuild(cls, path: Path | None = None) -> Store:
        """A new store from the run folders; a file that was there is kept beside it, as `lorry.db.damaged-...`."""
        from lorry.track.leases import Leases
        from lorry.track.rebuild import rows

        path = path or home() / "lorry.db"
        for part in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))):
            if part.exists():
                part.replace(part.with_name(f"{part.name}.damaged-{time.time_ns()}"))
        store = cls.open(path)
        with store.connection() as connection:
            for row in rows(path.parent / "runs"):
                connection.execute(_runs.insert().prefix_with("OR REPLACE").values(**row))
        Leases(store).restore()
        return store

    def close(self) -> None:
        """Gives the file back."""
        self._engine.dispose()

    def add(self, run_id: str, **facts: Unpack[NewRun]) -> None:
        """Adds a run with the status `created`. Raises InputError when the id is taken."""
        values = {**facts, "folder": str(facts["folder"]), "updated_at": facts["created_at"]}
        try:
            with self.connection() as connection:
                connection.execute(_runs.insert().values(id=run_id, status="created", **values))
        except exc.IntegrityError as error:
            raise InputError(
                f"there is a run `{run_id}` already", hint="wait a second, or name it otherwise"
            ) from error

    def update(self, run_id: str, **changes: Unpack[Changes]) -> None:
        """Writes what changed; the row's `updated_at` becomes now. Raises InputError for an unknown id."""
        with self.connection() as connection:
            if connection.execute(_updating(run_id, changes)).rowcount == 0:
                raise InputError(f"no run has the id `{run_id}`", hint="`lorry ps` lists the runs")

    def update_all(self, changes: Mapping[str, Changes]) -> None:
        """Writes what changed in many rows in one transaction, as `update` does; unknown ids are passed over."""
        with self.connection() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            for run_id, each in changes.items():
                connection.execute(_updating(run_id, each))
            connection.exec_driver_sql("COMMIT")

    def find(self, text: str) -> RunRow:
        """The run with this id, the only one whose id begins so, or the `last`. Raises InputError otherwise."""
        exact = self._select(_runs.select().where(_runs.c.id == text))
        if exact:
            return exact[0]
        if text == "last":
            return self._last()
        begins = sql.func.substr(_runs.c.id, 1, len(text)) == text
        found = self._select(_runs.select().where(begins).order_by(_runs.c.created_at.desc()).limit(4)) if text else []
        if len(found) == 1:
            return found[0]
        if found:
            more = ", ..." if len(found) > 3 else ""
            names = ", ".join(f"`{row.id}`" for row in found[:3]) + more
            raise InputError(f"`{text}` is the beginning of several runs' ids: {names}", hint="write more of it")
        raise InputError(f"there is no run `{text}`", hint=self._near(text))

    def list(self, limit: int | None = None, status: str | None = None) -> list[RunRow]:
        """The runs, newest first; at most `limit` of them, and only those with this status."""
        query = _runs.select().order_by(_runs.c.created_at.desc(), _runs.c.id.desc())
        if status is None:
            return self._select(query.limit(limit))
        if status not in (*UNDER_WAY, "interrupted"):
            return self._select(query.where(_runs.c.status == status).limit(limit))
        # Whether these still run is known only after looking for their processes, so the limit comes last.
        under_way = self._select(query.where(_runs.c.status.in_(_WRITTEN_UNDER_WAY)))
        return [row for row in under_way if row.status == status][:limit]

    def under_way(self) -> list[RunRow]:
        """The runs that have not ended, the oldest first, as they were written: no process is looked for."""
        query = _runs.select().where(_runs.c.status.in_(_WRITTEN_UNDER_WAY))
        with self.connection() as connection:
            rows = connection.execute(query.order_by(_runs.c.created_at, _runs.c.id))
            return [RunRow(found[0], found[1], Path(found[2]), *found[3:]) for found in rows]

    def count(self) -> int:
        """How many runs there are."""
        with self.connection() as connection:
            return connection.execute(sql.select(sql.func.count()).select_from(_runs)).scalar_one()

    def _last(self) -> RunRow:
        newest = self.list(limit=1)
        if not newest:
            raise InputError("there are no runs yet", hint="start one: `lorry run RECIPE`")
        return newest[0]

    def _near(self, text: str) -> str:
        with self.connection() as connection:
            ids = [str(found) for found in connection.execute(sql.select(_runs.c.id)).scalars()]
        near = get_close_matches(text, ids, n=1, cutoff=0.5)
        return f"did you mean `{near[0]}`?" if near else "`lorry ps` lists the runs"

    def _select(self, query: Any) -> list[RunRow]:
        with self.connection() as connection:
            return [_row(found) for found in connection.execute(query)]

    @contextmanager
    def connection(self) -> Generator[sql.Connection]:
        """A connection whose errors are lorry's: for other tables of the same database too."""
        try:
            with self._engine.connect() as connection:
                yield connection
        except exc.IntegrityError:
            raise
        except exc.DBAPIError as error:
            raise _explained(error, self.path) from error


def _updating(run_id: str, changes: Changes) -> sql.Update:
    """The statement that writes what changed in a row."""
    status = changes.get("status")
    if status is not None and status not in STATUSES:
        raise ValueError(f"no status is called {status!r}")
    return _runs.update().where(_runs.c.id == run_id).values(**changes, updated_at=time.time())


def _row(found: Any) -> RunRow:
    """A row as it is shown: one that says it runs, and whose process is gone, was interrupted, or let go where it is rented."""
    run_id, name, folder, *rest = found
    row = RunRow(run_id, name, Path(folder), *rest)
    if row.status not in _WRITTEN_UNDER_WAY or _is_held(row):
        return row
    return replace(row, status="detached" if RunFolder(row.folder).is_rented else "interrupted")


def _is_held(row: RunRow) -> bool:
    """Whether the process that answers for a run is there, or was not written down yet."""
    if row.status == "interrupted":  # as a rebuilt store has it
        return False
    return row.pid is None or process.is_alive(row.pid, row.pid_started)


def _version(connection: sql.Connection) -> int:
    return int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())


def _make_tables(connection: sql.Connection) -> None:
    """Makes the tables once, however many processes try."""
    _use_write_ahead_log(connection)
    connection.exec_driver_sql("BEGIN IMMEDIATE")
    try:
        if _version(connection) == 0:
            _tables.create_all(connection)
            connection.exec_driver_sql(f"PRAGMA user_version = {VERSION}")
        connection.exec_driver_sql("COMMIT")
    except BaseException:
        connection.exec_driver_sql("ROLLBACK")
        raise


def _use_write_ahead_log(connection: sql.Connection) -> None:
    """Switches the file to WAL. SQLite does not wait for others here, as it does elsewhere, so this does."""
    end = time.monotonic() + _WAIT
    while True:
        try:
            connection.exec_driver_sql("PRAGMA journal_mode = WAL")
        except exc.OperationalError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)
        else:
            return


def _explained(error: exc.DBAPIError, path: Path) -> LorryError:
    """What SQLite says, in words that help."""
    said = str(error.orig)
    if "locked" in said or "busy" in said:
        return LorryError(f"{path} has been busy for {_WAIT:.0f} s", hint="look for a lorry that hangs, and end it")
    if "full" in said:
        return InputError(f"the disk is full: {path}", hint="free some space, or set LORRY_HOME to another disk")
    if "readonly" in said or "unable to open" in said:
        return InputError(f"{path} cannot be written: {said}", hint="check who owns it, or set LORRY_HOME")
    return InputError(f"{path} cannot be read: {said}", hint="make it anew from the run folders: `lorry ps --rebuild`")
