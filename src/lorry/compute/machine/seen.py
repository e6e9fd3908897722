"""What a machine that is to train has, and what it lacks: decided from its own report, which is not taken on trust. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from lorry.compute.machine import lock, wheel
from lorry.compute.outcomes import Outcome, OutcomeError
from lorry.visible import clean

MANAGED = "3.12"
"""The Python that `uv` fetches where the image has none that the lock is for."""
_NEEDS_DRIVER = 580
"""NVIDIA's oldest driver for CUDA 13, which the lock's torch is built for (CUDA 13.0 release notes, table 3)."""


class Look(BaseModel):
    """What one Python of a machine told of itself and of the machine."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    python: str = Field(pattern=r"^/[^\x00-\x1f]+$")
    is_own: bool
    """Whether lorry made it, so that nothing but the site counts."""
    markers: dict[str, str]
    distributions: dict[str, str]
    torch: str
    cuda: str
    uv: str
    has_pip: bool
    free: int
    """Bytes of disk."""
    sites: dict[str, dict[str, str]]
    lorries: list[str]
    tried: list[str]
    gpus: list[str]
    driver: str
    has_compat: bool
    """Whether the image brings a newer CUDA driver's libraries of its own."""
    library_path: str

    @field_validator("markers")
    @classmethod
    def _are_markers(cls, markers: dict[str, str]) -> dict[str, str]:
        full = re.fullmatch(r"(\d{1,4}\.\d{1,4})\.\d{1,4}([a-z]+\d*)?\+?", markers.get("python_full_version", ""))
        if full is None or full[1] != markers.get("python_version"):
            raise ValueError("no version of Python")
        return markers

    @property
    def is_in_range(self) -> bool:
        """Whether the lock is for this Python."""
        first, last = lock.PYTHONS
        major, minor = map(int, self.markers["python_version"].split("."))
        return first <= (major, minor) <= last and self.markers.get("implementation_name") == "cpython"

    @property
    def has_torch(self) -> bool:
        """Whether its torch is one that lorry trains with."""
        try:
            return bool(self.torch) and Version(self.torch).base_version in torch_range()
        except ValueError:  # InvalidVersion, or a number of thousands of digits
            return False


@dataclass(frozen=True)
class Way:
    """How a machine is set up."""

    look: Look
    base: str
    """What a Python of its own is first made from, apart from what the image has installed; empty where none is needed."""
    packages: Mapping[str, str]
    """What the site has to hold: versions by name."""
    torch: str
    """The version that trains."""

    @property
    def site(self) -> str:
        """The site's name: the same for machines that lack the same, and for no others."""
        about = {name: self.look.markers.get(name) for name in ("platform_machine", "python_version", "sys_platform")}
        facts = json.dumps([about, sorted(self.packages.items())], sort_keys=True)
        return f"site-{hashlib.sha256(facts.encode()).hexdigest()[:16]}"

    @property
    def is_there(self) -> bool:
        """Whether nothing has to be installed."""
        site = self.look.sites.get(self.site, {})
        return not self.base and all(site.get(name) == version for name, version in self.packages.items())

    @property
    def trial(self) -> str:
        """What the machine remembers once this torch has run on its GPU."""
        return f"tried-{self.torch}-{self.site}"


@cache
def torch_range() -> SpecifierSet:
    """The versions of torch that lorry trains with."""
    lines = map(Requirement, wheel.installed().requires or [])
    return next(line.specifier for line in lines if line.name == "torch")


def oldest_torch() -> str:
    """The first version of torch in that range."""
    return next(one.version for one in torch_range() if one.operator == ">=")


def looks(answers: Sequence[Any]) -> list[Look]:
    """What the machine's Pythons told. Raises OutcomeError IMAGE_BROKEN where there is none, SETUP_FAILED for nonsense."""
    if not answers:
        hint = "name an image with Python in `compute.image`"
        raise OutcomeError(Outcome.IMAGE_BROKEN, "the machine has no Python 3.8 or later", hint=hint)
    try:
        return [Look.model_validate(answer) for answer in answers]
    except ValidationError as error:
        first = error.errors()[0]
        what = clean(f"{'.'.join(map(str, first['loc']))}: {first['msg']}")[:200]
        raise OutcomeError(Outcome.SETUP_FAILED, f"the machine's report of itself makes no sense ({what})") from None


def way(found: Sequence[Look]) -> Way:
    """How the machine is set up best: with the image's Python and torch, else with a Python and a torch of lorry's own.

    Raises OutcomeError TORCH_UNFIT where that torch surely cannot run on the machine's driver.
    """
    with_torch = next((one for one in found if one.is_in_range and one.has_torch and not one.is_own), None)
    if with_torch is not None:
        pins = lock.pins(with_torch.markers).packages
        lacking = {name: version for name, version in pins.items() if with_torch.distributions.get(name) != version}
        return Way(with_torch, "", packages=lacking, torch=with_torch.torch)
    own = next((one for one in found if one.is_own and one.is_in_range), None)
    fitting = own or next((one for one in found if one.is_in_range), None)
    look = fitting or _managed(found[0])
    _check_driver(look)
    pins = lock.pins(look.markers)
    base = "" if own else look.python if fitting else MANAGED
    return Way(look, base, packages={**pins.packages, **pins.torch}, torch=pins.torch["torch"])


def _managed(look: Look) -> Look:
    """The machine with the Python that `uv` fetches to it."""
    known = {
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "python_version": MANAGED,
        "python_full_version": f"{MANAGED}.0",
    }
    return look.model_copy(update={"markers": {**look.markers, **known}})


def _check_driver(look: Look) -> None:
    number = re.match(r"\d+", look.driver)
    if look.has_compat or number is None or int(number[0]) >= _NEEDS_DRIVER:
        return
    needed = f"the one that lorry would install needs NVIDIA's driver {_NEEDS_DRIVER} or later"
    told = f"the image has no torch {torch_range()}, and {needed}; the machine has {clean(look.driver)}"
    hint = "name an image with PyTorch in `compute.image`, for the CUDA of the machine's driver"
    raise OutcomeError(Outcome.TORCH_UNFIT, told, hint=hint)
