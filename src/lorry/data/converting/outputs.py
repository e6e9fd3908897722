"""The files of a conversion: nobody's file is overwritten unasked, and what is written is written whole.

Files are made in a hidden folder beside the output and renamed into place. The state says beforehand what is coming, and is
replaced when all is there: a conversion that is killed in between leaves whole files, old or new, and a state that knows both,
so that the next one does its work again.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from lorry.data.converting.state import Sources, State, place_of
from lorry.errors import InputError
from lorry.track.folder import cache


@dataclass(frozen=True)
class Outputs:
    """Where rows go."""

    rows: Path
    test: Path | None
    new: Path | None
    """What is new alone; only where it is asked for."""

    @classmethod
    def at(cls, rows: Path, *, test: bool, new: Path | None) -> Outputs:
        """Links followed to the files that they stand for. Raises InputError for what can be no file of rows."""
        for named in (rows, new) if new else (rows,):
            _must_be_a_name_for_rows(named)
        rows = rows.resolve()
        found = cls(rows, _test_of(rows) if test else None, new and new.resolve())
        if len(set(found.files)) < len(found.files):
            raise InputError("two files would have the same name", place=str(new), hint="give `--new` another name")
        return found

    @property
    def files(self) -> list[Path]:
        """All of them; the state comes beside the first."""
        return [file for file in (self.rows, self.test, self.new) if file is not None]

    def left_behind(self) -> list[str]:
        """What is to be said of held-back rows of an earlier time, which are trained on now."""
        stale = _test_of(self.rows)
        if self.test is not None or not stale.exists():
            return []
        return [f"{stale.name} is of an earlier conversion: what it holds back is among the training rows now"]

    def must_not_be(self, inputs: Sequence[Path]) -> None:
        """Raises InputError where a file that is read would be written."""
        for file in [*self.files, place_of(self.rows)]:
            same = next((one for one in inputs if one.resolve() == file or _is_same(one, file)), None)
            if same is not None:
                hint = "name another file with `--out`; nothing that is converted is ever overwritten"
                raise InputError("the output is also an input", place=str(same), hint=hint)

    def earlier(self, *, update: bool, force: bool) -> State | None:
        """What an earlier conversion left, where its files are to be brought up to date.

        Raises InputError for files that are there and may not be overwritten.
        """
        there = [file for file in self.files if file.exists() or file.is_symlink()]
        state = State.read(place_of(self.rows))
        if force:
            return state if update else None
        if there and not update:
            hint = "`--update` brings it up to date, `--force` overwrites it, `--out` names another file"
            raise InputError("there is such a file already", place=str(there[0]), hint=hint)
        place = place_of(self.rows)
        if state is None and (place.exists() or place.is_symlink()):
            hint = "`--force` overwrites it; `--out` names another file"
            why = "the file was not written by `lorry data convert`, or is damaged, and its state would go there"
            raise InputError(why, place=str(place), hint=hint)
        for file in there:
            known = [held[file.name] for held in (state.files, state.pending) if file.name in held] if state else []
            if _sha256(file) not in known:
                why = "has been changed since it was written" if known else "was not written by `lorry data convert`"
                hint = "`--force` overwrites it, and what was changed is lost; `--out` names another file"
                raise InputError(f"the file {why}", place=str(file), hint=hint)
        return state


def _test_of(rows: Path) -> Path:
    return rows.with_name(f"{rows.stem}.test{rows.suffix}")


def _must_be_a_name_for_rows(file: Path) -> None:
    if file.suffix != ".jsonl":
        raise InputError("rows are written as JSON Lines", place=str(file), hint="give it a name that ends in `.jsonl`")
    if file.is_dir():
        raise InputError("is a folder", place=str(file), hint="name a file in it: `--out FOLDER/rows.jsonl`")
    if not file.parent.is_dir():
        raise InputError("there is no such folder", place=str(file.parent), hint=f"make it: `mkdir -p {file.parent}`")


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


@contextmanager
def scratch(output: Path) -> Generator[Path]:
    """A hidden folder beside the output, gone at the end, and nobody else who writes the same file in the meantime.

    Raises InputError where nothing can be written, the disk is full, or another process is at it.
    """
    locks = cache() / "locks"
    aside = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        locks.mkdir(parents=True, exist_ok=True)
        with FileLock(locks / hashlib.sha256(os.fsencode(output)).hexdigest()[:32], timeout=0):
            _clear_unfinished(output)
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir()
            yield aside
    except Timeout as error:
        hint = "wait for it to end, or name another file with `--out`"
        raise InputError("another conversion writes this file", place=str(output), hint=hint) from error
    except OSError as error:
        raise _said(error, output) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def put_in_place(made: Mapping[Path, Path], earlier: State | None, state: State, aside: Path) -> None:
    """Renames files from the scratch folder to where they belong; `made` names each, the rows first."""
    place = place_of(next(iter(made.values())))
    old = earlier or State({}, {}, {}, Sources())
    _rename(replace(old, pending=state.files).written(aside / "coming"), place)
    for file, target in made.items():
        _rename(file, target)
    _rename(state.written(aside / "state"), place)


def _rename(file: Path, place: Path) -> None:
    with file.open("rb+") as held:
        os.fsync(held.fileno())
    file.replace(place)


def hashes(files: Mapping[Path, Path]) -> dict[str, str]:
    """SHA-256 of files by the names that they will have."""
    return {place.name: _sha256(file) for file, place in files.items()}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _clear_unfinished(output: Path) -> None:
    """Removes what conversions of the same file left that were killed."""
    for left in output.parent.glob(f".{output.name}.*"):
        owner = left.suffix[1:]
        if left.is_dir() and owner.isdigit() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(left, ignore_errors=True)


def _said(error: OSError, output: Path) -> Exception:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return InputError("the disk is full", place=str(output.parent), hint="free some space; nothing was changed")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG):
        hint = "name a file that you may write to"
        return InputError(f"cannot be written: {error.strerror}", place=str(output), hint=hint)
    return error
