"""The release lock: exact versions of everything that training needs on a rented machine, tested together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

from packaging.requirements import Requirement

PYTHONS = ((3, 11), (3, 13))
"""The first and the last Python that the lock was made for."""


@dataclass(frozen=True)
class Pins:
    """Versions by name, normalized, for one machine."""

    packages: Mapping[str, str]
    """What is needed whatever torch is there."""
    torch: Mapping[str, str]
    """torch and what only it needs: left out where the image has a torch that fits."""


def pins(environment: Mapping[str, str]) -> Pins:
    """The lock for a machine whose environment markers (PEP 508) are these."""
    return Pins(_for("packages.txt", environment), _for("torch.txt", environment))


def installer() -> str:
    """The requirement of the `uv` that installs them."""
    return _text("uv.txt").strip()


def _for(name: str, environment: Mapping[str, str]) -> dict[str, str]:
    lines = [line for line in _text(name).splitlines() if line and not line.startswith("#")]
    wanted = [Requirement(line) for line in lines]
    return {
        line.name: next(iter(line.specifier)).version
        for line in wanted
        if line.marker is None or line.marker.evaluate(dict(environment))
    }


def _text(name: str) -> str:
    return files(__name__).joinpath(name).read_text(encoding="utf-8")
