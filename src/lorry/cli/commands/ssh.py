"""`lorry ssh`: a shell on a run's machine."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import subprocess
import sys
from typing import Annotated, Any

import typer

from lorry.errors import InputError


def command(
    run: Annotated[str, typer.Argument(help="A run's id, a beginning of it, or `last`.")] = "last",
    words: Annotated[list[str] | None, typer.Argument(help="A command, after `--`; none opens a shell.")] = None,
) -> int:
    """Open a shell on a run's machine, or run a command there: `lorry ssh last -- nvidia-smi`.

    Nothing of your own SSH is used: lorry's key, and the host key that was seen first. Exits as the command does.
    """
    from lorry.cli.watching import rented
    from lorry.compute.control.reached import reach

    found = asyncio.run(reach(rented(run)))
    program = shutil.which("ssh")
    if program is None:
        hint = "install OpenSSH's client: `apt-get install openssh-client`"
        raise InputError("there is no `ssh` on this computer", hint=hint)
    return _shell(program, found, words or [])


def _shell(program: str, found: Any, words: list[str]) -> int:
    from lorry.compute.transport.pipes import known_hosts, ssh_words

    known = known_hosts(found.row.host_key)
    try:
        told = ssh_words(program, found.address, found.key, known)
        if not words:
            told = [*("-t" if word == "-T" else word for word in told)]
        command = [shlex.join(words)] if words else []
        sys.stdout.flush()
        return subprocess.run([*told, *command], check=False, env=dict(os.environ)).returncode
    finally:
        known.unlink(missing_ok=True)
