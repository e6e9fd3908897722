"""What a script would really call: wrappers (`sudo`, `env`, `xargs`) taken off, scripts inside of commands opened."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from lorry.evaluate.danger.places import resolve
from lorry.evaluate.danger.shell import Command, Pipeline, Word, parse

DEEPEST = 6
"""Scripts within scripts that are followed."""

SHELLS = frozenset({"sh", "bash", "zsh", "dash", "ksh", "ash", "fish", "csh", "tcsh"})
INTERPRETERS = re.compile(r"(?:python|perl|ruby|node|php|lua)[\d.]*")
"""Names of programs that run a program in another language."""

_KEYWORDS = frozenset({"if", "then", "else", "elif", "do", "while", "until", "{", "}", "!", "time", "$"})
_WRAPPERS: dict[str, str] = {
    "sudo": "ugpCDRThr",
    "doas": "uC",
    "env": "uC",
    "nice": "n",
    "ionice": "cnp",
    "timeout": "ks",
    "xargs": "IdEnLPsa",
    "stdbuf": "ioe",
    "exec": "a",
    "nohup": "",
    "command": "",
    "builtin": "",
    "busybox": "",
    "setsid": "",
    "watch": "nd",
    "strace": "eopsu",
}
"""Commands that run the command after them, with those of their short options that take a value."""
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*\+?=")
_SHELL_COMMAND_FLAG = re.compile(r"-[a-z]*c")
_PAYLOAD = re.compile(r"(?:system|[pP]open|run|call|check_\w+|exec\w*)\s*\(?\s*\[?\s*f?(['\"])(.{0,400}?)\1")
"""How other languages run a shell command; the second group is the command."""


@dataclass(frozen=True, slots=True)
class Call:
    """One program and its arguments."""

    name: str
    args: tuple[Word, ...]
    command: Command
    fed_by: tuple[Call, ...] = ()
    """The calls before it in its pipeline, at most the nearest eight."""
    cwd: str | None = None
    """The directory it runs in, where a `cd` before it says so."""
    through: frozenset[str] = frozenset()
    """The wrappers that were taken off."""

    def operands(self) -> list[Word]:
        """Arguments that are no options; after `--` all are."""
        plain: list[Word] = []
        for index, word in enumerate(self.args):
            if word.text == "--":
                return plain + list(self.args[index + 1 :])
            if not word.text.startswith("-") or word.text == "-":
                plain.append(word)
        return plain

    def has(self, short: str, *long: str) -> bool:
        """Whether any of the short options (letters) or long ones is given; `-rf` has both `r` and `f`."""
        for word in self.args:
            text = word.text
            if text == "--":
                return False
            if text.startswith("--"):
                if text.split("=", 1)[0] in long:
                    return True
            elif text.startswith("-") and any(letter in text for letter in short):
                return True
        return False


def calls(script: str, *, depth: int = 0, cwd: str | None = None) -> Iterator[Call]:
    """Every call of a script and of the scripts inside it (`sh -c`, `eval`, `$(...)`, `find -exec`), as read."""
    for pipeline in parse(script):
        for call in _of_pipeline(pipeline, cwd):
            if call.name == "cd":
                cwd = _directory(call)
            yield call
            if depth < DEEPEST:
                for inner in inner_scripts(call):
                    yield from calls(inner, depth=depth + 1, cwd=cwd)


def inner_scripts(call: Call) -> Iterator[str]:
    """Scripts that a call would run: its substitutions, what a shell is handed or reads from it."""
    for word in (*call.command.words, *(target for _, target in call.command.redirects)):
        yield from word.runs
    texts = [word.text for word in call.args]
    operands = [word.text for word in call.operands()]
    if call.name in SHELLS or call.name == "su":
        yield from (after for flag, after in pairwise(texts) if _SHELL_COMMAND_FLAG.fullmatch(flag))
        yield from (target.text for operator, target in call.command.redirects if operator == "<<<")
        yield from (_said(feeder) for feeder in call.fed_by if feeder.name in ("echo", "printf"))
    elif call.name in ("eval", "ssh", "trap"):
        skipped = 1 if call.name == "ssh" else 0
        yield " ".join(operands[skipped : 1 if call.name == "trap" else None])
    elif call.name == "alias":
        yield from (text.partition("=")[2] for text in operands)
    elif INTERPRETERS.fullmatch(call.name) and call.has("ce"):
        yield from (match.group(2) for text in texts for match in _PAYLOAD.finditer(text))


def _of_pipeline(pipeline: Pipeline, cwd: str | None) -> Iterator[Call]:
    before: tuple[Call, ...] = ()
    for command in pipeline:
        call = _unwrapped(command, before, cwd)
        yield call
        yield from _executed_by_find(call)
        before = (*before, call)[-8:]


def _unwrapped(command: Command, fed_by: tuple[Call, ...], cwd: str | None) -> Call:
    words, through = list(command.words), set[str]()
    while words:
        name = posixpath.basename(words[0].text)
        if words[0].text in _KEYWORDS or _ASSIGNMENT.match(words[0].text):
            words = words[1:]
        elif name in _WRAPPERS:
            words = _after_options(words[1:], _WRAPPERS[name], positional=int(name == "timeout"))
            through.add(name)
        else:
            return Call(name, tuple(words[1:]), command, fed_by, cwd, frozenset(through))
    return Call("", (), command, fed_by, cwd, frozenset(through))


def _after_options(words: list[Word], valued: str, *, positional: int) -> list[Word]:
    index = 0
    while index < len(words) and words[index].text.startswith("-"):
        text = words[index].text
        index += 2 if len(text) == 2 and text[1] in valued else 1
        if text == "--":
            break
    return words[index + positional :]


def _executed_by_find(find: Call) -> Iterator[Call]:
    if find.name != "find":
        return
    texts = [word.text for word in find.args]
    for start, text in enumerate(texts):
        if text in ("-exec", "-execdir", "-ok", "-okdir"):
            end = next((at for at in range(start, len(texts)) if texts[at] in (";", "+")), len(texts))
            yield _unwrapped(Command(list(find.args[start + 1 : end])), (find,), None)


def _directory(cd: Call) -> str | None:
    operands = cd.operands()
    paths = resolve(operands[0] if operands else Word("~", "~"), cd.cwd)
    return paths[0] if paths else None


def _said(call: Call) -> str:
    return " ".join(word.text for word in call.args if not word.text.startswith("-"))
