"""Seconds and peak memory of `lorry check` and `lorry plan`: on the demo, and on generated chat rows: `python benchmarks/check.py`.

Each recipe is checked in processes of their own that share a home of its own: first as on a new machine, where the
model is fetched and converted once and rows are rendered; then with other rows held back, so that they are rendered anew;
then again as it is; and then it is planned. The time of the whole command counts, from the interpreter's start to its exit, and its processor
time, which other work on the machine disturbs less. The rows are those of `benchmarks/data.py`. `--profile` prints the
seconds of each check by itself instead, one after the other.
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

import yaml

from data import peak_megabytes, write

WHEN = [
    ("for the first time", "check", 1),
    ("rows rendered anew", "check", 2),
    ("again", "check", 2),
    ("once its tokens are counted", "plan", 2),
]
DEMO = Path(__file__).parents[1] / "recipes" / "demo.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000])
    parser.add_argument("--profile", action="store_true", help="the seconds of each check")
    parser.add_argument("--command", default="check", help=argparse.SUPPRESS)
    parser.add_argument("--child", nargs=2, metavar=("RECIPE", "SEED"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        recipe, seed = Path(args.child[0]), int(args.child[1])
        profile(recipe, seed) if args.profile else measure(args.command, recipe, seed)
        return
    print(f"{os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as place:
        told(DEMO, Path(place), "demo", profile=args.profile)
        for rows in args.rows:
            told(generated(Path(place), rows), Path(place), f"{rows:,} rows", profile=args.profile)


def told(recipe: Path, home: Path, name: str, *, profile: bool) -> None:
    if profile:
        print(f"{name}: {in_a_child(recipe, home, ['--profile'], 1)}", flush=True)
        return
    for when, command, seed in WHEN:
        print(f"{command} of {name}, {when}: {in_a_child(recipe, home, ['--command', command], seed)}", flush=True)


def generated(folder: Path, rows: int) -> Path:
    """A recipe on so many generated rows, and as many hundredths for a test set."""
    write(folder / f"rows-{rows}.jsonl", rows)
    values = yaml.safe_load(DEMO.read_text(encoding="utf-8"))
    values["data"] = {"train": f"rows-{rows}.jsonl", "max_length": 512}
    recipe = folder / f"recipe-{rows}.yaml"
    recipe.write_text(yaml.safe_dump(values), encoding="utf-8")
    return recipe


def in_a_child(recipe: Path, home: Path, flags: list[str], seed: int) -> str:
    command = [sys.executable, __file__, "--child", str(recipe), str(seed), *flags]
    began, used = time.perf_counter(), processor_seconds()
    environment = {**os.environ, "LORRY_HOME": str(home / "home")}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    if done.returncode:
        return done.stdout + done.stderr
    seconds, busy = time.perf_counter() - began, processor_seconds() - used
    return f"{seconds:.1f} s, {busy:.1f} s of CPU {done.stdout.strip()}"


def processor_seconds() -> float:
    """What child processes that have ended used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(command: str, recipe: Path, seed: int) -> None:
    from lorry.cli.main import run

    sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - what the command prints is not looked at
    code = run([command, str(recipe), "--json", "-o", f"data.split_seed={seed}"])
    sys.stdout = sys.__stdout__
    print(f"(exit code {code}, peak {peak_megabytes():.0f} MB)")


def profile(recipe: Path, seed: int) -> None:
    from lorry import plugins
    from lorry.plan.subject import Subject
    from lorry.recipe.load import load

    loaded = load(recipe, [f"data.split_seed={seed}"])
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
