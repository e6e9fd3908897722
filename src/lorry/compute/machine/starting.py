"""The agent on a machine: started, found running, and taken off again, by `on_machine/begin.py`."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from importlib.resources import files
from typing import Any

from lorry.compute.machine.setting_up import Ready
from lorry.compute.outcomes import Outcome, OutcomeError
from lorry.compute.ssh import Link
from lorry.secrets.found import secret
from lorry.secrets.masking import mask
from lorry.visible import clean

_BEGIN = "begin.py"
_LEAVE = 'cd "$HOME/.lorry" && rm -f ended run agent.pid && : >>contact && touch contact'


async def begin(link: Link, ready: Ready, place: str, run: str, *, again: bool) -> None:
    """Starts the agent, detached; nothing happens where it runs, or has ended and is not to begin again.

    `place` is lorry's folder there, `run` the run's in it. Raises OutcomeError SETUP_FAILED, SSH_DOWN.
    """
    token = await asyncio.to_thread(secret, "HF_TOKEN")  # a keyring may take its time
    environment = {**ready.environment, **({"HF_TOKEN": token} if token else {})}
    environment |= {"LORRY_HOME": place, "HF_HOME": f"{place}/huggingface", "HF_HUB_DISABLE_TELEMETRY": "1"}
    words = [ready.python, "-m", "lorry.compute.machine.aboard", run]
    await _asked(link, {"words": words, "run": run, "environment": environment, "again": again})


async def goes_on(link: Link, run: str) -> bool:
    """Whether training runs there or has ended, so that there is nothing to do but to listen: one round trip."""
    return await _asked(link, {"words": [], "run": run}) in ("running", "ended")


async def leave(link: Link) -> None:
    """Takes a run that has ended off the machine, whose idle limit holds from then on. Raises OutcomeError SETUP_FAILED."""
    done = await link.run(_LEAVE, seconds=30)
    if done.code != 0:
        raise OutcomeError(Outcome.SETUP_FAILED, "the run could not be taken off the machine")


async def _asked(link: Link, asked: dict[str, Any]) -> str:
    """How it stands with the run on this machine; empty where the machine does not say."""
    script = files("lorry.compute.machine.on_machine").joinpath(_BEGIN).read_bytes()
    command = f'python3 -c "import sys; exec(sys.stdin.buffer.read({len(script)}))"'
    done = await link.run(command, stdin=script + json.dumps(asked).encode() + b"\n", seconds=120)
    if done.code != 0:
        told = clean(mask(done.err.decode("utf-8", "replace"))).strip()[-500:]
        raise OutcomeError(Outcome.SETUP_FAILED, f"training could not be started: {told}")
    with suppress(ValueError, TypeError, KeyError, IndexError):
        return str(json.loads(done.out.splitlines()[-1])["state"])
    return ""
