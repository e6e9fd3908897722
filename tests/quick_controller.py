"""A controller with little patience, as a process of its own, for tests that kill it: `quick_controller.py [RUN ...]`."""

from __future__ import annotations

import asyncio
import sys

from lorry import job
from lorry.compute.control import serving
from lorry.compute.control.attempt import Patience
from lorry.compute.control.controller import Settings

if __name__ == "__main__":
    settings = Settings(Patience(ready=25, silence=15, pause=0.5, tick=0.2))
    only = frozenset(sys.argv[1:])
    asyncio.run(serving.serve(job.settle, only=only, until_idle=bool(only), settings=settings))
