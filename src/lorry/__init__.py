"""lorry fine-tunes open-weight models with LoRA, here or on a rented GPU, and brings the adapter home, tested.

The SDK is what stands here; nothing else is public.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lorry.errors import LorryError

if TYPE_CHECKING:
    from lorry.job import run as run
    from lorry.plan.rehearsal.outcome import Rehearsal as Rehearsal
    from lorry.recipe.schema import Recipe as Recipe
    from lorry.rehearsing import rehearse as rehearse
    from lorry.resuming import resume as resume
    from lorry.track.run import Run as Run

__all__ = ["LorryError", "Recipe", "Rehearsal", "Run", "rehearse", "resume", "run"]
__version__ = "0.1.0"

_HOMES = {
    "run": "lorry.job",
    "Recipe": "lorry.recipe.schema",
    "Rehearsal": "lorry.plan.rehearsal.outcome",
    "rehearse": "lorry.rehearsing",
    "resume": "lorry.resuming",
    "Run": "lorry.track.run",
}


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used, so that `import lorry` stays quick."""
    if name not in _HOMES:
        raise AttributeError(f"lorry has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
