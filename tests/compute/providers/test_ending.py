"""A machine that ends itself: real shells, real curl, wget and Python, a real server."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lorry.compute.providers._ending import Deletion

KEY = "scoped-key-4711"
SHELLS = [name for name in ("sh", "dash", "bash") if shutil.which(name)]


class Cloud(ThreadingHTTPServer):
    """Deletes machines `m1`; remembers who asked, and the command lines of all processes at that moment."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, str, str]] = []
        self.lines: list[str] = []


class Handler(BaseHTTPRequestHandler):
    server: Cloud

    def do_DELETE(self) -> None:
        key, agent = self.headers.get("Authorization", ""), self.headers.get("User-Agent", "")
        self.server.asked.append((self.path, key, agent))
        self.server.lines += [_line(place) for place in Path("/proc").glob("[0-9]*/cmdline")]
        taken = key == f"Bearer {KEY}" and self.path.startswith("/pods/m1")
        self.send_response(204 if taken else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Says nothing."""


def _line(place: Path) -> str:
    try:
        return place.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    except OSError:
        return ""


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    server = Cloud()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(5)


def end(
    cloud: Cloud, folder: Path, *tools: str, shell: str = "sh", **variables: str
) -> subprocess.CompletedProcess[str]:
    """Runs the command on a machine that has just these programs."""
    (folder / "bin").mkdir(exist_ok=True)
    for tool in (*tools, "tr", "sed", "mktemp", "rm"):
        found = sys.executable if tool == "python3" else shutil.which(tool)
        if found is None:
            pytest.skip(f"there is no {tool} here")
        (folder / "bin" / tool).write_text(f'#!/bin/sh\nexec {found} "$@"\n')
        (folder / "bin" / tool).chmod(0o755)
    command = Deletion(f"http://127.0.0.1:{cloud.server_port}/pods/", "POD_ID", "POD_KEY", after="/").command()
    given = {"PATH": str(folder / "bin"), "POD_ID": "m1", "POD_KEY": KEY, **variables}
    script = f"{command} && echo taken"
    whole = [str(shutil.which(shell)), "-c", script]
    return subprocess.run(whole, env=given, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("tool", ["curl", "wget", "python3"])
def test_machine_deletes_itself_with_what_it_has(cloud, tmp_path, tool, shell):
    done = end(cloud, tmp_path, tool, shell=shell)
    assert (done.returncode, done.stdout) == (0, "taken\n"), done.stderr
    ((path, key, agent),) = cloud.asked
    assert (path, key) == ("/pods/m1/", f"Bearer {KEY}")
    assert agent.startswith("lorry/")


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="command lines are read from /proc")
@pytest.mark.parametrize("tool", ["curl", "wget", "python3"])
def test_key_is_on_no_command_line(cloud, tmp_path, tool):
    end(cloud, tmp_path, tool)
    assert any(tool.removesuffix("3") in line for line in cloud.lines)
    assert [line for line in cloud.lines if KEY in line] == []


@pytest.mark.parametrize("tool", ["curl", "wget", "python3"])
def test_refusal_is_a_failure(cloud, tmp_path, tool):
    done = end(cloud, tmp_path, tool, POD_KEY="another")
    assert (done.returncode != 0, done.stdout) == (True, "")


def test_next_tool_is_tried_where_one_fails(cloud, tmp_path):
    (tmp_path / "bin").mkdir()
    done = end(cloud, tmp_path, "curl", "python3", POD_KEY=KEY, CURL_HOME=str(tmp_path))
    assert done.returncode == 0
    (tmp_path / "bin" / "curl").write_text("#!/bin/sh\nexit 2\n")
    command = Deletion(f"http://127.0.0.1:{cloud.server_port}/pods/", "POD_ID", "POD_KEY").command()
    given = {"PATH": str(tmp_path / "bin"), "POD_ID": "m1", "POD_KEY": KEY}
    done = subprocess.run(["/bin/sh", "-c", command], env=given, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0
    assert "Python" not in cloud.asked[-1][2]


@pytest.mark.parametrize("lacking", ["LORRY_TEST_ID", "LORRY_TEST_KEY"])
def test_machine_that_knows_not_itself_asks_for_nothing(cloud, tmp_path, lacking):
    here = Deletion(f"http://127.0.0.1:{cloud.server_port}/pods/", "LORRY_TEST_ID", "LORRY_TEST_KEY").command()
    given = {"PATH": os.environ["PATH"], "LORRY_TEST_ID": "m1", "LORRY_TEST_KEY": KEY, lacking: ""}
    done = subprocess.run(["/bin/sh", "-c", here], env=given, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert lacking in done.stderr
    assert cloud.asked == []


def test_wget_leaves_no_file_with_the_key(cloud, tmp_path):
    before = set(Path("/dev/shm").glob("lorry.*"))
    assert end(cloud, tmp_path, "wget", TMPDIR=str(tmp_path)).returncode == 0
    assert set(Path("/dev/shm").glob("lorry.*")) == before
    assert not list(tmp_path.glob("tmp.*"))


def test_machine_without_any_tool_fails(cloud, tmp_path):
    assert end(cloud, tmp_path).returncode != 0
