"""What a command says when it cannot go on: one form for every error, and an exit code."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import typer

from lorry.cli import output
from lorry.errors import InputError, LorryError, MissingExtraError

_TRAINING_PACKAGES = frozenset(
    {"accelerate", "bitsandbytes", "datasets", "gguf", "jiwer", "peft", "sentencepiece", "torch", "transformers"}
)
_DISK_HINTS = {
    errno.ENOSPC: "free some space, or set LORRY_HOME to a folder on another disk",
    errno.EDQUOT: "your disk quota is used up: free some space, or set LORRY_HOME to a folder on another disk",
    errno.EROFS: "set LORRY_HOME to a folder that can be written to",
    errno.EACCES: "check who owns it, or set LORRY_HOME to a folder of your own",
    errno.EPERM: "check who owns it, or set LORRY_HOME to a folder of your own",
    errno.ENAMETOOLONG: "name a file or folder whose name is shorter",
    errno.ENOTDIR: "a part of this path is a file: name a folder",
}
"""What a person can do about the disk; other errors of the system are faults of lorry's."""


def say(error: Exception, *, debug: bool) -> int:
    """Prints an error and gives the exit code."""
    if debug:
        output.note("".join(traceback.format_exception(error)))
    if type(error).__name__ == "NoArgsIsHelpError":
        output.note(str(error))
        return InputError.exit_code
    known = _understood(error)
    if known is not None:
        output.error(str(known), known.hint)
        return known.exit_code
    place = _keep_traceback(error)
    where = f"the traceback is in {place}; " if place else ""
    output.error(
        f"lorry has a fault: {type(error).__name__}: {error}", f"{where}the same command with `--debug` shows it here"
    )
    return 1


def interrupted() -> int:
    """Says that the person interrupted; the exit code."""
    output.error("interrupted")
    return 130


def unknown_command(given: str, known: Sequence[str], group: str) -> InputError:
    """The error for a command that does not exist, with the nearest that does."""
    near = get_close_matches(given, known, n=1)
    hint = f"did you mean `{group} {near[0]}`?" if near else f"`{group} --help` lists the commands"
    return InputError(f"there is no command `{group} {given}`", hint=hint)


def _understood(error: Exception) -> LorryError | None:
    """The error as something the person can act on; None for a fault."""
    if isinstance(error, LorryError):
        return error
    if isinstance(error, typer.Abort):
        return InputError("the input ended before the command did", hint="answer the questions, or give options")
    if hasattr(error, "format_message"):
        return _usage(error)
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in _TRAINING_PACKAGES:
        return MissingExtraError(f"`{error.name}` is not installed", hint="install it: `pip install 'lorry[train]'`")
    if isinstance(error, RuntimeError) and "home directory" in str(error):
        hint = "`~` needs HOME, and `~name` a person who exists: write the path whole, also in LORRY_HOME"
        return InputError("a path begins with a home folder that cannot be found", hint=hint)
    return _of_system(error) if isinstance(error, OSError) else None


def _of_system(error: OSError) -> InputError | None:
    """What the system refused, if the person can do something about it."""
    from lorry.recipe.layer import show

    if _is_home(error.filename):
        hint = "set LORRY_HOME to a folder of your own"
        return InputError(f"lorry's home cannot be used: {error.strerror}: {show(error.filename, 200)}", hint=hint)
    if isinstance(error, FileNotFoundError) and error.filename is None:
        return InputError("the folder that this terminal is in is gone", hint="go to one that exists: `cd`")
    if error.errno not in _DISK_HINTS:
        return None
    place = f": {show(error.filename, 200)}" if error.filename else ""
    return InputError(f"{error.strerror}{place}", hint=_DISK_HINTS[error.errno])


def _is_home(place: Any) -> bool:
    from lorry.track.folder import home

    try:
        return str(place) == str(home())
    except RuntimeError:  # `~name` of nobody
        return False


def _usage(error: Any) -> InputError:
    """An error of the argument parser in lorry's words."""
    path = error.ctx.command_path if getattr(error, "ctx", None) else "lorry"
    near = getattr(error, "possibilities", None)
    option = getattr(error, "option_name", None)
    message, _, suggestion = str(error.message or error.format_message()).partition(". Did you mean ")
    if type(error).__name__ in {"BadParameter", "MissingParameter"}:
        message = error.format_message()
    help_hint = f"`{path} --help` explains the command"
    if near and option:
        return InputError(f"`{path}` has no option `{option}`", hint=f"did you mean `{sorted(near)[0]}`?")
    if suggestion:
        help_hint = f"did you mean `{path} {suggestion.split(',')[0].strip('?').strip(chr(39))}`?"
    return InputError(_sentence(message), hint=help_hint)


def _sentence(message: str) -> str:
    """A message as lorry writes them: small letter first, no full stop."""
    message = message.strip().rstrip(".")
    return message[:1].lower() + message[1:].replace("Value error, ", "")


def _keep_traceback(error: Exception) -> Path | None:
    """Writes the traceback into lorry's home; None where that fails too."""
    from lorry.track.folder import home, write_text

    try:
        place = home() / "logs" / f"fault-{datetime.now(UTC):%Y%m%d-%H%M%S}.txt"
        write_text(place, "".join(traceback.format_exception(error)))
    except (OSError, RuntimeError):  # no place to write, or `~` in LORRY_HOME that stands for nothing
        return None
    return place
