"""The dated price list: what comes with lorry, and over it the person's own file.

`$LORRY_HOME/prices.yaml` has the same form as `catalog/prices.yaml`: a list of groups, each with a provider, its terms and its
machines. A group replaces the one of the same provider and tier, whole; others are added. So a negotiated price is one group
of a few lines, and an empty list of machines removes one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from lorry.errors import InputError
from lorry.plan import gpus
from lorry.plan.cost import Interruptions, Terms
from lorry.plan.gpus import GpuSpec
from lorry.plan.offers import Offer
from lorry.plan.ranges import Range

OWN = "prices.yaml"
_BUNDLED = Path(__file__).parent / "catalog" / "prices.yaml"
_MOST_BYTES = 1_000_000
_MOST_SHOWN = 10
_MESSAGES = {
    "extra_forbidden": "unknown key",
    "missing": "is missing",
    "model_type": "must be a mapping",
    "list_type": "must be a list",
    "finite_number": "must be a finite number",
}
"""Kinds of pydantic's errors in lorry's words; others keep pydantic's."""


@dataclass(frozen=True)
class PriceList:
    """Every offer whose price is known."""

    offers: tuple[Offer, ...]
    own: Path | None
    """The person's own file, where there is one."""

    def of(self, gpu: GpuSpec) -> list[Offer]:
        """Offers with this GPU, the cheapest an hour and GPU first."""
        found = [offer for offer in self.offers if offer.gpu == gpu]
        return sorted(found, key=lambda offer: (offer.usd_per_hour.likely / offer.gpus, offer.name))

    @property
    def providers(self) -> list[str]:
        """Every provider, in the list's order."""
        return list(dict.fromkeys(offer.provider for offer in self.offers))

    @property
    def dates(self) -> tuple[str, str]:
        """The oldest and the newest date of a price."""
        dates = sorted(offer.as_of for offer in self.offers) or [""]
        return dates[0], dates[-1]


def prices(home: Path | None = None) -> PriceList:
    """The price list, with `prices.yaml` of lorry's home over it. Raises InputError for a file that cannot be used."""
    groups = _groups(_BUNDLED)
    own = home / OWN if home else None
    if own is None or not own.exists():
        return PriceList(_offers(groups), None)
    groups |= _groups(own)
    return PriceList(_offers(groups), own)


def _range(value: Any) -> Any:
    """A number as an exact range, three numbers as low, likely and high."""
    numbers: list[Any] = value if isinstance(value, list) else [value] * 3  # pyright: ignore[reportUnknownVariableType]
    if len(numbers) != 3 or not all(isinstance(one, (int, float)) and not isinstance(one, bool) for one in numbers):
        raise ValueError("must be a number, or three: low, likely, high")
    if min(numbers) < 0:
        raise ValueError("must not be negative")
    return Range(*map(float, numbers))


def _gpu(value: Any) -> Any:
    found = gpus.variants(value) if isinstance(value, str) else []
    if len(found) != 1:
        several = f"may be {', '.join(spec.name for spec in found)}" if found else "is no GPU that lorry knows"
        raise ValueError(f"`{value}` {several}; `lorry gpus` lists their names")
    return found[0]


_Usd = Annotated[Range, BeforeValidator(_range)]
_Dollars = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)


class _Interruptions(_Section):
    per_hour: _Usd
    wait: _Usd
    source: str = ""


class _Machine(_Section):
    gpu: Annotated[GpuSpec, BeforeValidator(_gpu)]
    usd: _Usd
    machine: str = ""
    gpus: int = Field(default=1, ge=1, le=64)
    uncertain: bool = False
    as_of: date | None = None
    source: str = ""


class _Group(_Section):
    provider: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    tier: str = ""
    as_of: date
    source: str = ""
    billed_by: _Dollars = 1
    minimum: _Dollars = 0
    storage: _Dollars | None = None
    egress: _Dollars | None = None
    monthly_fee: _Dollars = 0
    included: _Dollars = 0
    session_hours: float | None = Field(default=None, gt=0)
    by_hand: str = ""
    interruptions: _Interruptions | None = None
    machines: list[_Machine]

    def terms(self) -> Terms:
        """How this group bills."""
        found = self.interruptions
        return Terms(
            billed_by=self.billed_by,
            minimum=self.minimum,
            storage=self.storage,
            egress=self.egress,
            monthly_fee=self.monthly_fee,
            included=self.included,
            session_hours=self.session_hours,
            interruptions=Interruptions(found.per_hour, found.wait) if found else None,
        )


_LIST: TypeAdapter[list[_Group]] = TypeAdapter(list[_Group])


def _groups(file: Path) -> dict[tuple[str, str], _Group]:
    try:
        groups = _LIST.validate_python(_read(file))
    except ValidationError as error:
        raise InputError(
            _told(error), place=str(file), hint="`lorry gpus --help` tells the form of the file"
        ) from error
    found: dict[tuple[str, str], _Group] = {}
    for group in groups:
        if (group.provider, group.tier) in found:
            message = f"`{group.provider}` has the tier `{group.tier}` twice"
            raise InputError(message, place=str(file), hint="put its machines into one group")
        found[group.provider, group.tier] = group
    return found


def _read(file: Path) -> Any:
    import yaml

    try:
        if file.stat().st_size > _MOST_BYTES:
            raise InputError("too large for a price list", place=str(file), hint="move it away")
        # Only lorry's own list goes through the loader in C, which is fast and has no guard against endless nesting.
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader) if file == _BUNDLED else yaml.SafeLoader
        return yaml.load(file.read_text("utf-8-sig"), Loader=loader)  # noqa: S506 - both loaders are safe ones
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the price list cannot be read: {error}", place=str(file), hint="move it away") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{file}:{mark.line + 1}" if mark else str(file)
        problem = getattr(error, "problem", None) or error
        raise InputError(f"no valid YAML: {problem}", place=place, hint="mend it, or move it away") from error


def _told(error: ValidationError) -> str:
    """All that is wrong, with the place in the list: `0.machines.2.usd: must not be negative`."""
    lines = [f"{'.'.join(map(str, one['loc'])) or 'the file'}: {_message(one)}" for one in error.errors()]
    more = [f"and {len(lines) - _MOST_SHOWN} more"] if len(lines) > _MOST_SHOWN else []
    return "\n  ".join(["the price list has mistakes:", *lines[:_MOST_SHOWN], *more])


def _message(problem: Any) -> str:
    return _MESSAGES.get(problem["type"]) or problem["msg"].removeprefix("Value error, ")


def _offers(groups: dict[tuple[str, str], _Group]) -> tuple[Offer, ...]:
    return tuple(offer for group in groups.values() for offer in _of_group(group))


def _of_group(group: _Group) -> Iterator[Offer]:
    terms = group.terms()
    for one in group.machines:
        yield Offer(
            provider=group.provider,
            machine=one.machine or one.gpu.name,
            gpu=one.gpu,
            memory=one.gpu.memory,
            usd_per_hour=one.usd,
            terms=terms,
            tier=group.tier,
            gpus=one.gpus,
            by_hand=group.by_hand,
            as_of=(one.as_of or group.as_of).isoformat(),
            source=one.source or group.source,
            uncertain=one.uncertain,
        )
