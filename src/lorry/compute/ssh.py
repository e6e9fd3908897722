"""SSH to machines: one persistent connection each, with a key of lorry's own, to the host key that was seen first.

Nothing of the person's own SSH is used: no agent, no configuration, no known hosts. Whatever keeps a machine from being
reached is OutcomeError SSH_DOWN, a machine with another host key is WRONG_HOST_KEY.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncssh
from filelock import FileLock

from lorry.compute.outcomes import Outcome, OutcomeError
from lorry.compute.providers._base import Address
from lorry.compute.transport.link import Channel, Done, KeyPair, Link, Warden, one_line
from lorry.compute.transport.turns import Turns
from lorry.compute.transport.untrusted import shown
from lorry.errors import InputError, LorryError

__all__ = ["Channel", "Done", "KeyPair", "Link", "answers", "connect", "installation_key", "until_ready"]

_BANNER_LINES, _BANNER_BYTES = 64, 8192
_WRONG_KEYS = 3
"""Times in a row that one address may answer with a wrong key before nobody waits for it any more: a provider's first answer
after a restart can name a port that somebody else has by now."""
_FIRST_PAUSE, _NEAR_PAUSE, _GROWTH, _MOST_PAUSE = 1.0, 0.5, 1.25, 15.0
"""Seconds between tries, and by how much each is longer. A machine whose address is told answers within moments."""
_LOGINS = Turns(16)
"""A login takes this process some 10 ms: hundreds at once would have each wait for all others."""
_KEYS = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
]
_CIPHERS = [
    *("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com"),
    *("aes128-ctr", "aes192-ctr", "aes256-ctr"),
]
"""AES-GCM first: it is one call into OpenSSL a packet."""


def installation_key(home: Path) -> KeyPair:
    """The key pair of this installation (ed25519), made on first use below `home`; any number of processes may ask at once.

    Raises LorryError where the file that should hold it cannot be read or written.
    """
    private = home / "ssh" / "id_ed25519"
    hint = (
        f"see that {private} is yours; if it is removed, a new key is made, and machines that know the old one are lost"
    )
    try:
        private.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with FileLock(private.with_name("key.lock")):
            if not private.exists():
                _write_new(private)
        if os.name == "posix" and private.stat().st_mode & 0o077:
            private.chmod(0o600)  # OpenSSH uses no key that others may read
        key = asyncssh.read_private_key(private)
    except (OSError, asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
        raise LorryError(f"lorry's SSH key cannot be read: {error}", place=str(private), hint=hint) from error
    return KeyPair(private, f"{one_line(key)} lorry")


async def answers(address: Address, *, seconds: float = 5.0) -> bool:
    """Whether an SSH server says its name at the address; anything else, a refused connection too, is no."""
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_connection(address.host, address.port, limit=_BANNER_BYTES)
            try:
                return await _is_banner(reader)
            finally:
                writer.transport.abort()
    except (OSError, ValueError):  # ValueError: a line without end
        return False


async def connect(address: Address, key: KeyPair, host_key: str | None, *, seconds: float = 20.0) -> Link:
    """Connects and logs in, at the first contact (`host_key` None) to whoever answers: pin `host_key` of what is returned.

    Raises OutcomeError: WRONG_HOST_KEY where another key than `host_key` answers, SSH_DOWN for all else. Raises InputError
    for a `host_key` that is none.
    """
    where = f"{address.host}:{address.port}"
    warden = _warden(host_key)
    try:
        async with _LOGINS.taken(), asyncio.timeout(seconds):
            connection, _ = await asyncssh.create_connection(
                lambda: warden, address.host, address.port, config=None, options=_options(address, key)
            )
    except TimeoutError as error:
        raise OutcomeError(Outcome.SSH_DOWN, f"{where} did not answer within {seconds:g} s") from error
    except (OSError, asyncssh.Error, ValueError) as error:
        if warden.was_wrong:
            told = f"{where} answers with another host key than before: {warden.seen}"
            raise OutcomeError(Outcome.WRONG_HOST_KEY, told) from error
        raise OutcomeError(Outcome.SSH_DOWN, f"{where} cannot be reached: {shown(error)}") from error
    return Link(connection, address, key, warden)


async def until_ready(
    where: Callable[[], Awaitable[Address | None]],
    key: KeyPair,
    host_key: str | None,
    *,
    seconds: float = 600.0,
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Link:
    """A connection, as soon as the machine answers; its address is asked for anew at each try, for ports change.

    Pauses 1 s after the first try, then longer, 0.5 s once an address is told, then longer again, at most 15 s or what a busy
    provider asks for. Raises OutcomeError
    NEVER_READY after `seconds`, WRONG_HOST_KEY where one address keeps answering with another key, and what else `where` says.
    """
    loop = asyncio.get_running_loop()
    end, tries = loop.time() + seconds, _Tries(key, host_key)
    while (left := end - loop.time()) > 0:
        found = await tries.once(where, left)
        if found is not None:
            return found
        await pause(min(tries.pause(), max(0.0, end - loop.time())))
    raise OutcomeError(Outcome.NEVER_READY, f"the machine was not ready within {seconds:g} s: {tries.last}")


class _Tries:
    """What is remembered from one try to the next: no address."""

    def __init__(self, key: KeyPair, host_key: str | None) -> None:
        self.last = "nobody said where it is"
        self._key, self._host_key = key, host_key
        self._pause, self._asked = _FIRST_PAUSE, 0.0
        self._is_near = False
        self._wrong: list[Address] = []

    async def once(self, where: Callable[[], Awaitable[Address | None]], left: float) -> Link | None:
        """A connection, or None where it is worth another try."""
        self._asked = 0.0
        address: Address | None = None
        try:
            address = await asyncio.wait_for(where(), left)
            if address is None:
                self.last = "the provider tells no address"
                return None
            if not self._is_near:
                self._is_near, self._pause = True, _NEAR_PAUSE
            if await answers(address, seconds=min(5.0, left)):
                return await connect(address, self._key, self._host_key, seconds=min(20.0, left))
            self.last = f"no SSH server answers at {address.host}:{address.port}"
        except TimeoutError:
            self.last = "the provider does not answer"
        except OutcomeError as error:
            self._pass_over(error, address)
        return None

    def pause(self) -> float:
        """Seconds until the next try."""
        current, self._pause = self._pause, min(_MOST_PAUSE, _GROWTH * self._pause)
        return max(current, self._asked)

    def _pass_over(self, error: OutcomeError, address: Address | None) -> None:
        if error.outcome is Outcome.WRONG_HOST_KEY and address is not None:
            self._wrong = [*(one for one in self._wrong if one == address), address]
            if len(self._wrong) >= _WRONG_KEYS:
                raise error
        elif error.outcome not in (Outcome.SSH_DOWN, Outcome.API_DOWN, Outcome.BUSY):
            raise error
        self.last, self._asked = error.message, error.retry_after or 0.0


def _write_new(private: Path) -> None:
    """Writes a new key aside, for nobody else to read, and renames it."""
    key = asyncssh.generate_private_key("ssh-ed25519", comment="lorry")
    aside = private.with_name(f".{private.name}.{os.getpid()}")
    aside.unlink(missing_ok=True)
    handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(key.export_private_key("openssh"))
        file.flush()
        os.fsync(file.fileno())
    aside.replace(private)


def _warden(host_key: str | None) -> Warden:
    try:
        return Warden(host_key)
    except asyncssh.KeyImportError as error:
        told = f"`{host_key}` is no SSH host key"
        raise InputError(told, hint="a host key is one line: `ssh-ed25519 AAAA...`") from error


def _options(address: Address, key: KeyPair) -> asyncssh.SSHClientConnectionOptions:
    """Everything that would be read from the person's own files is given here.

    asyncssh reads their configuration all the same unless it is told a second time, where it connects.
    """
    return asyncssh.SSHClientConnectionOptions(
        config=None,
        username=address.user,
        client_keys=[str(key.private)],
        agent_path=None,
        agent_forwarding=False,
        known_hosts=([], [], []),  # none: the warden is asked
        server_host_key_algs=_KEYS,
        x509_trusted_certs=None,
        gss_kex=False,
        gss_auth=False,
        preferred_auth="publickey",
        encryption_algs=_CIPHERS,
        compression_algs=None,
        keepalive_interval=15,
        keepalive_count_max=4,
    )


async def _is_banner(reader: asyncio.StreamReader) -> bool:
    """Servers may say other lines before their name (RFC 4253, section 4.2)."""
    seen = 0
    for _ in range(_BANNER_LINES):
        line = await reader.readline()
        if line.startswith(b"SSH-"):
            return True
        seen += len(line)
        if not line or seen > _BANNER_BYTES:
            return False
    return False
