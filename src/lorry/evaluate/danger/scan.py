"""Commands that destroy data, a system or its protection, found in text that nobody runs.

A command is judged by what it calls and on what: `rm -rf ./build` is fine, `rm -rf /` is not, `echo "rm -rf /"` only
says it. Not covered: what is hidden in variables, in files or in an encoding, and anything that is not bash.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from lorry.data.rows import Origin, Row
from lorry.evaluate.danger import rules
from lorry.evaluate.danger.calls import Call, calls
from lorry.evaluate.danger.shell import LONGEST


@dataclass(frozen=True, slots=True)
class Danger:
    """One dangerous command."""

    rule: str
    """Name of the rule, the same for all commands of this kind."""
    reason: str
    """What it would do."""
    command: str
    """The command, its blanks made single."""


Rule = Callable[[Call], str | None]
"""Says why a call is dangerous; None when it is not."""

RULES: dict[str, Rule] = {
    "recursive-delete": rules.recursive_delete,
    "find-delete": rules.find_delete,
    "make-filesystem": rules.make_filesystem,
    "write-to-disk": rules.write_to_disk,
    "wipe-disk": rules.wipe_disk,
    "remote-code": rules.remote_code,
    "open-permissions": rules.open_permissions,
    "change-owner": rules.change_owner,
    "move-away": rules.move_away,
    "overwrite-vital-file": rules.overwrite_vital_file,
    "protection-off": rules.protection_off,
    "hide-traces": rules.hide_traces,
    "kill-everything": rules.kill_everything,
    "remote-shell": rules.remote_shell,
}

_FORK_BOMB = re.compile(
    r"(?:function\s{1,9}([^\s(){};|&]{1,40})|([^\s(){};|&]{1,40})\s{0,9}\(\s{0,9}\))\s{0,9}(?:\(\s{0,9}\)\s{0,9})?\{\s{0,9}"
    r"(?:\1|\2)\s{0,9}\|\s{0,9}(?:\1|\2)\s{0,9}&"
)
_WORTH_READING = re.compile(
    r"\b(?:rm|shred|rsync|mkfs|mke2fs|mkswap|mkntfs|mkdosfs|mkexfatfs|dd|tee|cp|cat|wipefs|blkdiscard|sgdisk|parted|hdparm"
    r"|cryptsetup|nvme|badblocks|curl|wget|fetch|base64|xxd|chmod|chown|chgrp|mv|truncate|ln|ufw|systemctl|service|setenforce"
    r"|iptables|ip6tables|nft|history|kill|nc|ncat|netcat|unlink|python\d?|perl|ruby|unset|export)\b|-delete|/dev/|/proc/|/etc/|HIST"
)
"""Texts without any of these words hold nothing that a rule looks for. A `find` does harm only with one of them."""


def scan(text: str) -> list[Danger]:
    """The dangerous commands in a text, each once, in reading order.

    Reads long texts in pieces that end with a line, so that the time grows with the length only.
    """
    found: dict[tuple[str, str], Danger] = {}
    for piece in _pieces(text.replace("\0", "")):
        for danger in _in_piece(piece):
            found.setdefault((danger.rule, danger.command), danger)
    return list(found.values())


def scan_rows(rows: Iterable[Row]) -> Iterator[tuple[Origin, Danger]]:
    """Dangerous commands that rows would teach: those in assistant turns, or in raw text."""
    for row in rows:
        for text in _taught(row):
            for danger in scan(text):
                yield row.origin, danger


def _taught(row: Row) -> Iterator[str]:
    if row.text is not None:
        yield row.text
    for message in row.messages or ():
        content = message.get("content")
        if message.get("role") == "assistant" and isinstance(content, str):
            yield content


def _pieces(text: str) -> Iterator[str]:
    start = 0
    while start < len(text):
        end = start + LONGEST
        if end < len(text):
            end = text.rfind("\n", start, end) + 1 or end
        end = end if end > start else start + LONGEST
        yield text[start:end]
        start = end


def _in_piece(text: str) -> Iterator[Danger]:
    if "{" in text and "|" in text and (match := _FORK_BOMB.search(text)):
        bomb = " ".join(match.group().split())
        yield Danger("fork-bomb", "starts copies of itself until the machine stands still", bomb)
    if not _WORTH_READING.search(text):
        return
    for call in calls(text):
        for name, rule in RULES.items():
            if reason := rule(call):
                yield Danger(name, reason, " ".join(str(call.command).split()))
