"""The system's `ssh`: what it is told, and what happens where it doesn't work."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

import sshd
from lorry.compute.ssh import connect
from lorry.compute.transfer import send

pytestmark = [sshd.needed(), pytest.mark.skipif(shutil.which("ssh") is None, reason="no `ssh` is installed")]
LARGE = 20 << 20


def program(folder: Path, script: str) -> str:
    """A program in place of `ssh`."""
    path = folder / "ssh"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def sent_by(folder: Path, ssh: str, files: dict[str, bytes]) -> str | None:
    """Sends files through a program; the one that is used for the next transfer."""
    (folder / "here").mkdir()
    for name, data in files.items():
        (folder / "here" / name).write_bytes(data)

    async def body(server, key):
        link = await connect(server.address, key, server.host_key)
        link.system_ssh = ssh
        try:
            await send(link, {name: folder / "here" / name for name in files}, str(folder / "there"))
        finally:
            await link.close()
        return link.system_ssh

    with sshd.machine(folder) as (server, key):
        used = asyncio.run(body(server, key))
    assert {path.name: path.read_bytes() for path in (folder / "there").iterdir()} == files
    return used


@pytest.mark.parametrize("script", ["echo no such option >&2; exit 255", "exit 255"])
def test_system_ssh_that_does_not_work_is_not_used(tmp_path, script):
    assert sent_by(tmp_path, program(tmp_path, script), {"a": b"x" * LARGE}) is None


def test_system_ssh_that_cannot_be_started_is_not_used(tmp_path):
    assert sent_by(tmp_path, str(tmp_path / "missing"), {"a": b"x" * LARGE}) is None


def test_system_ssh_is_told_nothing_secret_and_takes_nothing_of_the_persons(tmp_path, monkeypatch):
    (tmp_path / "person" / ".ssh").mkdir(parents=True)
    (tmp_path / "person" / ".ssh" / "config").write_text("Host *\n  ProxyCommand false\n")
    monkeypatch.setenv("HOME", str(tmp_path / "person"))
    seen = program(tmp_path, f'echo "$@" > {tmp_path}/words\nexec ssh "$@"')
    assert sent_by(tmp_path, seen, {"a": b"x" * LARGE}) == seen
    words = (tmp_path / "words").read_text()
    assert "PRIVATE" not in words
    assert "-F none" in words
    assert list((tmp_path / "person" / ".ssh").iterdir()) == [tmp_path / "person" / ".ssh" / "config"]


def test_large_files_go_several_at_once(tmp_path):
    counting = program(tmp_path, f'echo one >> {tmp_path}/count\nexec ssh "$@"')
    sent_by(tmp_path, counting, {name: name.encode() * 2 * LARGE for name in "abcd"})
    assert (tmp_path / "count").read_text().count("one") == 3
