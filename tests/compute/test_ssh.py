"""SSH against a real OpenSSH server: whom it speaks to, what it runs, and what it does when either end fails."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from threading import Thread

import psutil
import pytest

import sshd
from lorry.compute.outcomes import Outcome, OutcomeError
from lorry.compute.providers._base import Address
from lorry.compute.ssh import Link, answers, connect, installation_key, until_ready
from lorry.errors import InputError, LorryError

pytestmark = sshd.needed()
Body = Callable[[Link], Coroutine[None, None, object]]


@pytest.fixture
def machine(tmp_path):
    with sshd.machine(tmp_path) as (server, key):
        server.key = key
        yield server


def on(machine, body: Body):
    """What `body` makes of a link."""

    async def linked():
        link = await connect(machine.address, machine.key, machine.host_key)
        try:
            return await body(link)
        finally:
            await link.close()

    return asyncio.run(linked())


def outcome_of(what) -> Outcome:
    with pytest.raises(OutcomeError) as caught:
        asyncio.run(what)
    return caught.value.outcome


# The key.


def test_key_is_made_once_for_its_owner_alone(tmp_path):
    first, second = installation_key(tmp_path), installation_key(tmp_path)
    assert first == second
    assert first.public.startswith("ssh-ed25519 AAAA")
    assert "\n" not in first.public
    assert first.private.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in first.private.parent.iterdir() if path.name.startswith(".")] == []


def test_processes_that_ask_at_once_get_the_same_key(tmp_path):
    script = "import sys; from pathlib import Path; from lorry.compute.ssh import installation_key as key\n"
    script += "print(key(Path(sys.argv[1])).public)"
    words = [sys.executable, "-c", script, str(tmp_path)]
    processes = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert len({process.communicate(timeout=60)[0] for process in processes}) == 1


def test_key_that_others_may_read_is_closed_again(tmp_path):
    installation_key(tmp_path).private.chmod(0o644)
    assert installation_key(tmp_path).private.stat().st_mode & 0o777 == 0o600


def test_broken_key_is_not_replaced_but_told(tmp_path):
    key = installation_key(tmp_path)
    key.private.write_text("nothing")
    with pytest.raises(LorryError, match="cannot be read") as caught:
        installation_key(tmp_path)
    assert str(key.private) in caught.value.hint
    assert key.private.read_text() == "nothing"


# Whom it speaks to.


def test_first_contact_tells_the_host_key(machine):
    async def body():
        link = await connect(machine.address, machine.key, None)
        await link.close()
        return link.host_key

    assert asyncio.run(body()) == machine.host_key


@pytest.mark.parametrize("kind", ["ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa"])
def test_host_key_of_any_kind_is_pinned(tmp_path, kind):
    with sshd.machine(tmp_path, host_key=kind) as (server, key):
        server.key = key
        assert on(server, lambda link: link.run("echo there")).out == b"there\n"


@pytest.mark.parametrize("kind", ["ssh-ed25519", "ecdsa-sha2-nistp256"])
def test_another_host_key_is_refused_whatever_its_kind(tmp_path, machine, kind):
    with sshd.machine(tmp_path / "other", host_key=kind) as (other, _):
        answer = connect(machine.address, machine.key, other.host_key)
        assert outcome_of(answer) is Outcome.WRONG_HOST_KEY


def test_host_key_that_is_none_is_told(machine):
    with pytest.raises(InputError, match="no SSH host key"):
        asyncio.run(connect(machine.address, machine.key, "ssh-ed25519 nonsense"))


def test_machine_that_does_not_know_the_key_is_down(tmp_path, machine):
    assert outcome_of(connect(machine.address, installation_key(tmp_path / "other"), None)) is Outcome.SSH_DOWN


def test_nobody_at_the_address_is_down(machine):
    nowhere = Address("127.0.0.1", sshd.free_port(), "root")
    assert outcome_of(connect(nowhere, machine.key, None)) is Outcome.SSH_DOWN
    assert outcome_of(connect(Address("no-such-host.invalid", 22, "root"), machine.key, None)) is Outcome.SSH_DOWN


def test_persons_own_ssh_is_neither_read_nor_offered(tmp_path, machine, monkeypatch):
    (tmp_path / "person" / ".ssh").mkdir(parents=True)
    (tmp_path / "person" / ".ssh" / "config").write_text("Host *\n  ProxyCommand false\n  Port 1\n  ForwardAgent yes\n")
    (tmp_path / "person" / ".ssh" / "known_hosts").write_text(f"[127.0.0.1]:{machine.port} ssh-ed25519 AAAA\n")
    monkeypatch.setenv("HOME", str(tmp_path / "person"))
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
    assert on(machine, lambda link: link.run("echo agent: $SSH_AUTH_SOCK")).out == b"agent:\n"


# What answers.


def says(*pieces: bytes, stays: bool = True) -> bool:
    """Whether `answers` takes a server that says this for SSH."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        talking = Thread(target=_talk, args=(server, pieces, stays))
        talking.start()
        found = asyncio.run(answers(Address("127.0.0.1", server.getsockname()[1], "root"), seconds=0.5))
        talking.join()
    return found


def _talk(server: socket.socket, pieces: tuple[bytes, ...], stays: bool) -> None:
    with server.accept()[0] as peer, suppress(OSError):
        for piece in pieces:
            peer.sendall(piece)
        if stays:
            peer.recv(1)


def test_ssh_server_answers(machine):
    assert asyncio.run(answers(machine.address))
    assert says(b"SSH-2.0-x\r\n")
    assert says(b"Welcome\r\n" * 5, b"SSH-2.0-x\r\n")


def test_anything_else_does_not_answer():
    assert not asyncio.run(answers(Address("127.0.0.1", sshd.free_port(), "root")))
    assert not says()
    assert not says(stays=False)
    assert not says(b"HTTP/1.1 400 Bad Request\r\n\r\n", stays=False)
    assert not says(b"x" * 1_000_000)
    assert not says(b"x\n" * 100, b"SSH-2.0-x\r\n")


# What it runs.


def test_command_is_run_with_its_input_and_both_outputs(machine):
    done = on(machine, lambda link: link.run("cat; echo bad >&2; exit 3", stdin=b"in\0put" * 100_000))
    assert (done.code, done.out, done.err, done.is_cut) == (3, b"in\0put" * 100_000, b"bad\n", False)


def test_command_need_not_read_its_input(machine):
    assert on(machine, lambda link: link.run("exec <&-; sleep 0.1", stdin=b"x" * 5_000_000)).code == 0


def test_command_that_a_signal_ends_tells_which(machine):
    assert on(machine, lambda link: link.run("kill -9 $$")).code == -9


@pytest.mark.parametrize("where", ["", ">&2"])
def test_endless_output_is_cut_and_its_command_ended(machine, where):
    async def body(link):
        done = await link.run(f"yes marker-{machine.port} {where}", most=1000)
        return done, await link.run(f"pgrep -f 'yes [m]arker-{machine.port}'")

    done, left = on(machine, body)
    assert done.is_cut
    assert done.code == -9
    assert b"printed more than 1000 bytes" in done.err
    assert len(done.out) <= 1000
    assert left.out == b""


def test_command_that_takes_too_long_is_ended_with_its_children(machine):
    async def body(link):
        with pytest.raises(TimeoutError):
            await link.run(f"(sleep 61.{machine.port}; echo) & sleep 62.{machine.port}", seconds=0.5)
        return await link.run(f"pgrep -f 'sleep 6[12].{machine.port}'")

    assert on(machine, body).out == b""


def test_many_commands_run_at_once_on_one_connection(machine):
    async def body(link):
        done = await asyncio.gather(*(link.run(f"sleep 0.05; echo {number}") for number in range(30)))
        return [int(one.out) for one in done], len(psutil.Process(machine.process.pid).children())

    assert on(machine, body) == (list(range(30)), 1)


def test_connection_that_is_cut_in_the_middle_is_down(machine):
    async def body(link):
        running = asyncio.create_task(link.run("sleep 30"))
        await asyncio.sleep(0.3)
        machine.cut()
        with pytest.raises(OutcomeError) as caught:
            await running
        assert not link.is_open
        with pytest.raises(OutcomeError) as later:
            await link.run("true")
        return caught.value.outcome, later.value.outcome

    assert on(machine, body) == (Outcome.SSH_DOWN, Outcome.SSH_DOWN)


# A stream.


def test_channel_speaks_both_ways(machine):
    async def body(link):
        channel = await link.open("while read -r line; do echo got $line; done; echo over >&2; exit 4")
        channel.write(b"one\ntwo\n")
        await channel.drain()
        lines = [await channel.readline(100), await channel.readline(100)]
        channel.eof()
        rest, code = await channel.read(10), await channel.wait()
        await channel.close()
        return lines, rest, code, channel.said

    assert on(machine, body) == ([b"got one\n", b"got two\n"], b"", 4, b"over\n")


def test_line_without_end_is_not_read_to_its_end(machine):
    async def body(link):
        channel = await link.open("head -c 5000000 /dev/zero; sleep 9")
        try:
            await channel.readline(1000)
        finally:
            await channel.close()

    with pytest.raises(OutcomeError) as caught:
        on(machine, body)
    assert caught.value.outcome is Outcome.UNTRUSTED


def test_closed_channel_ends_its_command(machine):
    async def body(link):
        channel = await link.open(f"sleep 63.{machine.port}")
        await channel.close()
        return await link.run(f"pgrep -f 'sleep 6[3].{machine.port}'"), link.spare

    done, spare = on(machine, body)
    assert done.out == b""
    assert spare == 8


def test_what_nobody_reads_is_held_back_there(machine):
    async def body(link):
        channel = await link.open("cat /dev/zero")
        await channel.read(1)
        before = psutil.Process().memory_info().rss
        for _ in range(200):  # slower than it comes
            await channel.read(8192)
            await asyncio.sleep(0.005)
        await channel.close()
        return psutil.Process().memory_info().rss - before

    assert on(machine, body) < 40e6


# Until it is ready.


async def _at_once(_: float) -> None:
    await asyncio.sleep(0)


def told(*answers_):
    """A provider that says one thing after the other, the last one for ever."""
    left = list(answers_)

    async def where():
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    return where


def test_machine_is_waited_for_with_a_fresh_address_each_time(machine):
    stale = Address("127.0.0.1", sshd.free_port(), "root")
    busy = OutcomeError(Outcome.BUSY, retry_after=7.0)
    where = told(None, OutcomeError(Outcome.API_DOWN), stale, busy, stale, machine.address)
    pauses = []

    async def pause(seconds: float) -> None:
        pauses.append(round(seconds, 2))

    async def body():
        link = await until_ready(where, machine.key, machine.host_key, pause=pause)
        await link.close()
        return link.address

    assert asyncio.run(body()) == machine.address
    assert pauses == [1.0, 1.25, 0.5, 7.0, 0.78], "short ones once there is an address"


def test_machine_that_never_answers_is_given_up(machine):
    stale = Address("127.0.0.1", sshd.free_port(), "root")
    assert outcome_of(until_ready(told(stale), machine.key, None, seconds=0.3)) is Outcome.NEVER_READY


def test_provider_that_never_answers_is_given_up(machine):
    async def where():
        await asyncio.sleep(60)

    assert outcome_of(until_ready(where, machine.key, None, seconds=0.3)) is Outcome.NEVER_READY


def test_what_the_provider_says_of_the_machine_ends_the_wait(machine):
    gone = told(None, OutcomeError(Outcome.VANISHED))
    assert outcome_of(until_ready(gone, machine.key, None, pause=_at_once)) is Outcome.VANISHED


def test_wrong_host_key_is_believed_the_third_time(tmp_path, machine):
    with sshd.machine(tmp_path / "other") as (other, _):
        wrong = told(other.address, other.address, machine.address)
        link_free = until_ready(wrong, machine.key, machine.host_key, pause=_at_once)

        async def body():
            await (await link_free).close()

        asyncio.run(body())
        for_ever = until_ready(told(other.address), machine.key, machine.host_key, pause=_at_once)
        assert outcome_of(for_ever) is Outcome.WRONG_HOST_KEY


def test_no_process_is_left_when_a_link_is_closed(machine):
    on(machine, lambda link: link.run("true"))
    children = psutil.Process(machine.process.pid).children(recursive=True)
    psutil.wait_procs(children, timeout=5)
    assert [one for one in children if one.is_running() and one.status() != psutil.STATUS_ZOMBIE] == []
    assert Path(f"/proc/{os.getpid()}").exists()
