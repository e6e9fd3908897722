"""Weights & Biases: the run on wandb.ai or one's own server, or kept here for `wandb sync`."""

from __future__ import annotations

import base64
import hashlib
import json
import netrc
import os
import re
import time
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from lorry.network import answer_of
from lorry.secrets.found import export, secret
from lorry.track.events import ENDINGS, Event
from lorry.track.sinks._base import Memory, RunFacts, Session, Sink
from lorry.track.sinks._numbers import final_scores, numbers

_HOSTS = {"api.wandb.ai", "api.forge.coreweave.com"}
"""Where W&B's own service is; its version 0.31 asks the second."""

_LONGEST_ID = 64
_ANSWER_WITHIN = 30.0
"""Seconds that W&B has to accept a run; without a network it would try for longer than anyone waits."""


class WandbSink(Sink):
    """Weights & Biases. After a resume it is the same run; its horizontal axis is the training step."""

    extra: ClassVar[str] = "wandb"
    packages: ClassVar[tuple[str, ...]] = ("wandb",)
    project: str = "lorry"
    """The project on W&B."""
    entity: str | None = None
    """The team or user on W&B; null for the account's default."""
    mode: Literal["online", "offline"] = "online"
    """`offline` writes to `wandb/` in the run's folder, for `wandb sync`."""
    tags: list[str] = Field(default_factory=list[str])
    """Tags of the run on W&B."""

    def open(self, run: RunFacts, memory: Memory) -> Session:
        """Begins the run on W&B, or goes on with it: its id there follows from the id here."""
        self.require_packages()
        memory.setdefault("id", _id(run.id))
        return _Session(self, run, memory)

    def unavailable(self) -> str | None:
        """As for every sink, and: online it needs a key, in WANDB_API_KEY or from `wandb login`."""
        return super().unavailable() or (None if self.mode == "offline" or _has_key() else _NO_KEY)

    def address(self) -> str | None:
        """W&B's service, or one's own server."""
        own = os.environ.get("WANDB_BASE_URL", "").rstrip("/")
        return None if self.mode == "offline" else own or _SERVICE

    def refused(self, seconds: float) -> str | None:
        """Asks who the key belongs to."""
        address, key = self.address(), _key()
        if address is None or key is None or not address.startswith(("http://", "https://")):
            return None
        headers = {
            "Authorization": "Basic " + base64.b64encode(f"api:{key}".encode()).decode(),
            "Content-Type": "application/json",
        }
        question = json.dumps({"query": "query { viewer { username } }"}).encode()
        status, body = answer_of(f"{address}/graphql", seconds=seconds, body=question, headers=headers)
        return _REFUSED if status in (401, 403) or (status == 200 and _nobody(body)) else None


_SERVICE = "https://api.wandb.ai"
_REFUSED = (
    "Weights & Biases does not accept the key that is set: copy it anew from wandb.ai/authorize into WANDB_API_KEY"
)
_NO_KEY = "Weights & Biases asks for a key, and none is set here: set WANDB_API_KEY, run `wandb login`, or set mode to offline"


class _Session(Session):
    confirms_on_close: ClassVar[bool] = True  # when we are killed, W&B's process ends with what it had not written yet

    def __init__(self, sink: WandbSink, run: RunFacts, memory: Memory) -> None:
        _wait_for_a_free_folder(run.folder / "wandb")
        # W&B would report its own errors to its makers, offline too.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        export("WANDB_API_KEY")
        import wandb

        self._memory = memory
        self._run: Any = wandb.init(
            id=memory["id"],
            name=run.id,
            resume="allow",
            reinit="create_new",
            project=sink.project,
            entity=sink.entity,
            mode=sink.mode,
            tags=sink.tags or None,
            dir=str(run.folder),
            config=json.loads(json.dumps(run.recipe, default=str)),
            # The output and the code here are the relay's, not the training's.
            settings=wandb.Settings(
                console="off", silent=True, disable_git=True, disable_code=True, init_timeout=_ANSWER_WITHIN
            ),
        )
        # W&B drops a step of its own that comes again; on an axis of ours, replayed steps are kept.
        self._run.define_metric("step", hidden=True)
        self._run.define_metric("*", step_metric="step")

    def take(self, event: Event) -> None:
        found = numbers(event)
        if found:
            self._run.log({"step": event.step, **found})
        scores = final_scores(event)
        if scores:
            self._run.summary.update(scores)
        if event.kind in ENDINGS:
            self._memory["ended"] = event.kind
        elif event.kind == "started":
            self._memory.pop("ended", None)

    def close(self) -> None:
        """Waits until W&B has everything; what cannot be sent stays in the run's folder, for `wandb sync`."""
        import wandb

        self._run.finish(exit_code=0 if self._memory.get("ended") in ("finished", "stopped") else 1)
        wandb.teardown()  # waits for W&B's own process, which writes the last records only when it ends


def _wait_for_a_free_folder(folder: Path) -> None:
    """W&B names a session's folder by the second, and would write over one that was begun in the same."""
    while any(folder.glob(f"*run-{time.strftime('%Y%m%d_%H%M%S')}-*")):
        time.sleep(0.05)


def _id(run_id: str) -> str:
    """The run's id as W&B takes it: some characters and great lengths are refused there."""
    plain = re.sub(r"[^A-Za-z0-9_.-]", "-", run_id)
    if plain == run_id and len(run_id) <= _LONGEST_ID:
        return run_id
    digest = hashlib.sha256(run_id.encode("utf-8", "backslashreplace")).hexdigest()[:12]
    return f"{plain[: _LONGEST_ID - 13]}-{digest}"


def _has_key() -> bool:
    """Whether a key is set, without looking at it. W&B keeps those of `wandb login` in the netrc file."""
    return bool(secret("WANDB_API_KEY")) or any(_names_wandb(file) for file in _netrc_files())


def _key() -> str | None:
    """The key that W&B will use; None where none can be read."""
    if found := secret("WANDB_API_KEY"):
        return found
    for file in _netrc_files():
        try:
            entries = [netrc.netrc(file).authenticators(host) for host in _hosts()]
        except (OSError, netrc.NetrcParseError):
            continue
        if key := next((entry[2] for entry in entries if entry), None):
            return key
    return None


def _nobody(body: bytes) -> bool:
    """Whether W&B answered that it does not know whose key this is."""
    try:
        return json.loads(body)["data"]["viewer"] is None
    except (ValueError, KeyError, TypeError):
        return False


def _netrc_files() -> list[Path]:
    return [Path(place).expanduser() for place in (os.environ.get("NETRC"), "~/.netrc", "~/_netrc") if place]


def _hosts() -> set[str]:
    own = os.environ.get("WANDB_BASE_URL")
    return {re.sub(r"^https?://", "", own).rstrip("/")} if own else _HOSTS


def _names_wandb(file: Path) -> bool:
    try:
        return bool(_hosts() & {*file.read_text(encoding="utf-8").split()})
    except (OSError, ValueError):
        return False
