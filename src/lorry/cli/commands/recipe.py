"""`lorry recipe`: a recipe as lorry understands it, one of another system's configuration, and the schema of all."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lorry.cli import output
from lorry.cli.loading import load
from lorry.errors import InputError, RecipeError
from lorry.recipe.load import check, imported
from lorry.track.folder import write_exact

if TYPE_CHECKING:
    from lorry.recipe.importing import Imported

app = typer.Typer(
    help="Show a recipe as lorry understands it, import one, or print the schema for editors.", no_args_is_help=True
)


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


@app.command("import")
def import_(
    config: Annotated[Path, typer.Argument(help="A YAML configuration of Axolotl or LLaMA-Factory.")],
    into: Annotated[Path | None, typer.Option("-o", "--output", help="Write the recipe to this file.")] = None,
    leave_out: Annotated[
        bool, typer.Option("--leave-out", help="Leave out what lorry's trainer cannot do, though it matters.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON: each field, and the recipe.")] = False,
) -> None:
    """Write the recipe that another system's configuration stands for, with comments on what became of each field.

    Without -o it is printed. Fields that mean something to the training and that lorry cannot do are errors, unless they are
    left out; `lorry run` takes such a configuration as it is.
    """
    from lorry.cli.loading import tell
    from lorry.recipe.imported_text import written

    found = imported(config, leaving_out=leave_out)
    if json_:
        fields = [asdict(one) for one in found.fields]
        output.emit_json({"system": found.system, "fields": fields, "recipe": found.layer.values})
        return
    tell(found)
    text = written(found, (into or Path()).parent if into else Path.cwd())
    if into is None:
        output.exact(text)
        return
    if os.path.lexists(into) and not force:
        raise InputError(f"{into} exists already", hint="give another file, or `--force` to replace it")
    write_exact(into, text)
    output.note(f"wrote {into}; look at it, then: `lorry run {into}`")
    _warn_of_gaps(found, into)


@app.command()
def schema() -> None:
    """Print the JSON Schema of recipes; editors complete and check with it."""
    from lorry.recipe.json_schema import recipe_schema

    output.emit_json(recipe_schema())


def _warn_of_gaps(found: Imported, into: Path) -> None:
    """Says what the recipe needs before it can be run, where a part that it needs was left out."""
    try:
        check(found.layer, str(into))
    except RecipeError as error:
        output.warn(f"{into} is not whole yet: {error}")


def _name(recipe: Any) -> str:
    from lorry.recipe.name import experiment_name

    return experiment_name(recipe)


def _yaml(values: dict[str, Any]) -> str:
    """YAML that loads as the same recipe."""
    from lorry.recipe.yaml_file import dump

    return dump(values)
