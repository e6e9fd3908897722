"""What machines cost now: asked of the providers that a recipe names, over the dated price list."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from lorry.compute import market
from lorry.compute.market import Found
from lorry.compute.outcomes import OutcomeError
from lorry.compute.providers._base import Provider, Wanted
from lorry.plan.gpus import GpuSpec
from lorry.plan.live import Live, merged
from lorry.plan.offers import Offer
from lorry.recipe.schema import ComputeSettings
from lorry.secrets import found as secrets

_HERE = "local"


def over(listed: Sequence[Offer], compute: ComputeSettings, names: Sequence[GpuSpec]) -> Live:
    """The price list with live offers in place of those of each provider that answers.

    `names` are the GPUs that are wanted, none for all. Raises InputError for unknown providers, settings, GPUs and volumes,
    RefusedError for what no provider that is named has.
    """
    named = market.providers([one for one in compute.on if one.get("name") != _HERE])
    if not named:
        return Live([*listed])
    what = market.wanted(compute)
    asked, notes = _with_keys(named, listed)
    found = asyncio.run(_ask(named, asked, replace(what, gpus=tuple(names)) if names else what, compute.volume))
    notes += [_note(one, found, listed) for one in asked]
    answered = {one.name for one in asked if one.name not in found.failures}
    return merged(listed, [one.offer for one in found.listed], answered, notes)


def _with_keys(asked: Sequence[Provider], listed: Sequence[Offer]) -> tuple[list[Provider], list[str]]:
    """Those that can be asked, and what is said of the others."""
    able = [one for one in asked if not one.key or secrets.secret(one.key)]
    lacking = dict.fromkeys(one.name for one in asked if one not in able)
    by_name = {one.name: one for one in asked}
    return able, [
        f"{name}: {_as_listed(name, listed)}, for {by_name[name].key} is not set (`lorry provider add {name}`)"
        for name in lacking
    ]


async def _ask(named: Sequence[Provider], asked: Sequence[Provider], what: Wanted, volume: str | None) -> Found:
    """What those answer whose key is at hand. Raises RefusedError for what none of those that are named has."""
    try:
        if volume and any(one.capabilities.volumes for one in asked):
            what = replace(what, volume=(await market.volume_of(asked, volume))[1].id)
        found = await market.ask(asked, what)
        await market.refuse_lacks(named, what, found)
        return found
    except OutcomeError as error:
        raise market.in_words(error) from error
    finally:
        await asyncio.gather(*(one.close() for one in named))


def _note(provider: Provider, found: Found, listed: Sequence[Offer]) -> str:
    name, failures = provider.name, found.failures
    if name in failures:
        hint = f" ({failures[name].hint})" if failures[name].hint else ""
        return f"{name}: {_as_listed(name, listed)}, for {failures[name].message}{hint}"
    offers = [one.offer for one in found.listed if one.provider is provider]
    unknown = sum(offer.gpu is None for offer in offers)
    if not offers:
        return f"{name}: nothing that is wanted is to be had now"
    if unknown == len(offers):
        return f"{name}: {unknown} to be had now, not estimated: what they have is seen when a run starts"
    return f"{name}: {len(offers)} offers as of now"


def _as_listed(name: str, listed: Sequence[Offer]) -> str:
    dates = sorted(offer.as_of for offer in listed if offer.provider == name and offer.as_of)
    return f"prices of lorry's list, of {dates[0]} to {dates[-1]}" if dates else "no prices"
