"""The one place that prints: data to stdout, everything else to stderr, readable without colour.

Text passes through `clean` on its way, so that nothing in users' data can move the cursor, change colours or reorder
what is shown. A stream that cannot encode a character gets its escape. A closed stderr is ignored; a closed stdout
raises BrokenPipeError, which `cli.main` ends the command on. Secrets are masked in what lorry says on stderr; stdout has what
was asked for: rows, answers and files are the person's own.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TextIO

from lorry.errors import InputError
from lorry.secrets.masking import mask
from lorry.visible import UNSAFE, clean

_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34", "cyan": "36"}


class Column(NamedTuple):
    """A table's column: its title, and whether its cells stand at the right, as numbers do."""

    title: str
    right: bool = False


Piece = tuple[str, str]
"""Text and the name of its style: `bold`, `dim`, `red`, `green`, `yellow`, `blue`, `cyan`, or nothing."""


def data(text: str) -> None:
    """Prints what the command was asked for, on stdout, with a newline at its end."""
    _out(_line(clean(text)))


def exact(text: str) -> None:
    """Prints text as it is (a model's answer, a file); only a terminal gets it cleaned. Adds no newline to a pipe."""
    _out(_line(clean(text)) if _is_terminal(sys.stdout) else text)


def stream(text: str) -> None:
    """Prints a piece of a text that is still being made, at once, with no newline; only a terminal gets it cleaned."""
    _out(clean(text) if _is_terminal(sys.stdout) else text)
    flush()


def pieces(parts: Iterable[Piece]) -> None:
    """Prints one line of styled pieces on stdout; without colour only their text."""
    _out(_line("".join(_styled(clean(text), style, sys.stdout) for text, style in parts)))


def emit_json(value: Any) -> None:
    """Prints a value as JSON that every parser reads: numbers that are not finite become null."""
    text = json.dumps(_finite(value), indent=2, ensure_ascii=not _is_utf8(sys.stdout), default=str)
    _out(UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n")


def table(columns: Sequence[Column | str], rows: Iterable[Sequence[str]], *, fold: bool = True) -> None:
    """Prints a table: fitted to the terminal's width, or whole, in aligned columns, to a pipe.

    With `fold=False` no cell is broken on a terminal either, for tables whose cells are copied.
    """
    heads = [Column(column) if isinstance(column, str) else column for column in columns]
    cells = [[clean(cell).replace("\n", " ").replace("\t", " ") for cell in row] for row in rows]
    if fold and _is_terminal(sys.stdout):
        _rich_table(heads, cells)
    else:
        _plain_table(heads, cells)


def flush() -> None:
    """Sends on what was printed on stdout, for a reader who follows it."""
    if sys.stdout is not None:
        sys.stdout.flush()


def note(text: str) -> None:
    """Says something that the person may want to know, on stderr."""
    _say(clean(text))


def warn(text: str) -> None:
    """Says something that the person should know, on stderr."""
    _say(f"{_styled('warning:', 'yellow', sys.stderr)} {clean(text)}")


def error(message: str, hint: str = "") -> None:
    """Says what went wrong and, after an empty line, what to do about it, on stderr."""
    _say(f"{_styled('error:', 'red', sys.stderr)} {clean(message)}")
    if hint:
        _say(f"\n{_styled('hint:', 'cyan', sys.stderr)} {clean(hint)}")


def ask(question: str, *, default: str = "") -> str:
    """The person's answer to a question; an empty one is the default. Raises InputError when nobody can answer."""
    live("")
    suffix = f" [{clean(default)}]" if default else ""
    _write_quietly(f"{clean(question)}{suffix}: ")
    line = sys.stdin.readline() if sys.stdin is not None else ""
    if not line:
        _write_quietly("\n")
        raise InputError(f"no answer to: {question}", hint="give it as an option instead; `--help` lists them")
    return line.strip() or default


def can_ask() -> bool:
    """Whether a person is there to answer: both stdin and stderr are a terminal."""
    return _is_terminal(sys.stdin) and _is_terminal(sys.stderr)


def live(text: str) -> None:
    """Draws the one line that changes in place, on a terminal's stderr; an empty text removes it."""
    if not text and not _live.shown:
        return
    width = shutil.get_terminal_size().columns - 1
    _live.shown = bool(text)
    _write_quietly("\r\x1b[2K" + clean(mask(text)).replace("\n", " ")[:width])


def stderr_is_live() -> bool:
    """Whether a changing line can be drawn: stderr is a terminal that understands cursor movements."""
    return _is_terminal(sys.stderr) and os.environ.get("TERM") != "dumb"


def stdout_has_colour() -> bool:
    """Whether `pieces` shows its styles; if not, the text itself must tell."""
    return _has_colour(sys.stdout)


def prepare_streams() -> None:
    """Makes both streams print an escape, rather than fail, for a character that their encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def hush_stdout() -> None:
    """Turns stdout into a sink, after its reader has gone, so that the interpreter can flush it on leaving."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Live:
    shown = False


_live = _Live()


def _say(text: str) -> None:
    live("")
    _write_quietly(_line(mask(text)))


def _out(text: str) -> None:
    live("")
    _write(sys.stdout, text)


def _write_quietly(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        _write(sys.stderr, text)
        if sys.stderr is not None:
            sys.stderr.flush()


def _write(stream: TextIO | None, text: str) -> None:
    """Writes what the stream can encode; a stream that was closed before the start takes nothing."""
    if stream is None:
        return
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding))


def _line(text: str) -> str:
    return text if text.endswith("\n") else text + "\n"


def _styled(text: str, style: str, stream: TextIO | None) -> str:
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if style and _has_colour(stream) else text


def _has_colour(stream: TextIO | None) -> bool:
    """The rules of no-color.org and force-color.org, then whether it is a terminal that knows colours."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    knows = "WT_SESSION" in os.environ or "TERM" in os.environ if sys.platform == "win32" else True
    return knows and _is_terminal(stream) and os.environ.get("TERM") != "dumb"


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False


def _is_utf8(stream: TextIO | None) -> bool:
    return (getattr(stream, "encoding", None) or "utf-8").lower().replace("-", "").replace("_", "") == "utf8"


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_finite(item) for item in value]
    return value


def _plain_table(columns: list[Column], cells: list[list[str]]) -> None:
    titles = [column.title for column in columns]
    widths = [max(len(row[place]) for row in [titles, *cells]) for place in range(len(columns))]
    sides = [">" if column.right else "<" for column in columns]
    form = "  ".join(f"{{:{side}{width}}}" for side, width in zip(sides, widths, strict=True))
    _out("".join(form.format(*row).rstrip() + "\n" for row in [titles, *cells]))


def _rich_table(columns: list[Column], cells: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        drawn.add_column(column.title, justify="right" if column.right else "left", overflow="fold")
    for row in cells:
        drawn.add_row(*(Text(cell) for cell in row))  # Text, not str: brackets in users' data are no markup
    Console(file=sys.stdout, no_color=not stdout_has_colour(), highlight=False).print(drawn)
