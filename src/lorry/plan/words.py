"""A plan in words: what is trained on what, how it sits on a GPU, what an offer asks for."""

from __future__ import annotations

from lorry import units
from lorry.plan.fit import Fit
from lorry.plan.memory import stays_whole
from lorry.plan.offers import Offer
from lorry.plan.planner import Estimate
from lorry.plan.subject import Subject
from lorry.recipe.schema import BudgetSettings


def facts(subject: Subject, plan: Estimate) -> list[tuple[str, str]]:
    """Labels with what stands behind them: model, data, training, tokens."""
    recipe, data, shape = subject.recipe, subject.prepared.facts, plan.shape
    train = recipe.train
    cut = f"; {units.count(data.train.cut_rows)} cut" if data.train.cut_rows else ""
    rows = train.micro_batch * train.accumulation
    spared = 1 - plan.tokens.computed / plan.tokens.rows if plan.tokens.rows else 0.0
    sharing = f", {spared:.0%} of them shared and computed once" if spared > 0.005 else ""
    quantised = "" if recipe.model.quantization == "none" else f", {recipe.model.quantization}"
    whole = [("16 bits", f"{', '.join(stays_whole(shape))} stay as they are")] if quantised else []
    return [
        ("Model", f"{plan.model}: {_billions(shape.parameters)} parameters{quantised}; {_billions(plan.trained)} trained"),
        *whole,
        ("Data", f"{units.count(data.train.rows)} rows, {units.count(data.train.tokens)} tokens{cut}"),
        ("Training", f"{units.count(plan.tokens.steps)} steps, batch {train.micro_batch} x {train.accumulation} = {rows}, "
                     f"learning rate {train.learning_rate:g}"),
        ("Tokens", f"{units.count(plan.tokens.rows)}{sharing}"),
        *_cap(recipe.budget),
        *([("About", subject.about)] if subject.about else []),
    ]  # fmt: skip


def _cap(budget: BudgetSettings) -> list[tuple[str, str]]:
    """The limits at which training ends; nothing where there are none."""
    usd = [units.money(budget.usd)] if budget.usd is not None else []
    hours = [units.duration(3600 * budget.hours)] if budget.hours is not None else []
    return [("Cap", " or ".join([*usd, *hours]))] if usd or hours else []


def sits(found: Fit) -> str:
    """How a run sits on a GPU: `micro-batches of up to 16 fit`; empty where there is nothing to say."""
    if found.rung is None:
        return "does not fit"
    if not found.lowered:
        return f"micro-batches of up to {found.largest} fit" if found.largest else ""
    kept = ", activations computed twice" if found.rung.activation_checkpointing else ""
    return f"with micro-batches of {found.rung.micro_batch}{kept}"


def hourly(offer: Offer) -> str:
    """USD an hour without a sign: `0.34`, or `~0.16-0.31` for an uncertain price that is a range."""
    price = offer.usd_per_hour
    told = f"{price.likely:.2f}" if price.is_exact else f"{price.low:.2f}-{price.high:.2f}"
    return f"~{told}" if offer.uncertain else told


def price(offer: Offer) -> str:
    """What is to be paid, and how long a session lasts: `$0.34/h`, `$9.99 a month, 12 h a session`."""
    terms = offer.terms
    if terms.monthly_fee:
        paid = f"{units.money(terms.monthly_fee)} a month"
    elif offer.usd_per_hour.high:
        paid = f"{hourly(offer).replace('~', '~$') if offer.uncertain else f'${hourly(offer)}'}/h"
    else:
        paid = "free"
    return f"{paid}, {terms.session_hours:g} h a session" if terms.session_hours else paid


def _billions(count: int) -> str:
    return f"{count / 1e9:.2f} billion" if count >= 1e9 else f"{count / 1e6:,.1f} million"
