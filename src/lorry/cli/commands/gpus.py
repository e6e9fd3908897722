"""`lorry gpus`: what GPUs can do, and what an hour of them costs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from lorry import units
from lorry.cli import output
from lorry.plan import gpus
from lorry.plan.gpus import GpuSpec
from lorry.plan.offers import Offer
from lorry.plan.prices import PriceList, prices
from lorry.plan.words import hourly
from lorry.track.folder import home

_GPU_COLUMNS = (
    output.Column("GPU"),
    output.Column("GiB", right=True),
    output.Column("TFLOP/s", right=True),
    output.Column("GB/s", right=True),
    output.Column("CUDA", right=True),
    output.Column("watts", right=True),
    output.Column("USD/h", right=True),
    output.Column("at"),
    output.Column("interruptible", right=True),
    output.Column("at"),
)
_OFFER_COLUMNS = (
    output.Column("provider"),
    output.Column("machine"),
    output.Column("GPUs", right=True),
    output.Column("USD/h", right=True),
    output.Column("as of"),
    output.Column("terms"),
)


def command(
    name: Annotated[str | None, typer.Argument(help="Only GPUs of this name, with all their prices: `A100`.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List GPUs: memory, speed in bf16, bandwidth, power, and the best prices known of an hour.

    With a name, every price of such a GPU is listed, with its date.

    Prices of your own stand in `prices.yaml` in lorry's home, as a list of groups; one replaces the group of the same
    provider and tier: `[{provider: runpod, tier: mine, as_of: 2026-11-20, machines: [{gpu: RTX 4090, usd: 0.30}]}]`.
    """
    known = prices(home())
    shown = _named(name) if name else list(gpus.catalog())
    if as_json:
        output.emit_json({"dates": known.dates, "own": known.own, "gpus": [_described(spec, known) for spec in shown]})
        return
    output.table(_GPU_COLUMNS, [_cells(spec, known) for spec in shown], fold=False)
    if name:
        output.data("")
        output.table(_OFFER_COLUMNS, [_offer_cells(offer) for spec in shown for offer in known.of(spec)], fold=False)
    _explain(shown, known)


def _named(name: str) -> list[GpuSpec]:
    """The GPUs that a name means, or else whose names hold it. Raises InputError where there is none."""
    part = name.strip().casefold()
    held = [spec for spec in gpus.catalog() if part and part in spec.name.casefold()]
    return gpus.variants(name) or held or [gpus.get(name)]


def _cells(spec: GpuSpec, known: PriceList) -> list[str]:
    """A row of the table; hours that a monthly fee pays for, and free ones that nobody promises, have no price here."""
    by_hour = [offer for offer in known.of(spec) if not offer.terms.monthly_fee and offer.usd_per_hour.likely]
    offers = [offer for offer in by_hour if offer.gpus == 1] or by_hour
    steady = next((offer for offer in offers if not offer.interruptible), None)
    spot = next((offer for offer in offers if offer.interruptible), None)
    return [
        spec.name,
        f"{spec.memory / 2**30:.1f}",
        f"{spec.rate:.0f}{'' if spec.bf16 else '*'}",
        f"{spec.bandwidth:.0f}",
        f"{spec.capability}",
        f"{spec.watts:.0f}",
        *_best(steady),
        *_best(spot),
    ]


def _best(offer: Offer | None) -> tuple[str, str]:
    return (hourly(offer), _where(offer)) if offer else ("-", "-")


def _where(offer: Offer) -> str:
    several = f" x{offer.gpus}" if offer.gpus > 1 else ""
    return f"{offer.provider} {offer.tier}".strip() + several


def _offer_cells(offer: Offer) -> list[str]:
    terms = [
        "interruptible" if offer.interruptible else "",
        f"{units.money(offer.terms.monthly_fee)} a month" if offer.terms.monthly_fee else "",
        f"{offer.terms.session_hours:g} h a session" if offer.terms.session_hours else "",
    ]
    said = ", ".join(filter(None, terms)) or "-"
    return [_where(offer).partition(" x")[0], offer.machine, str(offer.gpus), hourly(offer), offer.as_of, said]


def _explain(shown: list[GpuSpec], known: PriceList) -> None:
    oldest, newest = known.dates
    output.note(
        f"\nTFLOP/s: dense bf16 with sums in fp32{'; * fp16, no bf16' if any(not s.bf16 for s in shown) else ''}"
    )
    output.note(f"USD/h: of the whole machine, seen between {oldest} and {newest}; ~ second-hand, old or reckoned")
    if known.own:
        output.note(f"prices of your own: {known.own}")


def _described(spec: GpuSpec, known: PriceList) -> dict[str, Any]:
    facts = {field: value for field, value in asdict(spec).items() if field not in {"words", "names"}}
    return {**facts, "bf16": spec.bf16, "prices": [_price(offer) for offer in known.of(spec)]}


def _price(offer: Offer) -> dict[str, Any]:
    return {
        "provider": offer.provider,
        "tier": offer.tier,
        "machine": offer.machine,
        "gpus": offer.gpus,
        "usd_per_hour": asdict(offer.usd_per_hour),
        "interruptible": offer.interruptible,
        "terms": asdict(offer.terms),
        "by_hand": offer.by_hand,
        "as_of": offer.as_of,
        "source": offer.source,
        "uncertain": offer.uncertain,
    }
