"""The command `lorry`: a table of commands, each imported when it is called, and one form for every error.

Exit codes: 0 done; 1 the run failed; 2 the input is wrong; 3 refused; 4 a machine may still be billing;
130 interrupted.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from lorry.cli import faults, output
from lorry.secrets import found as secrets

COMMANDS: dict[str, dict[str, str]] = {
    "Start": {
        "init": "Write a recipe, by five questions or from a template",
        "templates": "List the templates of recipes",
        "check": "Find everything wrong with a recipe before anything runs",
        "plan": "Say what a run will take: memory, time and cost, here and on rented GPUs",
        "rehearse": "Go through the whole run in a minute, on a small copy of the model",
        "run": "Train what a recipe describes, evaluate it and write the report",
        "resume": "Go on with a run that was interrupted, stopped or failed",
    },
    "Follow": {
        "ps": "List the runs",
        "show": "Show one run: what it is, where it stands, its scores",
        "logs": "Print a run's events as readable lines, or follow them",
        "watch": "Look on at a run, live, wherever it trains",
        "attach": "Watch a rented run again, and control it where nobody does",
        "detach": "Free the terminal that watches a rented run",
        "stop": "End a run after a checkpoint, or now",
        "pull": "Fetch a rented run's adapter or checkpoint as it is now",
        "ssh": "Open a shell on a run's machine, or run a command there",
        "controller": "Control all rented runs in one process",
        "report": "Print a run's report",
        "track": "Tell a run's trackers what they have not been told yet",
        "costs": "Show what rented machines have cost, and cap what they may",
        "reap": "End rented machines that nobody works on",
    },
    "Use": {
        "evaluate": "Score an adapter against its base model",
        "chat": "Talk with an adapter, or with its base model",
        "generate": "Answer one prompt with an adapter, or with its base model",
    },
    "Rent": {
        "provider": "List who rents machines, and see to the keys for it",
        "volume": "Make, list and delete network volumes",
    },
    "Look": {
        "data": "Make rows of diaries and other tools' files, and show what the model will see",
        "recipe": "Show a recipe with every default filled in, or the schema",
        "methods": "List the methods of training",
        "metrics": "List the metrics of evaluation",
        "rewards": "List the rewards of learning from one's own answers",
        "sinks": "List the trackers that a run can be followed in",
        "gpus": "List GPUs: memory, speed, and what an hour costs",
        "speeds": "List how fast runs have trained, and share it",
        "emulate": "Serve an emulated cloud here, to see a rented run without an account",
        "explain": "Say what the code of a finding means, and what to do",
        "doctor": "Show what is installed here and what is missing",
    },
}
"""Every command by group, in the order in which people meet them; the module is `lorry.cli.commands.<name>`."""

HELPS = {name: text for group in COMMANDS.values() for name, text in group.items()}


class CommandTable(TyperGroup):
    """The group of all commands; importing one waits until it is called."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        """The commands' names, in the table's order."""
        return list(HELPS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        """The command, imported now; None for an unknown name."""
        return _load(cmd_name) if cmd_name in HELPS else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the first argument names. Raises InputError with the nearest name for an unknown one."""
        if args[0] not in HELPS and not args[0].startswith("-"):
            raise faults.unknown_command(args[0], list(HELPS), "lorry")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        """Writes the table of commands, by group, without importing any."""
        for title, commands in COMMANDS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(8), text) for name, text in commands.items()])


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs one command line and leaves the process with its exit code."""
    output.prepare_streams()
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Runs one command line; its exit code. Prints errors, never a traceback unless `--debug` is given."""
    _debug.on = False
    try:
        secrets.load_env_file(Path(".env"))
        result = typer.main.get_group(_app).main(list(arguments), prog_name="lorry", standalone_mode=False)
        output.flush()
    except BrokenPipeError:
        output.hush_stdout()
        return 0  # whoever read our output had enough of it
    except KeyboardInterrupt:
        return faults.interrupted()
    except Exception as error:
        return faults.say(error, debug=_debug.on)
    return _code(result)


class _Debug:
    on = False


_debug = _Debug()
_app = typer.Typer(
    cls=CommandTable,
    rich_markup_mode=None,
    add_completion=False,
    epilog="Start with `lorry init`. Each command explains itself: `lorry run --help`.",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _set_debug(value: bool) -> bool:
    _debug.on = _debug.on or value
    return value


Debug = Annotated[
    bool,
    typer.Option("--debug", help="Show the traceback of any error.", is_eager=True, callback=_set_debug),
]


@_app.callback(invoke_without_command=True)
def _root(  # pyright: ignore[reportUnusedFunction]
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print lorry's version.")] = False,
    debug: Debug = False,  # noqa: ARG001 - its callback acts
) -> None:
    """Fine-tune open-weight models with LoRA and bring the adapter home, tested."""
    if version:
        from importlib.metadata import version as installed

        output.data(f"lorry {installed('lorry')}")
    elif ctx.invoked_subcommand is None:
        output.data(ctx.get_help())


def _load(name: str) -> Any:
    """A command's object, with `--debug` accepted by it and by everything under it."""
    module = importlib.import_module(f"lorry.cli.commands.{name}")
    app = getattr(module, "app", None)
    if app is not None:
        app.rich_markup_mode = None
        loaded = typer.main.get_group(app)
    else:
        single = typer.Typer(rich_markup_mode=None, add_completion=False)
        single.command(name, help=module.command.__doc__ or HELPS[name])(module.command)
        loaded = typer.main.get_command(single)
    loaded.name = name
    loaded.short_help = HELPS[name]
    _accept_debug(loaded)
    return loaded


def _accept_debug(command: Any) -> None:
    for below in getattr(command, "commands", {}).values():
        _accept_debug(below)
    probe = typer.Typer(add_completion=False)
    probe.command()(_only_debug)
    option = next(param for param in typer.main.get_command(probe).params if param.name == "debug")
    option.expose_value = False
    command.params.append(option)


def _only_debug(debug: Debug = False) -> None:
    """Carries the option that every command gets."""


def _code(result: Any) -> int:
    """A command's result as an exit code: a number is one, anything else is success."""
    if isinstance(result, int) and not isinstance(result, bool):
        return faults.interrupted() if result == 130 else result
    return 0
