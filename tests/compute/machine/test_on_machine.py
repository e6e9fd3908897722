"""What runs on machines: with little there, and with whatever Python they have."""

from __future__ import annotations

import ast
import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import sshd
from lorry.compute.machine.on_machine import files, hashing
from lorry.compute.outcomes import Outcome, OutcomeError
from lorry.compute.ssh import connect
from lorry.compute.transfer import Rules, fetch, send

DATA = os.urandom(20_000_000)


def goes_there_and_back(
    folder: Path, *, python: str = "python3", system_ssh: bool = True, environment: str = ""
) -> bool:
    """Whether a file comes back from a machine as it went there."""
    (folder / "a").write_bytes(DATA)

    async def body(server, key):
        link = await connect(server.address, key, server.host_key)
        link.python = python
        link.system_ssh = link.system_ssh if system_ssh else None
        try:
            if environment:
                assert (await link.run("cat || scp || sftp || rsync")).code == 127
            await send(link, {"b/a": folder / "a"}, str(folder / "there"))
            return await fetch(link, str(folder / "there"), Rules({"b/a": 1 << 30}), folder / "back")
        finally:
            await link.close()

    with sshd.machine(folder, environment=environment) as (server, key):
        (path,) = asyncio.run(body(server, key))
    return path.read_bytes() == DATA


@sshd.needed()
@pytest.mark.parametrize("system_ssh", [True, False])
def test_neither_sftp_nor_scp_nor_rsync_is_needed(tmp_path, system_ssh):
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sh", "kill"):
        (programs / name).symlink_to(str(shutil.which(name)))
    (programs / "python3").symlink_to(sys.executable)
    assert goes_there_and_back(tmp_path, system_ssh=system_ssh, environment=f"PATH={programs}")


@sshd.needed()
def test_machine_without_python_is_told(tmp_path):
    with pytest.raises(OutcomeError, match="python3-that-is-not-there") as caught:
        goes_there_and_back(tmp_path, python="python3-that-is-not-there")
    assert caught.value.outcome is Outcome.SETUP_FAILED


@sshd.needed()
@pytest.mark.parametrize("python", ["python3.8", "python3.9", "python3.10", "python3.12", "python3.13"])
def test_older_and_newer_pythons_there_will_do(tmp_path, python):
    program = shutil.which(python) or "false"
    found = subprocess.run(
        [program, "-c", "import sys; print(sys.executable)"], capture_output=True, text=True, check=False
    )
    if found.returncode:
        pytest.skip(f"no {python} is installed")
    assert goes_there_and_back(tmp_path, python=found.stdout.strip())


def test_what_is_sent_to_machines_needs_only_python_three_point_eight():
    for module in (files, hashing):
        tree = ast.parse(Path(str(module.__file__)).read_text(), feature_version=(3, 8))
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
        names = {alias.name for node in imports if isinstance(node, ast.Import) for alias in node.names}
        names |= {str(node.module) for node in imports if isinstance(node, ast.ImportFrom)}
        assert {name.split(".")[0] for name in names - {hashing.__name__}} <= sys.stdlib_module_names
