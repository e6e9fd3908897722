"""Python files that a recipe names for a function in them: what can be said of one without running it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from lorry.recipe.paths import exists, from_home, in_clone
from lorry.recipe.rewards import functions
from lorry.recipe.schema import Recipe


class Flaw(NamedTuple):
    """What is wrong with a file, or with the function in it; `in-clone` is no fault, for the file is elsewhere."""

    kind: Literal["in-clone", "file", "syntax", "function"]
    message: str
    remedy: str
    at: str = ""
    """`file:line`; empty for the place in the recipe."""


def flaws(named: str, function: str, base: Path, recipe: Recipe) -> Iterator[Flaw]:
    """What is to be said of a file that a recipe names, relative to `base`, and of the function that is to be called."""
    cloned = in_clone(named, base, recipe)
    if cloned:
        told = f"`{cloned}` is not here: it is taken from the repository of compute.code, and was not looked at"
        yield Flaw("in-clone", told, "")
        return
    file = Path(base, from_home(named))
    try:
        known, may_be_others = functions(file)
    except SyntaxError as fault:
        at = f"{file}:{fault.lineno}" if fault.lineno else str(file)
        yield Flaw("syntax", f"no Python: {fault.msg}", "correct the line", at)
        return
    except (OSError, ValueError, RecursionError) as cause:
        told = f"there is no `{named}`" if not exists(file) else f"`{named}` cannot be read: {cause}"
        yield Flaw("file", told, "give a Python file, relative to the recipe")
        return
    if known.get(function) is False:
        yield Flaw(
            "function", f"`{function}` is `async`, and is called as a plain function", "write it with `def` alone"
        )
    elif function not in known and not may_be_others:
        plain = ", ".join(f"`{name}`" for name, is_plain in known.items() if is_plain) or "no function"
        yield Flaw("function", f"`{named}` has no function `{function}`", f"it has {plain}")
