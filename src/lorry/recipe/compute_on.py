"""`compute.on` as it is said on a command line: `runpod`, `ssh:user@host`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from lorry.errors import InputError
from lorry.recipe.schema import ComputeSettings


def providers_of(said: Sequence[str]) -> list[dict[str, Any]]:
    """Names and settings of providers, as in a recipe. Raises InputError for what is none."""
    try:
        return ComputeSettings.model_validate({"on": [*said]}).on
    except ValidationError as error:
        told = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise InputError(told, hint="name a provider of `lorry provider list`, or `ssh:user@host`") from error


def override(said: Sequence[str]) -> list[str]:
    """The override of a recipe that says the same; none where nothing is said."""
    return [f"compute.on={json.dumps([*said])}"] if said else []
