"""Which GPU of the catalog a provider means by a name of its own."""

from __future__ import annotations

from collections.abc import Sequence

from lorry.plan import gpus
from lorry.plan.gpus import GpuSpec

_SAME = 0.1
"""How far the gigabytes that a provider tells may lie from those on the box: some count in GiB, some leave out a reserve."""


def card(names: Sequence[str], gigabytes: float = 0.0) -> GpuSpec | None:
    """The one card that these names, and its memory, can mean; None for one that is unknown or not certain.

    A machine whose GPU is not certain is left out: nothing that is said of memory and speed would hold there.
    """
    for name in names:
        found = gpus.variants(name)
        if len(found) > 1 and gigabytes:
            found = [spec for spec in found if abs(spec.sold_gb - gigabytes) <= _SAME * spec.sold_gb]
        if len(found) == 1:
            return found[0]
    return None
