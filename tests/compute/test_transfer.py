"""Files to and from a real OpenSSH server, through the system's `ssh` and without it: whole, once, and on after a cut."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
from pathlib import Path

import psutil
import pytest

import sshd
from lorry.compute.machine.on_machine.files import part_of
from lorry.compute.outcomes import Outcome, OutcomeError
from lorry.compute.ssh import connect
from lorry.compute.transfer import Rules, fetch, listing, send
from lorry.compute.transport import crew
from lorry.compute.transport.progress import Progress
from lorry.errors import LorryError

pytestmark = sshd.needed()
ALL = Rules({r".*": 1 << 40})
LARGE = 20 << 20


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    with sshd.machine(tmp_path_factory.mktemp("transfer")) as (server, key):
        server.key = key
        yield server


@pytest.fixture
def here(tmp_path):
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


@pytest.fixture
def there(tmp_path):
    (tmp_path / "there").mkdir()
    return tmp_path / "there"


@pytest.fixture(params=["ssh", "link"])
def way(request):
    """Large files go through the system's program, or over the link."""
    if request.param == "ssh" and shutil.which("ssh") is None:
        pytest.skip("no `ssh` is installed")
    return request.param


def with_link(machine, body, way: str = "ssh"):
    async def linked():
        link = await connect(machine.address, machine.key, machine.host_key)
        try:
            if way == "link":
                link.system_ssh = None
            return await body(link)
        finally:
            await link.close()

    return asyncio.run(linked())


def sending(machine, files, root, way: str = "ssh", **options):
    return with_link(machine, lambda link: send(link, files, str(root), **options), way)


def fetching(machine, root, into, way: str = "ssh", rules: Rules = ALL, **options):
    return with_link(machine, lambda link: fetch(link, str(root), rules, into, **options), way)


def written(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


TREE = {"a": b"", "b/c.json": b"{}", "b/d/\u00e9 \u4e2d.txt": b"x" * 300_000, "e.safetensors": os.urandom(LARGE)}


def test_files_come_and_go_as_they_are(machine, here, there, tmp_path, way):
    files = {name: written(here / name, data) for name, data in TREE.items()}
    done = sending(machine, files, there, way)
    assert contents(there) == TREE
    assert (sorted(done.sent), done.unchanged, done.moved_bytes) == (sorted(TREE), (), sum(map(len, TREE.values())))
    assert fetching(machine, there, tmp_path / "back", way) == [tmp_path / "back" / name for name in sorted(TREE)]
    assert contents(tmp_path / "back") == TREE


def test_mode_and_time_come_along(machine, here, there):
    secret, program = written(here / "secret", b"x"), written(here / "program", b"y")
    secret.chmod(0o600)
    program.chmod(0o755)
    os.utime(program, ns=(10**18 + 7, 10**18 + 7))
    sending(machine, {"secret": secret, "program": program}, there)
    assert (there / "secret").stat().st_mode & 0o777 == 0o600
    assert (there / "program").stat().st_mode & 0o777 == 0o755
    assert (there / "program").stat().st_mtime_ns == 10**18 + 7


def test_what_is_fetched_cannot_be_run(machine, there, tmp_path):
    written(there / "a", b"#!/bin/sh\n").chmod(0o755)
    fetching(machine, there, tmp_path / "into")
    assert (tmp_path / "into" / "a").stat().st_mode & 0o111 == 0


@pytest.mark.parametrize("root", ["~/runs/x", "$HOME/runs/x"])
def test_root_may_be_below_the_machines_home(machine, here, root):
    sending(machine, {"a": written(here / "a", root.encode())}, root)
    assert (machine.home / "runs" / "x" / "a").read_bytes() == root.encode()


def test_nothing_is_sent_where_nothing_is_named(machine, there):
    assert sending(machine, {}, there).moved_bytes == 0


# Only what changed.


def test_only_what_changed_is_sent(machine, here, there, way):
    files = {name: written(here / name, data) for name, data in TREE.items()}
    sending(machine, files, there, way)
    written(here / "b/c.json", b"[]")
    done = sending(machine, files, there, way)
    assert (done.sent, done.moved_bytes, len(done.unchanged)) == (("b/c.json",), 2, 3)
    assert (there / "b/c.json").read_bytes() == b"[]"


def test_only_what_changed_is_fetched(machine, there, tmp_path, way):
    for name, data in TREE.items():
        written(there / name, data)
    into = tmp_path / "into"
    fetching(machine, there, into, way)
    before = {path: path.stat().st_ino for path in into.rglob("*") if path.is_file()}
    written(there / "b/c.json", b"[]")
    fetching(machine, there, into, way)
    assert (into / "b/c.json").read_bytes() == b"[]"
    changed = [path for path, inode in before.items() if path.stat().st_ino != inode]
    assert changed == [into / "b/c.json"]


def test_hash_is_remembered_there_and_forgotten_with_the_file(machine, here, there):
    path = written(here / "a", b"abc")
    sending(machine, {"a": path}, there)
    known = with_link(machine, lambda link: listing(link, str(there), ALL))[0].sha256
    assert known == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    status = (there / "a").stat()
    written(there / "a", b"xyz")
    os.utime(there / "a", ns=(status.st_mtime_ns, status.st_mtime_ns))
    assert with_link(machine, lambda link: listing(link, str(there), ALL))[0].sha256 is None
    assert sending(machine, {"a": path}, there).sent == ("a",)
    assert (there / "a").read_bytes() == b"abc"


# After a cut.


def test_send_goes_on_from_what_is_there(machine, here, there, way):
    data = os.urandom(LARGE)
    written(part_of(there / "a"), data[:7_000_001])
    done = sending(machine, {"a": written(here / "a", data)}, there, way)
    assert done.moved_bytes == LARGE - 7_000_001
    assert contents(there) == {"a": data}


@pytest.mark.parametrize("part", [b"something else" * 1000, os.urandom(LARGE + 1)])
def test_send_begins_anew_where_the_part_is_of_another_file(machine, here, there, way, part):
    data = os.urandom(LARGE)
    written(part_of(there / "a"), part)
    assert sending(machine, {"a": written(here / "a", data)}, there, way).moved_bytes == LARGE
    assert contents(there) == {"a": data}


def test_fetch_goes_on_from_what_is_here(machine, there, tmp_path, way):
    data, told = os.urandom(LARGE), []
    written(there / "a", data)
    written(part_of(tmp_path / "into" / "a"), data[:7_000_001])
    fetching(machine, there, tmp_path / "into", way, progress=told.append)
    assert contents(tmp_path / "into") == {"a": data}
    assert told[-1].done_bytes == told[-1].total_bytes == LARGE


@pytest.mark.parametrize("part", [b"something else" * 1000, os.urandom(LARGE + 1)])
def test_fetch_begins_anew_where_the_part_is_of_another_file(machine, there, tmp_path, way, part):
    data = os.urandom(LARGE)
    written(there / "a", data)
    written(part_of(tmp_path / "into" / "a"), part)
    fetching(machine, there, tmp_path / "into", way)
    assert contents(tmp_path / "into") == {"a": data}


async def cut_when(machine, part: Path, work) -> OutcomeError:
    """Cuts every connection when some of a file has come; what the transfer says of it."""
    task = asyncio.create_task(work)
    while not task.done() and (not part.exists() or part.stat().st_size < 20_000_000):
        await asyncio.sleep(0.005)
    machine.cut()
    with pytest.raises(OutcomeError) as caught:
        await task
    return caught.value


def test_cut_send_is_down_and_goes_on_later(machine, here, there, way):
    with (here / "a").open("wb") as file:
        file.truncate(200_000_000)
    part = part_of(there / "a")
    body = lambda link: cut_when(machine, part, send(link, {"a": here / "a"}, str(there)))  # noqa: E731
    assert with_link(machine, body, way).outcome is Outcome.SSH_DOWN
    assert not (there / "a").exists()
    assert 0 < sending(machine, {"a": here / "a"}, there, way).moved_bytes <= 200_000_000 - 20_000_000
    assert (there / "a").stat().st_size == 200_000_000
    assert not part.exists()


def test_cut_fetch_is_down_and_goes_on_later(machine, there, tmp_path, way):
    into, told = tmp_path / "into", []
    with (there / "a").open("wb") as file:
        file.truncate(200_000_000)
    part = part_of(into / "a")
    body = lambda link: cut_when(machine, part, fetch(link, str(there), ALL, into))  # noqa: E731
    assert with_link(machine, body, way).outcome is Outcome.SSH_DOWN
    assert not (into / "a").exists()
    kept = part.stat()
    fetching(machine, there, into, way, progress=told.append)
    assert (into / "a").stat().st_ino == kept.st_ino
    assert (into / "a").stat().st_size == 200_000_000
    assert not part.exists()


def test_transfer_that_is_cancelled_ends_what_it_started(machine, here, there, way):
    with (here / "a").open("wb") as file:
        file.truncate(2_000_000_000)

    async def body(link):
        task = asyncio.create_task(send(link, {"a": here / "a"}, str(there)))
        while not part_of(there / "a").exists():
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return [one for one in psutil.Process().children(recursive=True) if one.name() == "ssh"], link.spare

    assert with_link(machine, body, way) == ([], 8)


# What the machine lacks.


def test_machine_that_cannot_write_says_why(machine, here, there):
    written(there / "file", b"x")
    with pytest.raises(OutcomeError, match="cannot read or write") as caught:
        sending(machine, {"file/a": written(here / "a", b"x")}, there)
    assert caught.value.outcome is Outcome.SETUP_FAILED


def test_full_disk_there_is_told(machine, here, there, way):
    async def body(link):
        link.python = """sh -c 'ulimit -f 1000; exec python3 "$@"' sh"""
        await send(link, {"a": written(here / "a", b"x" * LARGE)}, str(there))

    with pytest.raises(OutcomeError, match="too large") as caught:
        with_link(machine, body, way)
    assert caught.value.outcome is Outcome.SETUP_FAILED
    assert not (there / "a").exists()


# What is wrong here.


def test_folder_that_cannot_be_written_is_told(machine, there, tmp_path):
    written(there / "a", b"x")
    written(tmp_path / "file", b"x")
    with pytest.raises(LorryError) as caught:
        fetching(machine, there, tmp_path / "file" / "into")
    assert caught.value.hint


def test_full_disk_here_is_told(machine, there, tmp_path, way):
    written(there / "a", b"x" * LARGE)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        with pytest.raises(LorryError, match="too large") as caught:
            fetching(machine, there, tmp_path / "into", way)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "LORRY_HOME" in caught.value.hint
    assert not (tmp_path / "into" / "a").exists()


def test_folder_that_is_not_there_has_no_files(machine, there, tmp_path):
    assert fetching(machine, there / "none", tmp_path / "into") == []


# Files that change.


def test_log_that_grows_comes_as_long_as_it_was(machine, there, tmp_path, monkeypatch):
    written(there / "log", b"one\n")
    take = crew.Crew.bulk

    async def grown(*words):
        with (there / "log").open("ab") as file:
            file.write(b"two\n")
        return await take(*words)

    monkeypatch.setattr(crew.Crew, "bulk", grown)
    fetching(machine, there, tmp_path / "into")
    assert contents(tmp_path / "into") == {"log": b"one\n"}


def test_file_that_is_replaced_or_removed_meanwhile_is_looked_at_again(machine, there, tmp_path, monkeypatch):
    written(there / "a", b"old")
    written(there / "b", b"gone soon")
    take, times = crew.Crew.bulk, []

    async def changed(*words):
        times.append(1)
        if len(times) == 1:
            written(there / "new", b"longer than before").replace(there / "a")
            (there / "b").unlink()
        return await take(*words)

    monkeypatch.setattr(crew.Crew, "bulk", changed)
    assert fetching(machine, there, tmp_path / "into") == [tmp_path / "into" / "a"]
    assert contents(tmp_path / "into") == {"a": b"longer than before"}


# At large.


def test_progress_that_fails_ends_the_transfer(machine, here, there):
    def broken(_: Progress) -> None:
        raise LorryError("enough")

    with pytest.raises(LorryError, match="enough"):
        sending(machine, {"a": written(here / "a", b"x" * LARGE)}, there, progress=broken)


def test_many_small_files_come_and_go(machine, here, there, tmp_path):
    files = {f"f{number}": written(here / str(number), b"%d" % number) for number in range(300)}
    sending(machine, files, there)
    assert len(fetching(machine, there, tmp_path / "into")) == 300
    assert contents(tmp_path / "into") == contents(there)


def test_transfers_that_share_a_link_do_not_wait_for_each_other_for_ever(machine, here, there, monkeypatch):
    monkeypatch.setattr(crew, "BULK", 0)
    monkeypatch.setattr(crew, "_EACH", 1)
    files = {f"f{number}": written(here / str(number), b"%d" % number) for number in range(8)}

    async def body(link):
        async with asyncio.timeout(60):
            await asyncio.gather(*(send(link, files, str(there / str(number))) for number in range(12)))
        return link.spare

    assert with_link(machine, body, "link") == 8
    assert len(contents(there)) == 12 * 8
