"""The emulated account: its key, its money, its settings, and what else outlives the server. One JSON file."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from lorry.emulators.faults import Fault
from lorry.emulators.rental import Span


class Settings(BaseModel):
    """How the cloud behaves; all can be changed while it runs."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    boot_seconds: float = Field(default=1.0, ge=0)
    """From the request to the start of the machine."""
    ssh_seconds: float = Field(default=0.1, ge=0)
    """From then until SSH is answered, beside what it really takes."""
    capacity: dict[str, int] = Field(default_factory=dict[str, int])
    """How many GPUs of a type there are, by its id; those that are not named are plenty."""
    requests_per_minute: int = Field(default=3000, ge=1)
    environment: dict[str, str] = Field(default_factory=dict[str, str])
    """Variables of the image, for the first process and sessions: `HF_HOME` of this computer, say."""
    interruption_rate: dict[str, float] = Field(default_factory=dict[str, float])
    """Vast: the lowest bid that wins now, in USD an hour, by offer; those that are not named keep the offer's."""


class Volume(BaseModel):
    """A network volume."""

    id: str
    name: str
    gb: int
    place: str
    kind: str = "STANDARD"
    spans: list[Span] = Field(default_factory=list[Span])
    deleted: bool = False


class Account(BaseModel):
    """What the cloud knows of its only customer."""

    key: str = ""
    credited: float = 1000.0
    """US dollars paid in, ever."""
    settings: Settings = Field(default_factory=Settings)
    ssh_keys: list[str] = Field(default_factory=list[str])
    templates: dict[str, dict[str, Any]] = Field(default_factory=dict[str, dict[str, Any]])
    volumes: dict[str, Volume] = Field(default_factory=dict[str, Volume])
    faults: list[Fault] = Field(default_factory=list[Fault])
    down_until: float = 0.0
    port: int = 0
    """Where the server listened last: machines remember its address."""


def load(home: Path, *, key: str = "") -> Account:
    """The account that lies in a folder, or a new one; `key` replaces its key."""
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o700)
    file = home / "account.json"
    account = Account.model_validate_json(file.read_bytes()) if file.is_file() else Account()
    account.key = key or account.key or f"rpa_EMULATED{secrets.token_hex(16).upper()}"
    write(file, account)
    return account


def write(file: Path, content: BaseModel) -> None:
    """Replaces a file by an object's JSON, at once: whoever reads it sees the old or the new, however this process ends."""
    aside = file.with_suffix(".new")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
        json.dump(content.model_dump(mode="json"), opened)
    aside.replace(file)
