"""Seconds and peak memory of finding near-duplicates, and of converting a diary: `python benchmarks/near_duplicates.py [ROWS ...]`.

Takes files of chat rows, then generated ones: those of `benchmarks/data.py`, of which every tenth is written again with another
word at its end. A generated diary has entries of about 90 words, all different. Each measurement runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from data import peak_megabytes, row

WORDS = [f"word{number}" for number in range(5000)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000])
    parser.add_argument("--entries", type=int, nargs="+", default=[50_000])
    parser.add_argument("--child", nargs=2, metavar=("WHAT", "FILE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        {"search": search, "convert": convert}[args.child[0]](Path(args.child[1]))
        return
    print(f"{os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as place:
        for file in args.files:
            told(file.name, "search", file.resolve(), place)
        for count in args.rows:
            told(f"{count:,} generated rows", "search", chat_rows(Path(place, f"{count}.jsonl"), count), place)
        for count in args.entries:
            told(f"{count:,} diary entries converted", "convert", diary(Path(place, f"d{count}.jsonl"), count), place)


def told(name: str, what: str, file: Path, place: str) -> None:
    command = [sys.executable, __file__, "--child", what, str(file)]
    environment = {**os.environ, "LORRY_HOME": place}
    print(
        f"{name}: {subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout.strip()}",
        flush=True,
    )


def chat_rows(file: Path, count: int) -> Path:
    with file.open("w", encoding="utf-8") as out:
        for index in range(count):
            again = index % 10 == 9
            request, answer = row(index - 9 if again else index)
            turns = [
                {"role": "user", "content": request},
                {"role": "assistant", "content": answer + (" again" if again else "")},
            ]
            out.write(json.dumps({"messages": turns}) + "\n")
    return file


def diary(file: Path, count: int) -> Path:
    draw = random.Random(0)
    with file.open("w", encoding="utf-8") as out:
        for index in range(count):
            text = ". ".join(" ".join(draw.choices(WORDS, k=12)).capitalize() for _ in range(8)) + "."
            day = f"{1900 + index % 120}-{index % 12 + 1:02}-{index % 28 + 1:02}"
            tags = draw.sample(["work", "music", "food", "travel", "family"], 2)
            out.write(
                json.dumps(
                    {"id": index, "timestamp": day, "content": text, "tags": tags, "entities": draw.choices(WORDS, k=2)}
                )
                + "\n"
            )
    return file


def search(file: Path) -> None:
    from lorry.data.alike.repeats import Sketcher, near_repeats

    texts = []
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            turns = json.loads(line)["messages"]
            texts.append((turns[-2]["content"], turns[-1]["content"]))
    began, used = time.perf_counter(), processor_seconds()
    sketcher = Sketcher()
    for text in texts:
        sketcher.add(*text)
    told = sketcher.told(texts.__getitem__)
    sketched, sketched_cpu = time.perf_counter() - began, processor_seconds() - used
    began, used = time.perf_counter(), processor_seconds()
    found = near_repeats(told, 0.8)
    print(
        f"{len(texts):,} rows, sketched in {sketched:.2f} s ({sketched_cpu:.2f} s of CPU), {len(found):,} near-duplicates found and "
        f"compared in {time.perf_counter() - began:.2f} s ({processor_seconds() - used:.2f} s of CPU), peak {peak_megabytes():.0f} MB"
    )


def convert(file: Path) -> None:
    from lorry.cli.main import run

    began, used = time.perf_counter(), processor_seconds()
    arguments = [str(file), "--out", str(file.with_name("rows.jsonl")), "--test", "0.1", "--force", "--json"]
    sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - what the command prints is not looked at
    code = run(["data", "convert", *arguments, "--drop-near-duplicates", "0.8"])
    sys.stdout = sys.__stdout__
    print(
        f"{time.perf_counter() - began:.1f} s ({processor_seconds() - used:.1f} s of CPU), exit code {code}, {file.stat().st_size / 1e6:.0f} MB "
        f"to {file.with_name('rows.jsonl').stat().st_size / 1e6:.0f} MB, peak {peak_megabytes():.0f} MB"
    )


def processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
