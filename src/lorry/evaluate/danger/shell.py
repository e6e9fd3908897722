"""A shell script as commands: enough of bash's grammar to know what would be run, on what, and fed by what.

Nothing is executed or expanded. Text that bash would refuse (prose, half a quote) is read as plain words.
Here-documents are read as if their lines were commands. The work is bounded: text beyond `LONGEST` characters is not
read, and what is nested deeper than the fuel allows is taken as plain characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

LONGEST = 20_000
"""Characters read of one script."""
QUOTED = "\ue000"
"""Stands in `Word.pattern` for a character that quotes have robbed of its meaning (`*`, `~`, in single quotes `$`)."""

_PLAIN = re.compile(r"[^\s'\"\\$`<>|&;()#]+")
_OPERATOR = re.compile(r"\|\||&&|;;|\|&|&>>|&>|>>|>\||>&|<<<|<<-?|<&|<>|[|&;()<>\n]")
_REDIRECTIONS = frozenset({">", ">>", ">|", "&>", "&>>", ">&", "<", "<<", "<<-", "<<<", "<&", "<>"})
_SPECIAL_OR_VARIABLE = re.compile(r"(\$\{\w+\})|[*?\[\]{}~]")


@dataclass(frozen=True, slots=True)
class Word:
    """One argument."""

    text: str
    """As the command would get it, but with variables and wildcards unexpanded."""
    pattern: str
    """The same with `QUOTED` in place of quoted special characters."""
    runs: tuple[str, ...] = ()
    """The scripts inside of it: of `$(...)`, backquotes and `<(...)`."""


@dataclass(slots=True)
class Command:
    """One simple command."""

    words: list[Word] = field(default_factory=list[Word])
    redirects: list[tuple[str, Word]] = field(default_factory=list[tuple[str, Word]])

    def __str__(self) -> str:
        parts = [word.text for word in self.words]
        parts += [f"{operator} {target.text}" for operator, target in self.redirects]
        return " ".join(parts)


Pipeline = list[Command]
"""Commands of which each feeds the next."""


def parse(script: str) -> list[Pipeline]:
    """The pipelines of a script, in order; grouping and conditions are dropped, every branch counts."""
    pipelines: list[Pipeline] = [[Command()]]
    awaited: str | None = None
    for token in _Reader(script[:LONGEST]).tokens():
        command = pipelines[-1][-1]
        if isinstance(token, Word):
            if awaited is None:
                command.words.append(token)
            else:
                command.redirects.append((awaited, token))
            awaited = None
        elif token in _REDIRECTIONS:
            awaited = token
        elif token in ("|", "|&"):
            pipelines[-1].append(Command())
        else:
            pipelines.append([Command()])
            awaited = None
    filled = [[command for command in line if command.words or command.redirects] for line in pipelines]
    return [line for line in filled if line]


class _Reader:
    """Cuts text into words and operators."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._fuel = 20 * len(text) + 100

    def tokens(self) -> Iterator[Word | str]:
        """Words, and operators as strings; comments and blanks are left out."""
        text = self._text
        while self._at < len(text):
            char = text[self._at]
            if char == "#":
                end = text.find("\n", self._at)
                self._at = len(text) if end < 0 else end
            elif char.isspace() and char != "\n":
                self._at += 1
            elif text.startswith("\\\n", self._at):
                self._at += 2
            elif (match := _OPERATOR.match(text, self._at)) and not self._is_process_substitution():
                self._at = match.end()
                yield match.group()
            else:
                word = self._word()
                if not (word.text.isdigit() and text[self._at : self._at + 1] in ("<", ">")):
                    yield word

    def _is_process_substitution(self) -> bool:
        return self._text.startswith(("<(", ">("), self._at) and self._closing(self._at + 2) is not None

    def _word(self) -> Word:
        parts: list[Word] = []
        while self._at < len(self._text):
            part = self._part()
            if part is None:
                break
            parts.append(part)
        runs = tuple(run for part in parts for run in part.runs)
        return Word("".join(part.text for part in parts), "".join(part.pattern for part in parts), runs)

    def _part(self) -> Word | None:
        """The next piece of a word; None where the word ends."""
        text, start = self._text, self._at
        if match := _PLAIN.match(text, start):
            return self._taken(match.end(), match.group())
        char = text[start]
        if char == "\\":
            return self._taken(start + 2, text[start + 1 : start + 2], quoted="*?[]{}~$")
        if char == "'" or text.startswith("$'", start):
            return self._single(start + len("$'") - (char == "'"))
        if char == '"':
            return self._double()
        if char == "`" or text.startswith(("$(", "<(", ">("), start):
            return self._substitution()
        if char in "$#":
            return self._taken(start + 1, char)
        return None

    def _taken(self, end: int, value: str, *, quoted: str = "", runs: tuple[str, ...] = ()) -> Word:
        self._at = min(end, len(self._text))
        return Word(value, "".join(QUOTED if char in quoted else char for char in value) if quoted else value, runs)

    def _single(self, start: int) -> Word:
        end = self._text.find("'", start) if self._fuel > 0 else -1
        self._fuel -= (end if end >= 0 else len(self._text)) - start
        if end < 0:
            return self._taken(start, "'")
        return self._taken(end + 1, self._text[start:end], quoted="*?[]{}~$")

    def _double(self) -> Word:
        start = self._at + 1
        end = self._closing_quote(start)
        if end is None:
            return self._taken(start, '"')
        inner = self._text[start:end]
        runs = tuple(_substitutions(inner)) if "$(" in inner or "`" in inner else ()
        plain = re.sub(r'\\(["\\$`])', r"\1", inner)
        self._at = end + 1
        return Word(plain, _SPECIAL_OR_VARIABLE.sub(lambda found: found[1] or QUOTED, plain), runs)

    def _substitution(self) -> Word:
        start = self._at
        if self._text[start] == "`":
            end = self._text.find("`", start + 1) if self._fuel > 0 else -1
            self._fuel -= (end if end >= 0 else len(self._text)) - start
            opening = 1
        else:
            found = self._closing(start + 2)
            end, opening = (-1 if found is None else found), 2
        if end < 0:
            return self._taken(start + 1, self._text[start])
        inner = self._text[start + opening : end]
        return self._taken(end + 1, self._text[start : end + 1], runs=(inner,))

    def _closing_quote(self, at: int) -> int | None:
        """Where the double quote that opened before `at` closes."""
        text = self._text
        while at < len(text) and self._fuel > 0:
            self._fuel -= 1
            if text[at] == "\\":
                at += 2
            elif text[at] == '"':
                return at
            elif text.startswith("$(", at) and (end := self._closing(at + 2)) is not None:
                at = end + 1
            else:
                at += 1
        return None

    def _closing(self, at: int) -> int | None:
        """Where the parenthesis that opened before `at` closes; quotes inside hide theirs."""
        text, depth = self._text, 1
        while at < len(text) and self._fuel > 0:
            self._fuel -= 1
            char = text[at]
            if char == "\\":
                at += 1
            elif char in "'\"":
                end = text.find(char, at + 1)
                self._fuel -= (end if end >= 0 else len(text)) - at
                at = end if end >= 0 else at
            elif char == "(":
                depth += 1
            elif char == ")":
                depth -= 1
                if depth == 0:
                    return at
            at += 1
        return None


def _substitutions(quoted: str) -> Iterator[str]:
    """The scripts that run inside a double-quoted text."""
    reader = _Reader(quoted.replace("'", " ").replace('"', " ") if "$(" not in quoted else quoted)
    for token in reader.tokens():
        if isinstance(token, Word):
            yield from token.runs
