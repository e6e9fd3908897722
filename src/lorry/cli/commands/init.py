"""`lorry init`: a recipe to start from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from lorry.cli import output
from lorry.errors import InputError
from lorry.recipe import init

Value = TypeVar("Value")


def command(
    folder: Annotated[Path, typer.Argument(help="Where the files are written.")] = Path(),
    template: Annotated[str, typer.Option(help="Ask nothing and use this one of `lorry templates`.")] = "",
    model: Annotated[str, typer.Option(help="The model, in place of the question.")] = "",
    data: Annotated[str, typer.Option(help="The data file, in place of the question.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
) -> None:
    """Ask five questions, or take --template, and write a recipe, .env.example and a .gitignore that keeps .env out."""
    if template:
        answers = init.of_template(template, model=model, data=data)
    else:
        usual = init.Answers(model=model or init.Answers.model, data=data or init.Answers.data)
        answers = _asked(usual, ask_model=not model, ask_data=not data)
    for line in init.write(folder, init.compose(answers, folder), force=force):
        output.data(line)
    recipe = folder / init.RECIPE_FILE
    if not answers.data.startswith("hub:") and not Path(answers.data).expanduser().exists():
        output.warn(f"{answers.data} does not exist yet: put your rows there, or change `data.train` in {recipe}")
    output.note(f"next: `lorry check {recipe}`, then `lorry run {recipe} --smoke`")


def _asked(usual: init.Answers, *, ask_model: bool, ask_data: bool) -> init.Answers:
    """The five questions; an empty answer takes what stands in brackets."""
    for name, purpose in init.tasks().items():
        output.note(f"  {name:5} {purpose}")
    output.note("(whole recipes for one model and method: `lorry templates`)")
    return init.Answers(
        model=_ask("Which model: a Hub id, a folder, a GGUF file or pypi:PACKAGE", usual.model, str)
        if ask_model
        else usual.model,
        data=_ask("Which data file or folder", usual.data, str) if ask_data else usual.data,
        task=_ask(f"What kind of task: {', '.join(init.tasks())}", usual.task, init.read_task),
        gpu_memory=_ask("How much GPU memory, in GB", "this computer", init.read_memory),
        length=_ask("How long: steps or epochs", "200 steps", init.read_length),
    )


def _ask(question: str, default: str, read: Callable[[str], Value]) -> Value:
    """Asks until the answer can be read."""
    while True:
        answer = output.ask(question, default=default)
        try:
            return read(answer)
        except InputError as error:
            output.warn(f"{error}: {error.hint}")
