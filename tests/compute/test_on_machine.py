"""What runs on machines: with whatever Python they have."""

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
from lorry.compute.on_machine import files, hashing
from lorry.compute.ssh import connect
from lorry.compute.transfer import Rules, fetch, send


def test_what_is_sent_to_machines_needs_only_python_three_point_eight():
    for module in (files, hashing):
        tree = ast.parse(Path(module.__file__).read_text(), feature_version=(3, 8))
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
        names = {alias.name for node in imports if isinstance(node, ast.Import) for alias in node.names}
        names |= {str(node.module) for node in imports if isinstance(node, ast.ImportFrom)}
        assert {name.split(".")[0] for name in names - {hashing.__name__}} <= sys.stdlib_module_names


@sshd.needed()
@pytest.mark.parametrize("python", ["python3.8", "python3.9", "python3.10", "python3.12", "python3.13"])
def test_older_and_newer_pythons_there_will_do(tmp_path, python):
    program = shutil.which(python)
    if program is None or subprocess.run([program, "--version"], capture_output=True, check=False).returncode:
        pytest.skip(f"no {python} is installed")

    data = os.urandom(5_000_000)
    (tmp_path / "a").write_bytes(data)

    async def there_and_back(server, key):
        link = await connect(server.address, key, server.host_key)
        link.python = program
        await send(link, {"b/a": tmp_path / "a"}, str(tmp_path / "there"))
        back = await fetch(link, str(tmp_path / "there"), Rules({"b/a": 1 << 30}), tmp_path / "back")
        await link.close()
        return back

    with sshd.machine(tmp_path) as (server, key):
        (path,) = asyncio.run(there_and_back(server, key))
    assert path.read_bytes() == data
