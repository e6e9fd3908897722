"""Installed versions: whether they are those that lorry, and each other, ask for, and suit Python and the driver."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from lorry.plan.checks._base import Check
from lorry.plan.findings import Explanation, Finding, error, note, refusal, warning

if TYPE_CHECKING:
    from lorry.plan.hardware import Hardware
    from lorry.plan.subject import Subject

_TRAINING = (
    *("torch", "transformers", "peft", "accelerate", "tokenizers", "safetensors", "huggingface-hub", "numpy"),
    *("bitsandbytes", "datasets", "triton", "torchvision", "liger-kernel", "flash-attn"),
)
"""Packages whose versions decide how a run goes; their own requirements among each other are compared too."""
_NEWEST_PYTHON = (3, 14)
"""The newest Python that torch 2.13 has builds for (PyPI, 2026-11)."""


class _Cuda(NamedTuple):
    """What a torch built for this CUDA needs of the machine."""

    driver: int
    capability: float


_CUDA = {12: _Cuda(525, 5.0), 13: _Cuda(580, 7.5)}
"""By CUDA's major version: the oldest Linux driver, and the oldest GPU (CUDA release notes, "CUDA Toolkit and Minimum
Required Driver Version"; CUDA 13.0 removed Maxwell, Pascal and Volta)."""


class VersionsCheck(Check):
    """Whether installed versions suit lorry, each other, this Python, and the GPU's driver."""

    of_this_computer: ClassVar[bool] = True
    explains: ClassVar[Mapping[str, Explanation]] = {
        "versions.too-old": Explanation(
            "A package is older than lorry works with.",
            "Names and behaviour differ; the run would fail, or do something else.",
            "`pip install -U 'lorry[train]'`",
        ),
        "versions.untested": Explanation(
            "A package is newer than lorry was tested with.",
            "It may have changed what lorry relies on.",
            "Install the version range that the finding names, or run the tests of lorry with this one.",
        ),
        "versions.clash": Explanation(
            "Two installed packages exclude each other: one asks for another version of the other.",
            "The import fails, or something fails later with a message that points elsewhere.",
            "Install the version that is asked for, in an environment of its own if another tool needs the present one.",
        ),
        "versions.builds": Explanation(
            "The builds of torch and torchvision are for different devices.",
            "Importing Transformers then fails with `operator torchvision::nms does not exist`.",
            "Uninstall torchvision, which lorry does not need, or install the build that belongs to torch.",
        ),
        "versions.python": Explanation(
            "This Python is newer than the newest that torch has builds for.",
            "Packages may be missing, or be compiled for minutes.",
            "Use a virtual environment with an older Python.",
        ),
        "versions.driver": Explanation(
            "The NVIDIA driver is older than the CUDA that torch was built with needs.",
            "torch would not see the GPU (`The NVIDIA driver on your system is too old`).",
            "Install a newer driver, or a torch that was built with an older CUDA.",
        ),
        "versions.capability": Explanation(
            "The GPU is older than the CUDA that torch was built with supports.",
            "Every computation would fail with `no kernel image is available for execution on the device`.",
            "Install a torch that was built with an older CUDA, or use a newer GPU.",
        ),
    }

    def run(self, subject: Subject) -> Iterable[Finding]:
        """Reads the metadata of installed packages; imports none of them."""
        yield from _ranges()
        yield from _clashes()
        yield from _builds()
        if sys.version_info[:2] > _NEWEST_PYTHON:
            running = ".".join(map(str, sys.version_info[:2]))
            newest = ".".join(map(str, _NEWEST_PYTHON))
            yield note("versions.python", f"this is Python {running}; torch has builds up to {newest}")
        yield from _driver(subject.hardware)


def installed(name: str) -> Version | None:
    """The version of a package; None where it is not installed, or has a version that nobody can compare."""
    try:
        return Version(metadata.version(name))
    except (metadata.PackageNotFoundError, InvalidVersion):
        return None


def required(name: str) -> Iterator[Requirement]:
    """What a package asks of others in this environment, its extras left out; of lorry, with what training needs."""
    try:
        texts = metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return
    for text in texts:
        try:
            wanted = Requirement(text)
        except InvalidRequirement:
            continue
        if wanted.marker is None or wanted.marker.evaluate({"extra": "train" if name == "lorry" else ""}):
            yield wanted


def _ranges() -> Iterator[Finding]:
    for wanted in required("lorry"):
        have = installed(wanted.name)
        if have is None or wanted.specifier.contains(have, prereleases=True):
            continue
        lower = next((each.version for each in wanted.specifier if each.operator in (">=", "==", "~=")), None)
        too_old = lower is not None and have < Version(lower)
        message = f"{wanted.name} {have} is installed, and lorry was made for {wanted.specifier}"
        remedy = f"pip install '{wanted.name}{wanted.specifier}'"
        if too_old:
            yield error("versions.too-old", message, remedy=remedy)
        else:
            yield warning("versions.untested", message, remedy=remedy)


def _clashes() -> Iterator[Finding]:
    """What the training packages ask of each other, as `pip check` compares it."""
    among = {canonicalize_name(name) for name in _TRAINING}
    for name in _TRAINING:
        for wanted in required(name):
            have = installed(wanted.name) if canonicalize_name(wanted.name) in among else None
            if have is not None and not wanted.specifier.contains(have, prereleases=True):
                yield warning(
                    "versions.clash",
                    f"{name} {installed(name)} asks for {wanted.name}{wanted.specifier}, and {have} is installed",
                    remedy=f"pip install '{wanted.name}{wanted.specifier}', or another version of {name}",
                )


def _builds() -> Iterator[Finding]:
    torch, vision = installed("torch"), installed("torchvision")
    if torch and vision and (torch.local or "") != (vision.local or "") and "cpu" in (torch.local, vision.local):
        yield warning(
            "versions.builds",
            f"torch {torch} and torchvision {vision} were built for different devices",
            remedy="pip uninstall torchvision",
        )


def _driver(hardware: Hardware) -> Iterator[Finding]:
    cuda = _cuda()
    needs = _CUDA.get(cuda or 0)
    if needs is None:
        return
    for gpu in hardware.gpus:
        major = gpu.driver.partition(".")[0]
        if major.isdigit() and int(major) < needs.driver:
            yield refusal(
                "versions.driver",
                f"the driver {gpu.driver} is too old for torch's CUDA {cuda}, which needs {needs.driver} or later",
                remedy="install a newer NVIDIA driver, or a torch that was built with an older CUDA",
            )
        if 0 < gpu.capability < needs.capability:
            yield refusal(
                "versions.capability",
                f"{gpu.name} (compute capability {gpu.capability}) is too old for torch's CUDA {cuda}",
                remedy="install a torch that was built with an older CUDA, or use a newer GPU",
            )


def _cuda() -> int | None:
    """The major version of CUDA that torch was built with: in its local version, or among what it asks for."""
    torch = installed("torch")
    if torch is None or (torch.local and not torch.local.startswith("cu")):
        return None
    if torch.local:
        return int(torch.local[2:4]) if torch.local[2:4].isdigit() else None
    libraries = [installed(name) for name in ("nvidia-cuda-runtime", "nvidia-cuda-runtime-cu12")]
    return next((found.major for found in libraries if found), None)
