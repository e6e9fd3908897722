"""The market: what the providers that a recipe names would rent now, and what speaks against renting any of it.

Decisions are pure functions; `ask` and `survey` fetch what they decide on.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from lorry import plugins, units
from lorry.compute.outcomes import Outcome, OutcomeError
from lorry.compute.providers._base import Provider, Volume, Wanted
from lorry.errors import InputError, LorryError, RefusedError
from lorry.plan import gpus
from lorry.plan.gpus import GpuSpec
from lorry.plan.live import within_budget
from lorry.plan.offers import Offer
from lorry.recipe.schema import ComputeSettings

NO_GPU = "cpu"
"""In `compute.gpu`: a machine without one."""
_OVER = 1.2
"""A bid is a fifth above what the machine goes for: so much dearer it may get before it is taken back."""
_ASKED_WITHIN = 90.0
"""Seconds that a provider has for its offers; longer than it tries again."""
_REFUSALS = {Outcome.NOT_ALLOWED, Outcome.BALANCE_EMPTY}
_INPUT = {Outcome.KEY_REFUSED, Outcome.REQUEST_WRONG}


@dataclass(frozen=True)
class Listed:
    """An offer, and who rents it."""

    provider: Provider
    offer: Offer


@dataclass(frozen=True)
class Found:
    """What all providers answered."""

    listed: tuple[Listed, ...] = ()
    """The cheapest first."""
    failures: Mapping[str, OutcomeError] = field(default_factory=dict[str, OutcomeError])
    """Why a provider has none, by its name; a provider that simply has nothing is not there."""


def providers(on: Sequence[Mapping[str, Any]]) -> list[Provider]:
    """The providers of `compute.on`. Raises InputError for an unknown name or setting; `close` each in the end."""
    return [cast("Provider", plugins.make("providers", one)) for one in on]


def cards(names: Sequence[str]) -> tuple[GpuSpec, ...]:
    """Every GPU that people's names may mean. Raises InputError with the nearest name for an unknown one."""
    return tuple(dict.fromkeys(spec for name in names for spec in (gpus.variants(name) or [gpus.get(name)])))


def wanted(compute: ComputeSettings, *, memory: int = 0, disk_gb: float = 0.0, volume: str = "") -> Wanted:
    """What a recipe asks for; `memory` is bytes of one GPU, `volume` an id. Raises InputError for an unknown GPU."""
    without = [name for name in compute.gpu if name.strip().casefold() == NO_GPU]
    if without and len(without) < len(compute.gpu):
        hint = "name GPUs, or `cpu` alone"
        raise InputError("`cpu` is a machine without a GPU", place="compute.gpu", hint=hint)
    return Wanted(
        gpus=() if without else cards(compute.gpu),
        cpu=bool(without),
        memory=memory,
        disk_gb=disk_gb,
        interruptible=compute.interruptible,
        volume=volume,
    )


async def ask(asked: Sequence[Provider], what: Wanted) -> Found:
    """The offers of all providers, asked at once. A provider that fails is told, and takes nothing from the others."""
    answers = await asyncio.gather(*(_offers(one, what) for one in asked))
    listed = [one for found in answers if not isinstance(found, OutcomeError) for one in found]
    failures = {one.name: found for one, found in zip(asked, answers, strict=True) if isinstance(found, OutcomeError)}
    return Found(tuple(sorted(listed, key=lambda one: (one.offer.usd_per_hour.likely, one.offer.name))), failures)


async def survey(asked: Sequence[Provider], what: Wanted, usd: float | None = None) -> Found:
    """The offers, with every reason to rent none of them raised before anything is. May be empty: all are taken now.

    Raises InputError for a refused key; RefusedError where the providers lack what is wanted, where the volume lies elsewhere,
    and where `usd` does not pay the first hour. Where no provider answers, its failure, in words.
    """
    found = await ask(asked, what)
    for failure in found.failures.values():
        if failure.outcome is Outcome.KEY_REFUSED or not found.listed:
            raise in_words(failure) from failure
    await refuse_lacks(asked, what, found)
    within_budget([one.offer for one in found.listed], usd)
    return found


async def refuse_lacks(asked: Sequence[Provider], what: Wanted, found: Found) -> None:
    """Raises RefusedError for what none of the providers has, with who has it, and for a volume that lies elsewhere."""
    if what.interruptible == "only" and not any(one.capabilities.interruptible for one in asked):
        usual = await ask(asked, replace(what, interruptible="never"))
        raise no_interruptible([one.name for one in asked], usual.listed[0].offer if usual.listed else None)
    if what.volume and not any(one.capabilities.volumes for one in asked):
        raise no_volumes([one.name for one in asked])
    if not found.listed and what.volume:
        await _look_elsewhere(asked, what)


async def volume_of(asked: Sequence[Provider], called: str) -> tuple[Provider, Volume]:
    """The volume of that name or id, and whose it is. Raises InputError where none or several of the name are there."""
    known = [(one, volume) for one in asked if one.capabilities.volumes for volume in await one.volumes()]
    found = [pair for pair in known if pair[1].id == called] or [pair for pair in known if pair[1].name == called]
    if len(found) == 1:
        return found[0]
    if found:
        ids = ", ".join(volume.id for _, volume in found)
        raise InputError(
            f"{len(found)} volumes are called `{called}`", place="compute.volume", hint=f"name one of {ids}"
        )
    names = ", ".join(sorted(volume.name for _, volume in known))
    hint = f"there are: {names}" if names else "`lorry volume create` makes one"
    raise InputError(f"there is no volume `{called}`", place="compute.volume", hint=hint)


def no_interruptible(names: Sequence[str], cheapest: Offer | None) -> RefusedError:
    """The refusal of `compute.interruptible: only` where no provider has such machines: what there is, and who has them."""
    have = having("interruptible")
    who = " and ".join(names)
    no_longer = "no longer rents" if list(names) == ["runpod"] else "has no" if len(names) == 1 else "have no"
    price = ""
    if cheapest is not None:
        usd = units.cents(cheapest.usd_per_hour.likely)
        price = f"; on demand the cheapest is {cheapest.name}, at {usd} an hour now"
    others = " or ".join(f"`--on {name}`" for name in have)
    hint = f"take `compute.interruptible: prefer`, or a provider that has them: {others}"
    return RefusedError(f"{who} {no_longer} interruptible machines{price}", place="compute.interruptible", hint=hint)


def no_volumes(names: Sequence[str]) -> RefusedError:
    """The refusal of `compute.volume` where no provider has volumes."""
    who, have = " and ".join(names), ", ".join(having("volumes"))
    verb = "has" if len(names) == 1 else "have"
    return RefusedError(
        f"{who} {verb} no network volumes", place="compute.volume", hint=f"providers with volumes: {have}"
    )


def no_machine_beside(volume: Volume, places: Sequence[str]) -> RefusedError:
    """The refusal of a volume that lies where no machine that is wanted is."""
    where = ", ".join(places[:12])
    hint = f"make a volume there (`lorry volume create`), choose other GPUs, or leave `compute.volume` out; machines: {where}"
    told = f"the volume `{volume.name}` lies in {volume.place}, and no machine that is wanted is there now"
    return RefusedError(told, place="compute.volume", hint=hint)


def bid(offer: Offer, said: float | None = None) -> float | None:
    """USD an hour to bid for the whole machine; None for an offer on demand.

    What the person said; else a fifth above what the machine goes for, at most its price on demand.
    """
    if not offer.interruptible:
        return None
    if said is not None:
        return said
    least = offer.usd_per_hour.likely
    most = max(least, offer.on_demand) if offer.on_demand is not None else math.inf
    return math.ceil(min(_OVER * least, most) * 1e4 - 1e-6) / 1e4


def having(capability: str) -> list[str]:
    """Providers that declare a capability: `interruptible`, `volumes`, `stop`, `logs`."""
    found = [(name, cast("type[Provider]", plugins.find("providers", name))) for name in plugins.names("providers")]
    return [name for name, provider in found if getattr(provider.capabilities, capability)]


def in_words(error: OutcomeError) -> LorryError:
    """A provider's refusal as people are told it; its exit code is 2 for a key or a request, 3 for what is not allowed."""
    kind = InputError if error.outcome in _INPUT else RefusedError if error.outcome in _REFUSALS else LorryError
    return kind(error.message, hint=error.hint)


async def _offers(provider: Provider, what: Wanted) -> list[Listed] | OutcomeError:
    try:
        async with asyncio.timeout(_ASKED_WITHIN):
            return [Listed(provider, offer) for offer in await provider.offers(what)]
    except OutcomeError as error:
        return error
    except TimeoutError:
        return OutcomeError(Outcome.API_DOWN, f"{provider.name} has not answered within {_ASKED_WITHIN:.0f} seconds")


async def _look_elsewhere(asked: Sequence[Provider], what: Wanted) -> None:
    """Raises RefusedError where machines are to be had, and none beside the volume."""
    for provider in asked:
        if provider.capabilities.volumes:
            places = await provider.places(replace(what, volume=""))
            known = {volume.id: volume for volume in await provider.volumes()}
            if places and what.volume in known and known[what.volume].place not in places:
                raise no_machine_beside(known[what.volume], places)
