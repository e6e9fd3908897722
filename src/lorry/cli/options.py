"""A command's options as one value: a dataclass whose fields are typer's options."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, fields
from inspect import Parameter, Signature
from typing import Any, TypeVar, get_type_hints

Options = TypeVar("Options")
Result = TypeVar("Result")


def takes(options: type[Options]) -> Callable[[Callable[[Options], Result]], Callable[..., Result]]:
    """Turns a function of an options dataclass into a function of its fields, as typer reads commands.

    Each field is `name: Annotated[type, typer.Option(...)] = default`; a field without a default must be given.
    """
    hints = get_type_hints(options, include_extras=True)
    parameters = [
        Parameter(
            field.name,
            Parameter.KEYWORD_ONLY,
            default=Parameter.empty if field.default is MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in fields(options)  # type: ignore[arg-type]
    ]

    def decorate(run: Callable[[Options], Result]) -> Callable[..., Result]:
        def command(**given: Any) -> Result:
            return run(options(**given))

        command.__name__ = run.__name__
        command.__doc__ = run.__doc__
        command.__annotations__ = hints
        command.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
        return command

    return decorate
