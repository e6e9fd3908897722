"""The catalog of GPUs, and which of them a name means.

A GPU that is not in the catalog gets no figures, rather than wrong ones: laptops' cards, slices of cards (MIG) and models with
another letter (4090 D) are others than the cards whose name they share.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from lorry.errors import InputError

_FILE = Path(__file__).parent / "catalog" / "gpus.yaml"
_GIB = 2**30
_RECKONED = 0.96
"""Share of the sold memory that CUDA has, where nobody has measured it; cards without error correction have 97 to 98 %."""
_BF16 = 8.0  # Ampere; CUDA C++ programming guide, "Compute Capabilities"
_NOISE = frozenset({"nvidia", "geforce", "tesla", "generation", "gpu", "graphics", "card", "tensor", "core"})
_JOINED = re.compile(r"\b(rtx|quadro)(?=[a-z]?\d)|(?<=\d)(ti(?=super\b|\b)|super\b|sxm\b|pcie\b|nvl\b)")
_MEMORY = re.compile(r"(\d+)(?:g|gb|gib)")
_SIZES = frozenset({"8", "10", "11", "12", "16", "20", "24", "32", "40", "48", "80", "94", "96", "141", "180", "288"})
_SAME_MEMORY = 0.12
"""How far a driver's memory may lie from the catalog's and still be this card's: error correction takes up to 9 %."""


@dataclass(frozen=True)
class GpuSpec:
    """A GPU as its maker describes it."""

    name: str
    sold_gb: int
    """The number on the box, in gigabytes."""
    memory: int
    """Bytes that CUDA has in all, before anything runs."""
    memory_measured: bool
    """Whether `memory` was seen on such cards, or reckoned from what is sold."""
    rate: float
    """Dense tensor TFLOP/s with sums in fp32: of bf16 where `bf16`, else of fp16."""
    bandwidth: float
    """Of the memory, in GB/s."""
    capability: float
    """CUDA compute capability."""
    watts: float
    """Of the whole board."""
    source: str
    words: frozenset[str]
    """What else may stand in its name."""
    names: frozenset[str]
    """Names that mean this card and no other."""

    @property
    def bf16(self) -> bool:
        """Whether its tensor cores compute in bf16."""
        return self.capability >= _BF16

    def runs_on(self, compiled: frozenset[float]) -> bool:
        """Whether code that was compiled for these capabilities runs on it: within a major version, from the same minor on.

        `torch.cuda.get_arch_list()` tells what a torch was compiled for. CUDA C++ programming guide, "Binary Compatibility".
        """
        return any(int(one) == int(self.capability) and one <= self.capability for one in compiled)


@cache
def catalog() -> tuple[GpuSpec, ...]:
    """Every GPU, by generation and kind."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    content = yaml.load(_FILE.read_text("utf-8"), Loader=loader)  # noqa: S506 - a safe loader, in C where there is one
    return tuple(_spec(row, content["sources"]) for row in content["gpus"])


def variants(name: str) -> list[GpuSpec]:
    """The cards that a name may mean, the smallest and slowest first; none for an unknown name.

    `RTX 4090` and `4090` mean one card, `A100` means four. A name as the driver tells it means one, save where the driver
    does not say how much memory it has (`at_hand` asks for that).
    """
    said = name.strip().casefold()
    for spec in catalog():
        if said in {spec.name.casefold(), *(one.casefold() for one in spec.names)}:
            return [spec]
    lacking = {spec: lack for spec in catalog() if (lack := _lacking(_words(name), spec)) is not None}
    least = min(lacking.values(), default=0)
    found = [spec for spec, lack in lacking.items() if lack == least]
    return sorted(found, key=lambda spec: (spec.memory, spec.rate, spec.bandwidth))


def find(name: str) -> GpuSpec | None:
    """The card that a name means, or None; of several the smallest and slowest, for what fits there, fits them all."""
    return next(iter(variants(name)), None)


def get(name: str) -> GpuSpec:
    """`find`, for a name that must be known. Raises InputError with the nearest name."""
    found = find(name)
    if found is None:
        raise InputError(f"`{name}` is no GPU that lorry has figures for", hint=_meant(name))
    return found


def at_hand(name: str, memory: int) -> GpuSpec | None:
    """The card that a driver names, with its memory in bytes; None where no card of that name has such a memory."""
    fitting = [spec for spec in variants(name) if abs(spec.memory - memory) <= _SAME_MEMORY * spec.memory]
    return min(fitting, key=lambda spec: abs(spec.memory - memory), default=None)


def _spec(row: dict[str, Any], sources: dict[str, str]) -> GpuSpec:
    gib = row.get("usable_gib")
    return GpuSpec(
        name=row["name"],
        sold_gb=row["sold_gb"],
        memory=round((gib or _RECKONED * row["sold_gb"]) * _GIB),
        memory_measured=gib is not None,
        rate=float(row["rate"]),
        bandwidth=float(row["bandwidth"]),
        capability=row["capability"],
        watts=float(row["watts"]),
        source=sources[row["source"]],
        words=frozenset({f"{row['sold_gb']}gb", *row.get("words", ())}),
        names=frozenset(row.get("is", ())),
    )


def _lacking(said: frozenset[str], spec: GpuSpec) -> int | None:
    """How many words of the card's name were not said, its memory apart; None if it is another card that was meant."""
    own = _words(spec.name)
    apart = {word for word in own if not _MEMORY.fullmatch(word)}
    model = {word for word in apart if re.search(r"\d", word)} or apart
    return len(apart - said) if model <= said <= own | spec.words else None


def _words(name: str) -> frozenset[str]:
    """`NVIDIA A100-SXM4-80GB` as `a100`, `sxm`, `80gb`."""
    text = name.casefold().replace("max-q", "maxq")
    parts = re.split(r"[^a-z0-9]+", _JOINED.sub(r" \g<0> ", re.sub(r"\b(sxm|nvl)\d\b", r"\1", text)))
    return frozenset(_memory(part) for part in parts if part and part not in _NOISE)


def _memory(word: str) -> str:
    """`80g`, `80gib` and `80` as `80gb`; any other word as it is."""
    found = _MEMORY.fullmatch(word)
    if found:
        return f"{found[1]}gb"
    return f"{word}gb" if word in _SIZES else word


def _meant(name: str) -> str:
    known = {alias.casefold(): spec.name for spec in catalog() for alias in _said(spec)}
    near = get_close_matches(" ".join(name.casefold().split()), known, n=1)
    return f"did you mean `{known[near[0]]}`?" if near else "`lorry gpus` lists them all"


def _said(spec: GpuSpec) -> Iterator[str]:
    yield spec.name
    yield spec.name.removeprefix("RTX ")
    yield spec.name.split()[0]
    yield from spec.names
