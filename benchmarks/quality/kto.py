"""KTO: each pair is two labelled answers; how often held-out pairs' chosen answers are likelier, per token, than the other.

python benchmarks/quality/kto.py DATA [--set human] [--steps N] [--out FOLDER]
"""

from __future__ import annotations

from common import Json, asked, draw, rows_in_files, tell, trained
from pairs import FLAGS, labelled, pairs, preference_accuracy

RECIPE: Json = {
    "name": "quality-kto",
    "method": {"name": "kto", "beta": 0.05},
    "train": {"micro_batch": 32, "learning_rate": 1e-3, "warmup": 0.1},
    "evaluate": {"rows": 0, "batch_size": 16},
}
WATCHED = 64
"""Labelled answers that are evaluated while training; the figure is of all held-out pairs."""


def main() -> None:
    """Trains, and prints the figure."""
    wish = asked(__doc__, steps=20, flags=FLAGS)
    train, held_out = pairs(wish.data, wish.options)
    with rows_in_files(train=labelled(train), eval=labelled(held_out)) as files:
        data = {**files, "max_length": 1536, "eval_subset": WATCHED}
        steps = {**RECIPE["train"], "steps": wish.steps, "eval_every": max(wish.steps // 4, 1)}
        done = trained({**RECIPE, "data": data, "train": steps})
    tell(f"kto, {wish.options.set} pairs, preference accuracy", preference_accuracy(done, held_out), done)
    draw(done, "loss", "loss of kto", wish.out / f"kto-{wish.options.set}.svg")


if __name__ == "__main__":
    main()
