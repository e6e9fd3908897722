"""What a run asks of a machine, worked out once at home and kept with the run: where it fits, and what it takes there.

A controller that takes a run up again, or looks for the next machine at night, reads it and needs neither model nor rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from lorry.compute import market
from lorry.errors import InputError
from lorry.plan import gpus
from lorry.plan.offers import Offer
from lorry.plan.ranges import Range
from lorry.track.folder import RunFolder, write_json

if TYPE_CHECKING:
    from lorry.plan.planner import Planner
    from lorry.plan.subject import Subject
    from lorry.recipe.schema import ComputeSettings

CPU = market.NO_GPU
_LEAST_DISK_GB = 20
_CPU_MEMORY = 64 * 2**30
"""Bytes that a rented machine without a GPU is taken to have at least."""


@dataclass(frozen=True)
class OnGpu:
    """The run on one kind of GPU."""

    seconds: float | None
    """Likely seconds from its start to its tested adapter; None where nothing is known of the speed."""
    highest: float | None
    """The same if all goes as slowly as may be."""
    expected: dict[str, Any] | None = None
    """What `plan.json` says of it there."""


@dataclass(frozen=True)
class Needs:
    """What a machine must have."""

    disk_gb: int = _LEAST_DISK_GB
    disk_bytes: int = 0
    """What the run writes into its folder."""
    on: Mapping[str, OnGpu] = field(default_factory=dict[str, OnGpu])
    """By the GPU's name, only those on which it fits; `cpu` for none."""
    any_gpu: bool = False
    """Whether the sizes of the model are not known, so that nobody can say where it fits."""

    def suits(self, offer: Offer) -> bool:
        """Whether the run fits there. What a host of one's own has is found out on it."""
        if offer.provider == "ssh":
            return True
        name = CPU if offer.gpu is None else offer.gpu.name
        return name in self.on or (self.any_gpu and offer.gpu is not None)

    def seconds(self, offer: Offer) -> float | None:
        """Likely seconds there; None where nothing is known."""
        found = self.on.get(CPU if offer.gpu is None else offer.gpu.name)
        return found.seconds if found else None

    def highest(self, offer: Offer) -> float | None:
        """Seconds there if all goes as slowly as may be; None where nothing is known."""
        found = self.on.get(CPU if offer.gpu is None else offer.gpu.name)
        return found.highest if found else None

    def usd(self, offer: Offer) -> float | None:
        """Likely dollars there."""
        seconds = self.seconds(offer)
        return None if seconds is None else seconds * offer.usd_per_hour.likely / 3600


def chosen(needs: Needs, offers: Iterable[Offer]) -> list[Offer]:
    """The offers that suit, in the order in which they are tried: the cheapest for the whole run first.

    Where nothing is known of the speed the price per hour decides, after all others.
    """
    fitting = [offer for offer in offers if needs.suits(offer)]
    return sorted(fitting, key=lambda offer: _order(needs, offer))


def _order(needs: Needs, offer: Offer) -> tuple[bool, float, float, str]:
    usd = needs.usd(offer)
    return usd is None, usd or 0.0, offer.usd_per_hour.likely, offer.key


def needs_of(subject: Subject) -> Needs:
    """What the run of a recipe asks for. Raises InputError where it fits on none of the GPUs that the recipe names."""
    from lorry.plan.disk_needs import written
    from lorry.plan.subject import UnavailableError

    compute = subject.recipe.compute
    wanted = market.wanted(compute)
    cards, on_cpu = wanted.gpus, wanted.cpu
    writes = written(subject)
    try:
        planner = subject.planner
    except UnavailableError:
        where = {card.name: OnGpu(None, None) for card in cards} | ({CPU: OnGpu(None, None)} if on_cpu else {})
        return Needs(_disk(compute, 0.0, writes + _images(subject)), writes, where, any_gpu=not (cards or on_cpu))
    candidates = [_offer_of(card) for card in (cards or ([] if on_cpu else gpus.catalog()))]
    candidates += [_offer_of(None)] if on_cpu else []
    found = {_name(one): on for one in candidates if (on := _on(planner, one)) is not None}
    if not found and any(one["name"] != "ssh" for one in compute.on):
        told = ", ".join(compute.gpu) if compute.gpu else "any GPU that lorry has figures for"
        hint = "`lorry plan RECIPE --all` says what it needs, and what would make it smaller"
        raise InputError(f"the run does not fit on {told}", place="compute.gpu", hint=hint)
    return Needs(_disk(compute, planner.weights_gb, writes + _images(subject)), writes, found)


def _images(subject: Subject) -> int:
    """Bytes of the images that travel with the rows."""
    from lorry.plan.subject import UnavailableError

    try:
        return subject.prepared.album.bytes
    except UnavailableError:
        return 0


def _on(planner: Planner, offer: Offer) -> OnGpu | None:
    """The run on one kind of machine; None where it does not fit."""
    (ranked,) = planner.estimate([offer]).offers
    if planner.fit_on(offer).rung is None or any(reason.startswith("has ") for reason in ranked.reasons):
        return None
    expected = planner.expected(offer)
    if expected is None:
        return OnGpu(None, None)
    return OnGpu(expected.total.likely, expected.total.high, expected.as_json())


def _offer_of(card: gpus.GpuSpec | None) -> Offer:
    """A machine with this GPU at a price that does not matter."""
    memory = card.memory if card else _CPU_MEMORY
    return Offer("rented", card.name if card else CPU, card, memory, Range.exact(1.0))


def _name(offer: Offer) -> str:
    return offer.gpu.name if offer.gpu is not None else CPU


def _disk(compute: ComputeSettings, weights_gb: float, writes: int) -> int:
    """Gigabytes to ask for: what the recipe says, else the packages, the weights twice over, and what the run writes."""
    return compute.disk_gb or round(_LEAST_DISK_GB + 2.5 * weights_gb + writes / 1e9)


def save(folder: RunFolder, needs: Needs) -> None:
    """Keeps them with the run."""
    write_json(folder.needs, asdict(needs))


def load(folder: RunFolder) -> Needs:
    """Those of a run. Raises InputError where they are missing or damaged."""
    path = folder.needs
    try:
        found = dict(json.loads(path.read_text(encoding="utf-8")))
        on = {str(name): OnGpu(**one) for name, one in dict(found.pop("on")).items()}
        return Needs(on=on, **found)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"what the run needs cannot be read: {error}", place=str(path)) from error
