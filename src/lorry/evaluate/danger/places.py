"""Places whose loss is a catastrophe: the root, a home, the system's directories, disks, the files of logging in."""

from __future__ import annotations

import posixpath
import re
from typing import Literal

from lorry.evaluate.danger.shell import Word

Place = Literal["the root directory", "a home directory", "a system directory"]

HOME = "/~"
"""How the person's own home is written here, whoever that is."""

_HOMES = frozenset({HOME, "/home", "/root", "/Users"})
_SYSTEM = re.compile(
    r"/(?:bin|boot|dev|etc|lib|lib32|lib64|opt|proc|run|sbin|srv|sys|usr|var|System|Library|Applications|private"
    r"|usr/(?:bin|lib|lib64|sbin|share|local)|var/lib)"
)
_VITAL = re.compile(r"/etc/(?:passwd|shadow|group|gshadow|sudoers|fstab)")
_OWN_HOME = re.compile(
    r"^(?:~(?=/|$)|\$HOME\b|\$\{HOME\}|/home/(?:\$USER\b|\$\{USER\}|\$LOGNAME\b|\$\(whoami\)|`whoami`))"
)
_EVERYTHING = re.compile(r"\.?[*?]+|\.?\[[^\]]*\]\*?")
_BRACES = re.compile(r"\{([^{}]*)\}")
_NO_DISK = re.compile(
    r"/dev/(?:nul|null|zero|full|u?random|std\w+|tty\w*|pt[sy](?:/.*)?|fd(?:/.*)?|r?fd\d+|shm(?:/.*)?|console|ptmx|dsp\d*|audio|tcp/.*|udp/.*"
    r"|lp\d*|usb/lp\d*|n?st\d+\w*|video\d*|snd/.*|input/.*|kmsg|log|rfkill|clipboard|mapper)"
)


def resolve(word: Word, cwd: str | None = None) -> list[str]:
    """The absolute paths that a word stands for, normalised, wildcards kept; none where they cannot be known.

    Braces are expanded one level deep, at most 16 alternatives. A relative path needs `cwd`.
    """
    paths: list[str] = []
    for pattern in _expanded(word.pattern):
        text = _OWN_HOME.sub(HOME, pattern)
        if text.startswith(("/", "~")):
            paths.append(posixpath.normpath("/" + text.lstrip("/")))
        elif text and cwd is not None and "$" not in text:
            paths.append(posixpath.normpath("/" + f"{cwd}/{text}".lstrip("/")))
    return paths


def catastrophic(word: Word, cwd: str | None = None) -> Place | None:
    """What would be lost if everything under this word went; None if it is nothing that everybody needs."""
    for path in map(_without_wildcards, resolve(word, cwd)):
        if path == "/":
            return "the root directory"
        if path in _HOMES or re.fullmatch(r"~\w+", path.removeprefix("/")):
            return "a home directory"
        if _SYSTEM.fullmatch(path):
            return "a system directory"
    return None


def is_disk(word: Word) -> bool:
    """Whether this is a device that may hold a file system; anything under /dev that is not known to be harmless."""
    return any(path.startswith("/dev/") and not _NO_DISK.fullmatch(path) for path in resolve(word))


def is_vital_file(word: Word) -> bool:
    """Whether nobody could log in, or the machine not start, without this file."""
    return any(_VITAL.fullmatch(path) for path in resolve(word))


def _without_wildcards(path: str) -> str:
    """`/usr/*` means everything in `/usr`."""
    while path != "/" and _EVERYTHING.fullmatch(posixpath.basename(path)):
        path = posixpath.dirname(path)
    return path


def _expanded(pattern: str) -> list[str]:
    braces = _BRACES.search(pattern)
    if braces is None or "," not in braces.group(1):
        return [pattern]
    head, tail = pattern[: braces.start()], pattern[braces.end() :]
    return [head + choice + tail for choice in braces.group(1).split(",")[:16]]
