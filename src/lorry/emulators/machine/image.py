"""The emulated image: what the container image of a real machine brings, as scripts on this computer.

`start.sh` acts like the one of RunPod's official images (runpod/containers, `container-template/start.sh`): it wants
`$PUBLIC_KEY`, makes a host key, starts OpenSSH and sleeps. Sessions do not see the variables of the first process, as there.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import stat
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import Any

from lorry.errors import InputError

MARKER = "LORRY_EMULATED_MACHINE"
"""The variable that marks each process of an emulated machine with the machine's id."""
GPU = "LORRY_EMULATED_GPU"
"""JSON: `{"name": ..., "memory": bytes, "count": n}`, or null on a machine that came without the GPU that was sold."""
_SYSTEM = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
_SFTP = ("/usr/lib/openssh", "/usr/libexec/openssh", "/usr/lib/ssh", "/usr/libexec")

_START = """#!/bin/sh
# Acts like the start script of a RunPod image.
set -eu
echo "Pod Started"
: > "$LORRY_EMULATED_AT/disk/etc/rp_environment"
env | grep -E '^[A-Z_][A-Z0-9_]*=' | grep -v -e '^PUBLIC_KEY=' -e '^_=' \\
  | sed "s/'/'\\\\\\\\''/g; s/=/='/; s/$/'/; s/^/export /" >> "$LORRY_EMULATED_AT/disk/etc/rp_environment" || true
printf '[ -z "$PS1" ] && return\\n. "%s"\\n' "$LORRY_EMULATED_AT/disk/etc/rp_environment" > "$HOME/.bashrc"
if [ -n "${PUBLIC_KEY:-}" ]; then
  mkdir -p "$HOME/.ssh"
  printf '%s\\n' "$PUBLIC_KEY" >> "$HOME/.ssh/authorized_keys"
  chmod 700 "$HOME/.ssh"; chmod 600 "$HOME/.ssh/authorized_keys"
  "$LORRY_EMULATED_AT/run/ssh"
fi
echo "Start script(s) finished, Pod is ready to use."
exec tail -f /dev/null
"""

_VAST = """#!/bin/sh
# Acts like what Vast.ai runs in place of an image's command: SSH for the account's keys, and the script of the request.
set -eu
mkdir -p "$HOME/.ssh"
touch "$HOME/.ssh/authorized_keys"
[ -z "${ACCOUNT_KEYS:-}" ] || printf '%s\\n' "$ACCOUNT_KEYS" > "$HOME/.ssh/authorized_keys"
chmod 700 "$HOME/.ssh"; chmod 600 "$HOME/.ssh/authorized_keys"
"$LORRY_EMULATED_AT/run/ssh"
printf '%s\\n' "${ONSTART:-}" > "$HOME/onstart.sh"
unset ONSTART
bash "$HOME/onstart.sh" &
exec tail -f /dev/null
"""

_OWN = "disk/root"
"""The home of whoever logs in, below the machine's folder."""
_KEYS = f"{_OWN}/.ssh/authorized_keys"
_SSH = """#!/bin/sh
# Starts the machine's SSH server, unless the emulator wants connections refused for now.
set -eu
at={at}
[ -e "$at/run/refuse" ] && exit 0
[ -e "$at"/{keys} ] || exit 0
sleep {delay}
mkdir -p "$at/disk/etc/ssh"
[ -e "$at/disk/etc/ssh/key" ] || {keygen} -q -t ed25519 -N '' -C '' -f "$at/disk/etc/ssh/key"
[ "$(id -u)" != 0 ] || mkdir -p -m 0755 /run/sshd
exec {sshd} -f "$at/run/sshd_config" -E "$at/log/sshd.log" -p "$(cat "$at/run/port")"
"""

_SESSION = """#!/bin/sh
# Runs in every SSH session of the machine: gives it the machine's own home and none of the caller's environment.
cd {home} || exit 1
{mapped}set -- {variables} ${{TERM:+"TERM=$TERM"}} ${{SSH_TTY:+"SSH_TTY=$SSH_TTY"}} \\
  ${{SSH_CONNECTION:+"SSH_CONNECTION=$SSH_CONNECTION"}} ${{SSH_CLIENT:+"SSH_CLIENT=$SSH_CLIENT"}}
[ -z "${{SSH_ORIGINAL_COMMAND:-}}" ] || exec env -i "$@" /bin/sh -c "$SSH_ORIGINAL_COMMAND"
exec env -i "$@" {shell} -l
"""

_CONFIG = """ListenAddress 127.0.0.1
HostKey "{at}/disk/etc/ssh/key"
PidFile "{at}/run/sshd.pid"
AuthorizedKeysFile "{escaped}/{keys}"
StrictModes no
UsePAM no
UseDNS no
PrintMotd no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
LogLevel ERROR
LoginGraceTime 20
MaxStartups 100:30:200
MaxSessions 100
SetEnv "HOME={at}/{own}" {marker}={id}
Subsystem sftp {sftp}
ForceCommand {session}
"""


@dataclass(frozen=True)
class Setup:
    """What a machine is started with."""

    words: Sequence[str]
    """The start command; empty for the image's own."""
    port: int
    """Of the SSH server, on loopback."""
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    """Of the first process alone."""
    everywhere: Mapping[str, str] = field(default_factory=dict[str, str])
    """Of the first process and of each session."""
    gpu: Mapping[str, Any] | None = None
    mount: str = ""
    """Where the volume is said to be: `/workspace`; empty for none."""
    volume: Path | None = None
    """Where it really is."""
    keeps_disk: bool = False
    """Whether its disk outlives stops and restarts."""
    ssh_delay: float = 0.0
    """Seconds from the start until SSH is answered."""


def login() -> str:
    """Who logs in on an emulated machine: an SSH server of an ordinary user lets in nobody else.

    Raises InputError for a user without a name or a shell: SSH gives such a one no session.
    """
    hint = "run the emulator as a user with an account and a shell"
    try:
        user = pwd.getpwuid(os.getuid())
    except KeyError:
        raise InputError(f"user {os.getuid()} has no account on this computer", hint=hint) from None
    if Path(user.pw_shell).name in ("nologin", "false"):
        raise InputError(f"{user.pw_name} may not log in here: its shell is {user.pw_shell}", hint=hint)
    return user.pw_name


def write_image(folder: Path) -> None:
    """Writes what all machines share. Raises InputError where no machine could be logged in on."""
    find_sshd()
    login()
    commands = folder / "bin"
    commands.mkdir(parents=True, exist_ok=True)
    _script(commands / "start.sh", _START)
    _script(commands / "vast-start.sh", _VAST)
    for name in ("python3", "python"):
        _script(commands / name, f'#!/bin/sh\nexec {quote(sys.executable)} "$@"\n')
    try:
        import uv

        _script(commands / "uv", f'#!/bin/sh\nexec {quote(str(uv.find_uv_bin()))} "$@"\n')
    except (ImportError, FileNotFoundError):
        (commands / "uv").unlink(missing_ok=True)


def write_machine(at: Path, image: Path, setup: Setup) -> tuple[list[str], dict[str, str]]:
    """Writes a machine's own files for its next start; the words and the environment of its first process."""
    shared = _shared(at, image, setup)
    config = {"at": at, "escaped": str(at).replace("%", "%%"), "marker": MARKER, "id": at.name, "sftp": _sftp()}
    session = {"home": quote(f"{at}/{_OWN}"), "shell": "/bin/bash" if Path("/bin/bash").exists() else "/bin/sh"}
    variables = " ".join(quote(f"{name}={value}") for name, value in shared.items())
    run = at / "run"
    if setup.keeps_disk:
        (run / "keep").touch()
    (run / "port").write_text(f"{setup.port}\n", "ascii")
    (run / "sshd_config").write_text(
        _CONFIG.format(session=quote(str(run / "session")), keys=_KEYS, own=_OWN, **config), "utf-8"
    )
    _script(run / "session", _SESSION.format(variables=variables, mapped=_mapped(setup), **session))
    keygen = shutil.which("ssh-keygen") or "ssh-keygen"
    ssh = {
        "at": quote(str(at)),
        "sshd": quote(find_sshd()),
        "keygen": quote(keygen),
        "delay": f"{setup.ssh_delay:g}",
        "keys": _KEYS,
    }
    _script(run / "ssh", _SSH.format(**ssh))
    own = {name: _moved(value, setup) for name, value in setup.environment.items()}
    words = list(setup.words) or ["/start.sh"]
    return [_named(_named(word, "/start.sh", "start.sh"), setup.mount, _plain(setup.volume)) for word in words], {
        **own,
        **shared,
    }


def find_sshd() -> str:
    """Where OpenSSH's server is. Raises InputError with how to install it."""
    places = [*os.environ.get("PATH", "").split(":"), "/usr/sbin", "/usr/local/sbin"]
    found = shutil.which("sshd", path=":".join(places))
    if found is None:
        hint = "install it: `sudo apt-get install openssh-server`, or your system's package of that name"
        raise InputError("emulated machines need an OpenSSH server, and there is no `sshd` here", hint=hint)
    return found


def _shared(at: Path, image: Path, setup: Setup) -> dict[str, str]:
    """What the first process and the sessions both have."""
    gpu = {GPU: json.dumps(setup.gpu)}
    volume = {"LORRY_EMULATED_VOLUME": str(setup.volume), "LORRY_EMULATED_MOUNT": setup.mount} if setup.volume else {}
    who = {"USER": login(), "LOGNAME": login(), "SHELL": "/bin/sh", "LANG": "C.UTF-8"}
    places = {"HOME": f"{at}/{_OWN}", "TMPDIR": f"{at}/disk/tmp", "PATH": f"{image / 'bin'}:{_SYSTEM}"}
    marks = {MARKER: at.name, "LORRY_EMULATED_AT": str(at)}
    return {**who, **setup.everywhere, **places, **marks, **gpu, **volume}


def _moved(value: str, setup: Setup) -> str:
    """A variable's value, with a path on the volume where the volume really is."""
    if setup.volume is None or not (value == setup.mount or value.startswith(f"{setup.mount}/")):
        return value
    return f"{setup.volume}{value[len(setup.mount) :]}"


def _named(word: str, path: str, real: str) -> str:
    """A word of the start command in which a path of the machine became what it is here.

    The start script is on the search path: its folder's name may have blanks, and a word can be a line of shell.
    """
    return re.sub(rf"(?<![\w./-]){re.escape(path)}(?![\w.-])", lambda _: real, word) if path and real else word


def _plain(path: Path | None) -> str:
    """A path that needs no quotes in a shell's line; empty where it does."""
    return str(path) if path is not None and quote(str(path)) == str(path) else ""


def _mapped(setup: Setup) -> str:
    """Lines of the session's script that let a person say the volume's path as on a real machine."""
    if not _plain(setup.volume):
        return ""
    old = re.sub(r"([][\\.*^$#])", r"\\\1", setup.mount)
    expression = quote(f"s#{old}#{_plain(setup.volume)}#g")
    return (
        f'case "${{SSH_ORIGINAL_COMMAND:-}}" in *{quote(setup.mount)}*)\n'
        f'  SSH_ORIGINAL_COMMAND=$(printf "%s" "$SSH_ORIGINAL_COMMAND" | sed {expression}) ;;\nesac\n'
    )


def _sftp() -> str:
    """OpenSSH's own server of files; `false` where it is missing."""
    return shutil.which("sftp-server", path=":".join(_SFTP)) or "/bin/false"


def _script(path: Path, text: str) -> None:
    path.write_text(text, "utf-8")
    path.chmod(path.stat().st_mode | stat.S_IRWXU)
