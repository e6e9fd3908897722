"""Seconds and peak memory of `lorry check`: on the demo, and on generated chat rows: `python benchmarks/check.py`.

Each recipe is checked in a process of its own with a home of its own, so nothing is prepared before it starts: the time
of the whole command, from the interpreter's start to its exit, counts. The rows are those of `benchmarks/data.py`.
`--profile` prints the seconds of each check by itself instead, one after the other.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from data import peak_megabytes, write

DEMO = Path(__file__).parents[1] / "recipes" / "demo.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000])
    parser.add_argument("--profile", action="store_true", help="the seconds of each check")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        (profile if args.profile else measure)(args.child)
        return
    print(f"{os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as place:
        print(f"demo: {checked(DEMO, Path(place, 'demo'), profile=args.profile)}")
        for rows in args.rows:
            recipe = generated(Path(place), rows)
            print(f"{rows:,} rows: {checked(recipe, Path(place, str(rows)), profile=args.profile)}")


def generated(folder: Path, rows: int) -> Path:
    """A recipe on so many generated rows, and as many hundredths for a test set."""
    write(folder / f"rows-{rows}.jsonl", rows)
    values = yaml.safe_load(DEMO.read_text(encoding="utf-8"))
    values["data"] = {"train": f"rows-{rows}.jsonl", "max_length": 512}
    recipe = folder / f"recipe-{rows}.yaml"
    recipe.write_text(yaml.safe_dump(values), encoding="utf-8")
    return recipe


def checked(recipe: Path, home: Path, *, profile: bool) -> str:
    command = [sys.executable, __file__, "--child", str(recipe), *(["--profile"] if profile else [])]
    began = time.perf_counter()
    environment = {**os.environ, "LORRY_HOME": str(home)}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    if done.returncode:
        return done.stdout + done.stderr
    return f"{time.perf_counter() - began:.1f} s {done.stdout.strip()}"


def measure(recipe: Path) -> None:
    from lorry.cli.main import run

    sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - what the command prints is not looked at
    code = run(["check", str(recipe), "--json"])
    sys.stdout = sys.__stdout__
    print(f"(exit code {code}, peak {peak_megabytes():.0f} MB)")


def profile(recipe: Path) -> None:
    from lorry import plugins
    from lorry.plan.subject import Subject
    from lorry.recipe.load import load

    loaded = load(recipe, [])
    subject = Subject(loaded.recipe, loaded.base)
    began = time.perf_counter()
    _ = subject.source, subject.tokenizer, subject.tensors, subject.hardware
    seconds = {"model": time.perf_counter() - began}
    began = time.perf_counter()
    _ = subject.prepared
    seconds["rows"] = time.perf_counter() - began
    for name in plugins.names("checks"):
        began = time.perf_counter()
        list(plugins.make("checks", name).run(subject))  # pyright: ignore[reportAttributeAccessIssue]
        seconds[f"check {name}"] = time.perf_counter() - began
    print(json.dumps({name: round(one, 2) for name, one in seconds.items()}))


if __name__ == "__main__":
    main()
