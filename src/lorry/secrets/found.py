"""Secrets: where they come from.

A secret is looked for in the environment, then in `.env` of the current folder, then in the system's keyring under the
service `lorry` (`keyring set lorry HF_TOKEN`). `lorry.secrets.masking` keeps what was found out of everything that is written.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Literal

from lorry.errors import InputError
from lorry.secrets.key_forms import names_a_secret

SERVICE = "lorry"
"""The keyring's service: `keyring set lorry HF_TOKEN`."""
INHERITED = ("HF_TOKEN", "WANDB_API_KEY")
"""What the process that trains needs. Keys that rent machines are not among them: those never leave this process."""
Origin = Literal["environment", ".env", "keyring"]
_KEYRING_SECONDS = 5.0
"""How long a keyring may take. A locked one asks on a screen that may not be there."""


class _Found:
    """What this process has learnt: values that `.env` and the keyring gave, by name."""

    env_file: Mapping[str, str] = {}
    given: Mapping[str, str] = {}
    """What was handed out, whatever its name: an address of alerts holds a secret, and its variable is called as one likes."""
    keyring: Mapping[str, str | None] = {}
    keyring_answers = True


_found = _Found()


def secret(name: str) -> str | None:
    """The secret's value; None where nobody has it. A keyring that is missing, locked or slow has nothing."""
    return found(name)[0]


def found(name: str) -> tuple[str | None, Origin | None]:
    """The secret's value, and where it came from."""
    value, origin = _look_for(name)
    if value:
        _found.given = {**_found.given, name: value}
    return value, origin


def _look_for(name: str) -> tuple[str | None, Origin | None]:
    if value := os.environ.get(name):
        return value, ".env" if _found.env_file.get(name) == value else _exported_from(name, value)
    if value := _env_file(Path(".env")).get(name):
        _found.env_file = {**_found.env_file, name: value}
        return value, ".env"
    if value := _from_keyring(name):
        return value, "keyring"
    return None, None


def load_env_file(path: Path) -> None:
    """Puts what `.env` says into the environment; what stands there already stays. Raises InputError."""
    values = {name: value for name, value in _env_file(path).items() if not os.environ.get(name)}
    _found.env_file = {**_found.env_file, **values}
    os.environ.update(values)


def export(*names: str) -> None:
    """Puts secrets into this process's environment, for libraries and child processes; never onto a command line."""
    for name in names or INHERITED:
        value = secret(name)
        if value and not os.environ.get(name):
            os.environ[name] = value


def environment_without(*allowed: str) -> dict[str, str]:
    """The environment without what is called like a secret, for code that needs none; but for those allowed."""
    return {name: value for name, value in os.environ.items() if name in allowed or not _named(name)}


def known() -> tuple[str, ...]:
    """Every secret that is known now; the environment may have changed since the last time."""
    named = [value for name, value in os.environ.items() if _named(name)]
    asked = [value for value in _found.keyring.values() if value]
    kept = [value for name, value in _found.env_file.items() if _named(name)]
    return tuple(dict.fromkeys([*named, *asked, *kept, *_found.given.values()]))


def _exported_from(name: str, value: str) -> Origin:
    return "keyring" if _found.keyring.get(name) == value else "environment"


def _env_file(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    from dotenv import dotenv_values

    try:
        return {name: value for name, value in dotenv_values(path).items() if value}
    except (OSError, ValueError) as error:
        hint = "it holds lines of the form NAME=value, in UTF-8"
        raise InputError(f"cannot be read: {error}", place=str(path), hint=hint) from error


def _from_keyring(name: str) -> str | None:
    """What the system's keyring has; asked once a process, and not again after it failed to answer in time."""
    if name not in _found.keyring and _found.keyring_answers:
        answered, value = _within(_KEYRING_SECONDS, lambda: _ask_keyring(name))
        _found.keyring_answers = answered
        _found.keyring = {**_found.keyring, name: value}
    return _found.keyring.get(name)


def _ask_keyring(name: str) -> str | None:
    import keyring

    return keyring.get_password(SERVICE, name)


def _within(seconds: float, ask: Callable[[], str | None]) -> tuple[bool, str | None]:
    """Whether an answer came in time, and the answer. What is late goes on in a thread that keeps nobody from leaving."""
    answers: list[str | None] = []

    def work() -> None:
        try:
            answers.append(ask())
        except BaseException:  # backends raise what they like; none of it may stop a run
            answers.append(None)

    thread = threading.Thread(target=work, daemon=True, name="keyring")
    thread.start()
    thread.join(seconds)
    return (True, answers[0]) if answers else (False, None)


_named = lru_cache(maxsize=4096)(names_a_secret)
