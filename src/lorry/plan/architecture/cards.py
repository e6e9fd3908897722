"""What is known of popular models where the Hub cannot be reached: cards that come with lorry, each with its date.

They lie in `cards.json`, one entry for all models of one shape. Sizes are from the config.json that `source` names, and
were compared on the day of `as_of` with the parameter counts that the models' publishers give.
"""

from __future__ import annotations

import json
from copy import deepcopy
from functools import cache
from importlib.resources import files
from typing import Any


def card(model_id: str) -> dict[str, Any] | None:
    """The card of a Hub id, in any case; None for a model that has none.

    `id`, `licence` (as the Hub abbreviates it), `gated` (None: not known), `parameters` (as the model holds them, tied ones
    once, unquantised), `as_of` (a date), `source` (an address) and `config`: of the model's config.json, what
    `blueprint` reads.
    """
    found = _by_id().get(model_id.casefold())
    return deepcopy(found)


def known() -> list[str]:
    """The ids of all models that have a card."""
    return [found["id"] for found in _by_id().values()]


@cache
def _by_id() -> dict[str, dict[str, Any]]:
    text = (files("lorry.plan.architecture") / "cards.json").read_text(encoding="utf-8")
    cards: dict[str, dict[str, Any]] = {}
    for entry in json.loads(text):
        facts = {name: value for name, value in entry.items() if name != "models"}
        cards.update({model.casefold(): {"id": model, **facts} for model in entry["models"]})
    return cards
