"""`lorry templates`: the recipes that `lorry init` can write."""

from __future__ import annotations

from typing import Annotated

import typer

from lorry.cli import output
from lorry.recipe.template_files import RecipeTemplate, templates


def command(json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the templates of recipes: what each is for, its model and its method."""
    every = templates().values()
    if json_:
        output.emit_json([_described(one) for one in every])
        return
    output.table(
        ["template", "model", "method", "what it is for"],
        [[one.name, one.model or "any", one.method, one.purpose] for one in every],
    )
    output.note("`lorry init --template NAME --data FILE` writes one as recipe.yaml, `--model` takes another model")


def _described(one: RecipeTemplate) -> dict[str, str | None]:
    return {"name": one.name, "summary": one.purpose, "model": one.model or None, "method": one.method}
