"""Where secrets come from: the environment, `.env`, the keyring, in this order; nothing of it fails or hangs."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import keyring
import keyring.errors
import pytest
from keyring.backend import KeyringBackend

from lorry.errors import InputError
from lorry.secrets import found as secrets
from lorry.secrets.masking import mask


class Ring(KeyringBackend):
    """A keyring in memory that may be slow, locked or broken."""

    priority = 1  # type: ignore[assignment]

    def __init__(self, *, seconds: float = 0.0, error: BaseException | None = None, **held: str) -> None:
        super().__init__()
        self.seconds, self.error, self.held, self.asked = seconds, error, held, 0

    def get_password(self, service: str, username: str) -> str | None:
        self.asked += 1
        time.sleep(self.seconds)
        if self.error:
            raise self.error
        return self.held.get(username) if service == "lorry" else None

    def set_password(self, service: str, username: str, password: str) -> None:
        raise NotImplementedError


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(secrets, "_found", secrets._Found())
    for name in ("HF_TOKEN", "WANDB_API_KEY", "VAST_KEY"):
        monkeypatch.setenv(name, "")


@pytest.fixture
def ring(monkeypatch: pytest.MonkeyPatch):
    before = keyring.get_keyring()

    def use(**given) -> Ring:
        made = Ring(**given)
        keyring.set_keyring(made)
        return made

    yield use
    keyring.set_keyring(before)


def test_environment_goes_before_env_file_and_keyring(ring, monkeypatch: pytest.MonkeyPatch):
    ring(HF_TOKEN="from-the-ring")
    assert secrets.found("HF_TOKEN") == ("from-the-ring", "keyring")
    Path(".env").write_text("HF_TOKEN=from-the-file\n")
    assert secrets.found("HF_TOKEN") == ("from-the-file", ".env")
    monkeypatch.setenv("HF_TOKEN", "from-the-shell")
    assert secrets.found("HF_TOKEN") == ("from-the-shell", "environment")


def test_nobody_has_it(ring):
    ring()
    assert secrets.secret("HF_TOKEN") is None


def test_exported_secret_reaches_children_and_keeps_its_origin(ring):
    ring(HF_TOKEN="from-the-ring", VAST_KEY="rents-machines")
    secrets.export()
    code = "import os; print(os.environ['HF_TOKEN'], os.environ['VAST_KEY'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["from-the-ring"]
    assert secrets.found("HF_TOKEN") == ("from-the-ring", "keyring")


def test_env_file_fills_only_what_is_not_set(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WANDB_API_KEY", "from-the-shell")
    Path(".env").write_text("HF_TOKEN=from-the-file\nWANDB_API_KEY=not-this\nVAST_KEY=\n")
    secrets.load_env_file(Path(".env"))
    assert secrets.found("HF_TOKEN") == ("from-the-file", ".env")
    assert secrets.found("WANDB_API_KEY") == ("from-the-shell", "environment")


def test_what_was_found_is_masked_whatever_it_is_called(ring):
    ring(PLAIN="the-ring-has-this")
    assert secrets.secret("PLAIN") == "the-ring-has-this"
    assert mask("say the-ring-has-this") == "say ***"


@pytest.mark.parametrize("error", [keyring.errors.KeyringLocked("locked"), RuntimeError("no D-Bus"), SystemExit(1)])
def test_keyring_that_fails_has_nothing(ring, error: BaseException):
    ring(error=error)
    assert secrets.secret("HF_TOKEN") is None


def test_keyring_that_hangs_is_left_after_a_while_and_not_asked_again(ring, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(secrets, "_KEYRING_SECONDS", 0.05)
    slow = ring(seconds=1.0)
    began = time.monotonic()
    assert [secrets.secret(name) for name in ("HF_TOKEN", "WANDB_API_KEY", "HF_TOKEN")] == [None] * 3
    assert time.monotonic() - began < 0.8
    assert slow.asked == 1


def test_missing_library_is_an_empty_keyring(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "keyring", None)
    assert secrets.secret("HF_TOKEN") is None


def test_unreadable_env_file_is_told(monkeypatch: pytest.MonkeyPatch):
    Path(".env").write_bytes(b"\xff\xfe\x00bad")
    with pytest.raises(InputError, match="cannot be read"):
        secrets.load_env_file(Path(".env"))


def test_address_that_was_handed_out_is_masked_whatever_its_variable_is_called(ring, monkeypatch: pytest.MonkeyPatch):
    address = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"
    monkeypatch.setenv("TEAM_CHANNEL", address)
    assert secrets.secret("TEAM_CHANNEL") == address
    assert address not in mask(f"could not reach {address}")
