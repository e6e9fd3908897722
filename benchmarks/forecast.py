"""What runs say after 20 steps that they will take, and what was planned, against what they took, on this processor.

    python benchmarks/forecast.py [CASE ...]

Each case is `recipes/demo.yaml` (SmolLM2-135M, shell commands) with other settings, run by `lorry run` from its start to its
report. All share one new home, so later plans reckon with the speed of earlier runs: the first plan knows the machine's
products of matrices alone. On a machine that does other work too, what counts is how evenly it does that.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from lorry.plan.accuracy import Estimated, estimated
from lorry.track.folder import RunFolder

RECIPE = Path(__file__).parent.parent / "recipes" / "demo.yaml"
CASES: dict[str, list[str]] = {
    "demo": [],
    "demo, fp32": ["model.precision=fp32", "train.steps=60"],
    "small micro-batches": ["train.micro_batch=4", "train.accumulation=4", "train.steps=80", "evaluate.rows=32"],
    "computed twice, often evaluated": ["train.activation_checkpointing=true", "train.eval_every=10", "train.steps=80"],
    "packed, no answers": ["data.packing=true", "data.max_length=512", "train.micro_batch=2", "evaluate.rows=0"],
}


def main() -> None:
    """Prints a line a case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE")
    options = parser.parse_args()
    print(f"{'case':32} {'planned':>9} {'from - to':>17} {'after 20':>9} {'took':>9}   plan  after 20")
    with tempfile.TemporaryDirectory() as home:
        for name in options.cases or CASES:
            print(told(name, timed(Path(home), CASES[name])), flush=True)


def timed(home: Path, settings: list[str]) -> Estimated:
    """A run, from `lorry run` to its report."""
    words = [sys.executable, "-m", "lorry", "run", str(RECIPE), "--new", "-o", "budget.overrun=continue"]
    for setting in settings:
        words += ["-o", setting]
    before = set(home.glob("runs/*"))
    subprocess.run(words, env={**os.environ, "LORRY_HOME": str(home)}, check=True, capture_output=True)
    (folder,) = set(home.glob("runs/*")) - before
    found = estimated(RunFolder(folder))
    if found is None or found.forecast is None:
        raise SystemExit(f"{folder} has no forecast")
    return found


def told(name: str, one: Estimated) -> str:
    """A line of the table, in seconds."""
    span = f"{one.planned.low:,.0f} - {one.planned.high:,.0f}"
    seconds = f"{one.planned.likely:9,.0f} {span:>17} {one.forecast or 0:9,.0f} {one.took:9,.0f}"
    return f"{name:32} {seconds} {one.error:+6.1%} {one.forecast_error or 0:+9.1%}"


if __name__ == "__main__":
    main()
