"""A client of an emulator's control API: what its machines are and cost, and what is to go wrong.

control = Control("http://127.0.0.1:8011")
control.arm("no_capacity", times=2)
[machine.usd for machine in control.machines()]
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import httpx

from lorry.emulators.account import Settings
from lorry.emulators.control_api import Machine
from lorry.emulators.faults import Fault, Kind
from lorry.errors import InputError


class Control:
    """Speaks to one emulator. Use it in a `with`, or `close` it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._client = httpx.Client(base_url=f"{url}/_control", timeout=30, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Gives the connection back."""
        self._client.close()

    def machines(self) -> list[Machine]:
        """Every machine there ever was, the oldest first."""
        return [Machine.model_validate(one) for one in self._get("machines")["machines"]]

    def machine(self, name: str) -> Machine:
        """The last machine of this id or name. Raises InputError where there is none."""
        found = [one for one in self.machines() if name in (one.id, one.name)]
        if not found:
            raise InputError(f"the emulator has no machine `{name}`")
        return found[-1]

    def left(self) -> list[Machine]:
        """Machines that still cost, or of which anything is left here."""
        return [one for one in self.machines() if one.state != "ended" or one.pids or not one.is_over]

    def ledger(self) -> dict[str, Any]:
        """`balance`, `spent`, `usd_per_hour`, and what each of `machines` and `volumes` has cost, in US dollars."""
        return self._get("ledger")

    @property
    def balance(self) -> float:
        """US dollars that are left."""
        return float(self.ledger()["balance"])

    def settings(self, **changes: Any) -> Settings:
        """The settings, after these changes; `balance` is accepted beside the fields of Settings."""
        answer = self._client.post("/settings", json=changes) if changes else self._client.get("/settings")
        return Settings.model_validate(_checked(answer))

    def arm(self, kind: Kind, **options: Any) -> int:
        """Arms a fault, with the fields of Fault as options; how many machines that are there have it now."""
        fault = Fault(kind=kind, **options)
        return int(_checked(self._client.post("/faults", json=fault.model_dump()))["given"])

    def armed(self) -> list[Fault]:
        """Faults that have not happened yet; those that machines have are not among them."""
        return [Fault.model_validate(one) for one in self._get("faults")["faults"]]

    def disarm(self) -> None:
        """Forgets all faults that no machine has yet."""
        _checked(self._client.delete("/faults"))

    def wait(self, until: Callable[[list[Machine]], object], *, seconds: float = 30.0) -> list[Machine]:
        """The machines, once `until` is true of them. Raises TimeoutError with what they are when that is never."""
        deadline = time.monotonic() + seconds
        while not until(machines := self.machines()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {seconds:g} s: {machines}")
            time.sleep(0.05)
        return machines

    def _get(self, path: str) -> dict[str, Any]:
        return _checked(self._client.get(f"/{path}"))


def _checked(answer: httpx.Response) -> dict[str, Any]:
    content = answer.json()
    if answer.is_error:
        raise InputError(str(content.get("error", answer.status_code)))
    return content
