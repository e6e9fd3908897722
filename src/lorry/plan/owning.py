"""A computer of one's own as a place to train: what an hour costs, and when buying beats renting."""

from __future__ import annotations

from dataclasses import dataclass

from lorry.errors import InputError

HOST_WATTS = 150.0
"""Processor, memory, disks, fans and the power supply's losses beside a GPU at work: a guess for a desktop computer."""
USD_PER_KWH = 0.30
"""What electricity costs where nobody says; about the European Union's average for households (Eurostat, 2025)."""
_DEAREST, _STRONGEST = 100.0, 1e6
"""USD per kWh, and watts, above which somebody has mistyped."""


@dataclass(frozen=True)
class Power:
    """What the computer at hand takes while it trains, and what that costs. Raises InputError for what cannot be."""

    usd_per_kwh: float = USD_PER_KWH
    watts: float | None = None
    """Of the whole computer; None for its GPU's and a guess for the rest."""

    def __post_init__(self) -> None:
        if not 0 <= self.usd_per_kwh <= _DEAREST:
            raise InputError(f"electricity at {self.usd_per_kwh:g} dollars per kWh", hint="give dollars: 0.30")
        if self.watts is not None and not 0 <= self.watts <= _STRONGEST:
            raise InputError(f"a computer of {self.watts:g} watts", hint="give watts of the whole computer: 350")


def electricity(watts: float, usd_per_kwh: float) -> float:
    """USD an hour of a machine that takes so many watts."""
    if watts < 0 or usd_per_kwh < 0:
        raise ValueError("watts and the price per kWh are never negative")
    return watts / 1000 * usd_per_kwh


@dataclass(frozen=True)
class Purchase:
    """A GPU to buy, in USD; `per_hour` is what an hour of it costs, as `electricity` tells."""

    usd: float
    per_hour: float = 0.0
    resale: float = 0.0

    def break_even_hours(self, rent_per_hour: float) -> float | None:
        """Hours of training after which buying has cost no more than renting; None where renting an hour is not dearer."""
        saved = rent_per_hour - self.per_hour
        return max(0.0, self.usd - self.resale) / saved if saved > 0 else None
