"""A real OpenSSH server on loopback, for whoever runs the tests: its own configuration and keys, nothing else is touched."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import asyncssh
import psutil
import pytest

from lorry.compute.providers._base import Address
from lorry.compute.ssh import KeyPair, installation_key

PROGRAM = shutil.which("sshd") or "/usr/sbin/sshd"
_CONFIG = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
PrintMotd no
MaxStartups 1000:30:2000
SetEnv HOME={folder}/home XDG_CACHE_HOME={folder}/home/.cache {environment}
"""


@dataclass
class Sshd:
    """A server of one test."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def home(self) -> Path:
        """The home of whoever logs in."""
        return self.folder / "home"

    @property
    def address(self) -> Address:
        return Address("127.0.0.1", self.port, getpass.getuser())

    @property
    def host_key(self) -> str:
        return " ".join((self.folder / "host_key.pub").read_text().split()[:2])

    def cut(self) -> None:
        """Ends every connection at once, as a network does; the server stays."""
        for child in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # each ends by itself, too
                if child.name() in ("sshd", "sshd-session"):
                    _kill(child)

    def stop(self) -> None:
        """Ends the server, its connections and what they run."""
        try:
            children = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            children = []
        self.process.kill()
        self.process.wait()
        for child in children:
            _kill(child)


def start(
    folder: Path, public_key: str, *, extra: str = "", environment: str = "", host_key: str = "ssh-ed25519"
) -> Sshd:
    """Starts a server that lets this key in. `extra` are lines of its configuration (without one there is no sftp), and
    `environment` is what its commands see beside the usual: `NAME=value ...`.
    """
    folder.mkdir(exist_ok=True)
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    if not (folder / "host_key").exists():
        key = asyncssh.generate_private_key(host_key)
        (folder / "host_key").write_bytes(key.export_private_key())
        (folder / "host_key.pub").write_bytes(key.export_public_key())
        (folder / "host_key").chmod(0o600)
    (folder / "home").mkdir(exist_ok=True)
    (folder / "authorized_keys").write_text(public_key + "\n")
    port = free_port()
    (folder / "config").write_text(_CONFIG.format(port=port, folder=folder, environment=environment) + extra)
    words = [PROGRAM, "-D", "-e", "-f", str(folder / "config")]
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    server = Sshd(folder, port, process)
    _wait_for(server)
    return server


@contextmanager
def running(folder: Path, public_key: str, **options: str) -> Generator[Sshd]:
    """A server for as long as the block runs."""
    server = start(folder, public_key, **options)
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def machine(folder: Path, **options: str) -> Generator[tuple[Sshd, KeyPair]]:
    """A server, and the key that it lets in."""
    key = installation_key(folder / "controller")
    with running(folder / "machine", key.public, **options) as server:
        yield server, key


def needed() -> pytest.MarkDecorator:
    """Skips where there is no OpenSSH server."""
    return pytest.mark.skipif(not Path(PROGRAM).exists(), reason="no sshd is installed (`apt install openssh-server`)")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_for(server: Sshd) -> None:
    until = time.monotonic() + 10
    while time.monotonic() < until and server.process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", server.port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.01)
    server.stop()
    raise AssertionError((server.folder / "log").read_text())


def _kill(child: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        child.send_signal(signal.SIGKILL)
