"""A provider that costs nothing."""

from __future__ import annotations

from typing import ClassVar

from lorry.compute.providers._base import Capabilities
from sheds import shed


class Barn(shed.Shed):
    """Machines of one's own."""

    capabilities: ClassVar[Capabilities] = Capabilities(bills=False)
    key: ClassVar[str] = ""
