"""A recipe as a command takes it: what was imported from another system's configuration is told first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lorry.cli import output
from lorry.recipe import load as recipes

if TYPE_CHECKING:
    from lorry.recipe.importing import Imported


def load(path: Path | str, overrides: Sequence[str] = ()) -> recipes.Loaded:
    """As `lorry.recipe.load.load`; says on stderr what became of each field of another system's configuration."""
    loaded = recipes.load(path, overrides)
    for one in loaded.imported:
        tell(one)
    return loaded


def tell(imported: Imported) -> None:
    """Says what became of each field."""
    from lorry.recipe.imported_text import lines, summary

    output.note(summary(imported))
    for line in lines(imported):
        output.note(f"  {line}")
