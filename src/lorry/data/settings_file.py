"""The JSON files of settings that lie beside a model: any of them may be missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

from lorry.errors import ModelError


def settings_in(file: Path) -> dict[str, Any]:
    """What a file says; nothing where it is missing or holds no object. Raises ModelError where it is no JSON."""
    if not file.is_file():
        return {}
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"not valid JSON: {error}", place=str(file)) from error
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
