"""What idle connections cost one controller: memory each, time to open them, processor time to keep them.

    python benchmarks/links.py [LINKS]

All go to one OpenSSH server on loopback, whose own two processes a connection are not counted.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))


async def measure(server: Any, key: Any, count: int) -> None:
    """Opens them sixteen at once, runs a command on each, and lets them be for ten seconds."""
    from lorry.compute.ssh import Link, connect

    own = psutil.Process()
    links = [await connect(server.address, key, server.host_key)]
    before, began = own.memory_info().rss, time.perf_counter()
    turns = asyncio.Semaphore(16)

    async def one() -> Link:
        async with turns:
            link = await connect(server.address, key, server.host_key, seconds=60)
            assert (await link.run("true")).code == 0
            return link

    links += await asyncio.gather(*(one() for _ in range(count)))
    opened, after, used = time.perf_counter() - began, own.memory_info().rss, sum(own.cpu_times()[:2])
    await asyncio.sleep(10)
    idle = (sum(own.cpu_times()[:2]) - used) / 10
    print(f"{count} links open in {opened:.1f} s, a command run on each")
    print(f"memory of the process {after / 1e6:.0f} MB, {(after - before) / count / 1e3:.0f} kB a link")
    print(f"idle: {100 * idle:.1f} % of a core")
    await asyncio.gather(*(link.close() for link in links))


def main() -> None:
    """Prints three lines."""
    import sshd

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("links", nargs="?", type=int, default=300)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sshd.machine(Path(folder)) as (server, key):
        asyncio.run(measure(server, key, options.links))


if __name__ == "__main__":
    main()
