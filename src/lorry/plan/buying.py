"""Buying the GPU that would be rented: after how many hours of training it has cost no more; pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lorry.plan.gpus import GpuSpec
from lorry.plan.offers import Offer, Ranked
from lorry.plan.owning import HOST_WATTS, USD_PER_KWH, Purchase, electricity


@dataclass(frozen=True)
class Buying:
    """A GPU of one's own, and the offer that it would take the place of."""

    gpu: GpuSpec
    rented: Offer
    purchase: Purchase
    """Its price; and an hour of it, with the rest of the computer that it sits in."""
    hours: float | None
    """Of training, after which it has cost no more than renting; None where an hour of renting costs no more than its power."""


def buying(ranked: Iterable[Ranked], usd: float, usd_per_kwh: float = USD_PER_KWH) -> Buying | None:
    """For the GPU of the best offer that is paid by the hour and fits; None where there is none."""
    for one in ranked:
        offer = one.offer
        if one.fits and offer.gpu is not None and not offer.terms.monthly_fee and offer.usd_per_hour.likely:
            purchase = Purchase(usd, electricity(offer.gpu.watts + HOST_WATTS, usd_per_kwh))
            hours = purchase.break_even_hours(offer.usd_per_hour.likely / offer.gpus)
            return Buying(offer.gpu, offer, purchase, hours)
    return None
