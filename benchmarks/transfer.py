"""What lorry's transfers take against plain `scp`, each way, over loopback.

    python benchmarks/transfer.py [GB] [--rounds 3] [--folder /tmp]

Sends and fetches one file of random bytes by `scp`, by lorry through the system's `ssh`, and by lorry's own connection
(asyncssh) alone, in turns. lorry hashes at both ends, compares and flushes to disk; `scp` does none of that. Each lorry
transfer runs in a process of its own, whose peak memory is told together with that of the `ssh` that it starts. `ratio` is the
median of scp's seconds over lorry's: 1 is as fast, 0.5 takes twice as long.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from statistics import median
from threading import Thread
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

PLACES = {"send": ("here", "there"), "fetch": ("there", "here")}


def main() -> None:
    """Prints every pair, then the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gigabytes", nargs="?", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--child", default="")
    options = parser.parse_args()
    if options.child:
        child(json.loads(options.child))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        measure(Path(folder), int(options.gigabytes * 1e9), options.rounds)


def measure(folder: Path, size: int, rounds: int) -> None:
    """All ways in turns, so that what else the machine does meets all of them."""
    import sshd
    from lorry.compute.ssh import installation_key

    key = installation_key(folder / "home")
    with sshd.running(folder / "sshd", key.public, extra="Subsystem sftp internal-sftp\n") as server:
        source = folder / "source"
        write_random(source, size)
        took: dict[tuple[str, str], list[float]] = {}
        memory: dict[str, float] = {}
        for turn in range(rounds):
            for way in ("send", "fetch"):
                for by in ("scp", "ssh", "asyncssh"):
                    seconds, peak = once(folder, server, key, (way, by))
                    took.setdefault((way, by), []).append(seconds)
                    memory[by] = max(memory.get(by, 0.0), peak)
                    told = "" if by == "scp" else f", peak {peak:.0f} MB"
                    print(
                        f"{turn + 1}. {way:5} {by:8} {seconds:6.2f} s  {size / 1e6 / seconds:5.0f} MB/s{told}",
                        flush=True,
                    )
    print()
    for way in ("send", "fetch"):
        base = median(took[way, "scp"])
        for by in ("ssh", "asyncssh"):
            own = median(took[way, by])
            rates = f"{size / 1e6 / own:.0f} MB/s against scp's {size / 1e6 / base:.0f}"
            print(f"{way:5} lorry by {by:8} ratio {base / own:.2f}  ({rates}; medians of {rounds})")
    print(f"peak memory: lorry with ssh {memory['ssh']:.0f} MB, with asyncssh alone {memory['asyncssh']:.0f} MB")


def once(folder: Path, server: Any, key: Any, kind: tuple[str, str]) -> tuple[float, float]:
    """Seconds, and megabytes of memory, of one transfer to where nothing is yet."""
    way, by = kind
    for place in ("here", "there"):
        shutil.rmtree(folder / place, ignore_errors=True)
        (folder / place).mkdir()
    os.link(folder / "source", folder / PLACES[way][0] / "file")
    os.sync()
    if by == "scp":
        return by_scp(folder, server, key, way), 0.0
    words = {"folder": str(folder), "port": server.port, "user": server.address.user, "host_key": server.host_key}
    told = json.dumps({**words, "way": way, "by": by})
    done = subprocess.run(
        [sys.executable, __file__, "--child", told], capture_output=True, text=True, check=True
    ).stdout.splitlines()[-1]
    seconds, peak = json.loads(done)
    return seconds, peak


def by_scp(folder: Path, server: Any, key: Any, way: str) -> float:
    from lorry.compute.transport.pipes import known_hosts

    known = known_hosts(server.host_key)
    words = ["scp", "-F", "none", "-q", "-P", str(server.port), "-i", str(key.private)]
    words += ["-o", f"UserKnownHostsFile={known}", "-o", "HostKeyAlias=lorry-machine", "-o", "IdentitiesOnly=yes"]
    there = f"{server.address.user}@127.0.0.1:{folder}/there/file"
    ends = [str(folder / "here" / "file"), there]
    began = time.perf_counter()
    subprocess.run([*words, *(ends if way == "send" else reversed(ends))], check=True)
    seconds = time.perf_counter() - began
    known.unlink()
    return seconds


def child(facts: dict) -> None:
    """One transfer in this process."""
    from lorry.compute import transfer
    from lorry.compute.providers._base import Address
    from lorry.compute.ssh import connect, installation_key

    folder = Path(facts["folder"])

    async def run() -> float:
        address = Address("127.0.0.1", facts["port"], facts["user"])
        link = await connect(address, installation_key(folder / "home"), facts["host_key"])
        if facts["by"] == "asyncssh":
            link.system_ssh = None
        elif link.system_ssh is None:
            raise SystemExit("no `ssh` is installed")
        began = time.perf_counter()
        if facts["way"] == "send":
            await transfer.send(link, {"file": folder / "here" / "file"}, str(folder / "there"))
        else:
            rules = transfer.Rules({"file": 1 << 50})
            await transfer.fetch(link, str(folder / "there"), rules, folder / "here")
        seconds = time.perf_counter() - began
        await link.close()
        return seconds

    peaks: list[int] = []
    Thread(target=watch, args=(peaks,), daemon=True).start()
    seconds = asyncio.run(run())
    print(json.dumps([seconds, max(peaks) / 1e6]))


def watch(peaks: list[int]) -> None:
    """Notes the memory of this process and of those it started, twenty times a second."""
    own = psutil.Process()
    while True:
        with suppress(psutil.NoSuchProcess):
            peaks.append(sum(one.memory_info().rss for one in (own, *own.children(recursive=True))))
        time.sleep(0.05)


def write_random(path: Path, size: int) -> None:
    """Random bytes, so that nothing on the way can shrink them."""
    block = os.urandom(1 << 26)
    with path.open("wb") as file:
        for start in range(0, size, len(block)):
            file.write(block[: size - start])


if __name__ == "__main__":
    main()
