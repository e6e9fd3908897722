"""`lorry recipe`: a recipe as lorry understands it, and the schema of all recipes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lorry.cli import output
from lorry.recipe.load import load

app = typer.Typer(help="Show a recipe as lorry understands it, or the schema for editors.", no_args_is_help=True)


@app.command()
def show(
    recipe: Annotated[Path, typer.Argument(help="A YAML or Python recipe.")],
    overrides: Annotated[list[str] | None, typer.Option("-o", "--override", help="`train.steps=10`.")] = None,
    resolved: Annotated[bool, typer.Option("--resolved", help="With every default filled in.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print a recipe after `extends` and `-o`: what was given, or with --resolved everything."""
    loaded = load(recipe, overrides or ())
    for warning in loaded.warnings:
        output.warn(warning)
    values = loaded.recipe.model_dump(mode="json", exclude_unset=not resolved)
    if resolved:
        values["name"] = _name(loaded.recipe)
    if json_:
        output.emit_json(values)
    else:
        output.exact(_yaml(values))


@app.command()
def schema() -> None:
    """Print the JSON Schema of recipes; editors complete and check with it."""
    from lorry.recipe.json_schema import recipe_schema

    output.emit_json(recipe_schema())


def _name(recipe: Any) -> str:
    from lorry.recipe.name import experiment_name

    return experiment_name(recipe)


def _yaml(values: dict[str, Any]) -> str:
    """YAML that loads as the same recipe."""
    from lorry.recipe.yaml_file import dump

    return dump(values)
