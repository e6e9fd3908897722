"""Secrets that lorry is given to keep: in the system's keyring, and nowhere else."""

from __future__ import annotations

import threading

from lorry.errors import InputError
from lorry.secrets.found import SERVICE

_SECONDS = 120.0
"""How long a keyring may take: a locked one asks for its password on the screen."""


def keep(name: str, value: str) -> None:
    """Puts a secret into the keyring, where `lorry.secrets.found` looks for it. Raises InputError where there is none.

    What was kept is read back: some keyrings take everything and keep nothing.
    """
    troubles: list[str] = []
    thread = threading.Thread(target=lambda: troubles.append(_kept(name, value)), daemon=True, name="keyring")
    thread.start()
    thread.join(_SECONDS)
    trouble = troubles[0] if troubles else "it does not answer"
    if trouble:
        hint = f"set {name} in the environment instead, or write `{name}=...` into .env of the folder that you work in"
        raise InputError(f"this computer has no keyring that keeps the key: {trouble}", hint=hint)


def _kept(name: str, value: str) -> str:
    """What went wrong; empty where nothing did. No error's text is passed on: backends put what they like into it."""
    import keyring

    try:
        keyring.set_password(SERVICE, name, value)
        return "" if keyring.get_password(SERVICE, name) == value else "it forgets what it is given"
    except Exception as error:  # backends raise what they like
        return f"it fails with {type(error).__name__}"
