"""What may be spent a day, a month and with each provider: `$LORRY_HOME/caps.yaml`, written by `lorry costs cap`.

day: 20                        # US dollars, of a day in UTC
month: {usd: 200, hours: 300}  # hours of rented machines
accounts: {runpod: 100}        # in all, as long as the store remembers
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, cast

from filelock import FileLock, Timeout
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from lorry.errors import InputError, LorryError
from lorry.track.folder import write_exact

FILE = "caps.yaml"
_MOST_BYTES = 100_000
_WAIT = 60.0
"""Seconds to wait for another process that rents."""
_HINT = "mend it, or write it anew: `lorry costs cap --help`"
_MESSAGES = {
    "extra_forbidden": "unknown key",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "greater_than_equal": "must not be negative",
    "model_type": "must be a mapping",
    "dict_type": "must be a mapping",
}
"""Kinds of pydantic's errors in lorry's words; others keep pydantic's."""


@dataclass(frozen=True)
class Cap:
    """The most that may be taken; None for no limit."""

    usd: float | None = None
    hours: float | None = None
    """Of rented machines, added up."""


@dataclass(frozen=True)
class Caps:
    """Every cap of this computer's lorry. A run's own are its recipe's `budget`."""

    day: Cap = field(default_factory=Cap)
    """Of each day in UTC."""
    month: Cap = field(default_factory=Cap)
    """Of each month in UTC."""
    accounts: Mapping[str, Cap] = field(default_factory=dict[str, Cap])
    """By provider: of all leases and volumes there, whenever they were."""


def caps(home: Path) -> Caps:
    """The caps of lorry's home; none where there is no file. Raises InputError for a file that cannot be used."""
    file = home / FILE
    if not file.exists():
        return Caps()
    try:
        found = _File.model_validate(_read(file))
    except ValidationError as error:
        raise InputError(_told(error), place=str(file), hint=_HINT) from error
    accounts = {name: Cap(one.usd, one.hours) for name, one in found.accounts.items()}
    return Caps(Cap(found.day.usd, found.day.hours), Cap(found.month.usd, found.month.hours), accounts)


def write(home: Path, given: Caps) -> None:
    """Writes the caps, whole or not at all; caps that limit nothing are left out."""
    import yaml

    parts = {"day": _plain(given.day), "month": _plain(given.month)}
    accounts = {name: plain for name, cap in sorted(given.accounts.items()) if (plain := _plain(cap))}
    kept = {name: plain for name, plain in {**parts, "accounts": accounts}.items() if plain}
    write_exact(home / FILE, yaml.safe_dump(kept, sort_keys=False) if kept else "{}\n")


@contextmanager
def renting(home: Path) -> Generator[None]:
    """Keeps other processes from renting, from looking at the room until the lease is written down.

    Else two could both be given the last dollar. Nothing is to be awaited meanwhile: others wait in their thread, for at most
    a minute; then LorryError.
    """
    home.mkdir(parents=True, exist_ok=True)
    lock = FileLock(home / "renting.lock")
    try:
        lock.acquire(timeout=_WAIT)
    except Timeout as error:
        hint = "look for a lorry that hangs, and end it"
        raise LorryError(f"another lorry has been about to rent for {_WAIT:.0f} s", hint=hint) from error
    try:
        yield
    finally:
        lock.release()


def _plain(cap: Cap) -> dict[str, float]:
    return {name: value for name, value in (("usd", cap.usd), ("hours", cap.hours)) if value is not None}


def _dollars(value: Any) -> Any:
    """A number alone is dollars."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return {"usd": value} if is_number else value


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Cap(_Section):
    usd: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    hours: float | None = Field(default=None, ge=0, allow_inf_nan=False)


_OneCap = Annotated[_Cap, BeforeValidator(_dollars)]


class _File(_Section):
    day: _OneCap = Field(default_factory=_Cap)
    month: _OneCap = Field(default_factory=_Cap)
    accounts: dict[str, _OneCap] = Field(default_factory=dict[str, _Cap])


def _read(file: Path) -> dict[Any, Any]:
    import yaml

    try:
        if file.stat().st_size > _MOST_BYTES:
            raise InputError("too large for a file of caps", place=str(file), hint=_HINT)
        text = file.read_text("utf-8-sig")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        _refuse_twice(root, file)
        found = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the caps cannot be read: {error}", place=str(file), hint=_HINT) from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{file}:{mark.line + 1}" if mark else str(file)
        raise InputError(
            f"no valid YAML: {getattr(error, 'problem', None) or error}", place=place, hint=_HINT
        ) from error
    if not isinstance(found, dict):  # an empty file too: most likely a write that went wrong, and not "no caps"
        raise InputError("the caps must be a mapping: `day: 20`", place=str(file), hint=_HINT)
    return cast("dict[Any, Any]", found)


def _refuse_twice(node: Any, file: Path) -> None:
    """YAML's loader keeps the last of two equal keys; which of two caps was meant is not for it to say."""
    import yaml

    if not isinstance(node, yaml.MappingNode):
        return
    seen: set[str] = set()
    for key, value in cast("list[tuple[Any, Any]]", node.value):
        if key.value in seen:
            place = f"{file}:{key.start_mark.line + 1}"
            raise InputError(f"`{key.value}` stands there twice", place=place, hint=f"keep one of them; {_HINT}")
        seen.add(key.value)
        _refuse_twice(value, file)


def _told(error: ValidationError) -> str:
    """All that is wrong, with the place in the file: `month.usd: must not be negative`."""
    lines = [
        f"{'.'.join(map(str, one['loc'])) or 'the file'}: {_MESSAGES.get(one['type']) or one['msg']}"
        for one in error.errors()[:10]
    ]
    return "\n  ".join(["the caps have mistakes:", *lines])
