"""ORPO: how often held-out pairs' chosen answers are likelier, per token, than the other; base model and adapter.

python benchmarks/quality/orpo.py DATA [--set human] [--steps N] [--out FOLDER]
"""

from __future__ import annotations

from common import Json, asked, draw, scores, tell
from pairs import FLAGS, trained_on_pairs

RECIPE: Json = {
    "name": "quality-orpo",
    # The odds ratio weighs more than the paper's 0.1, for there are only a few steps; 0.1 was not tried.
    "method": {"name": "orpo", "beta": 1.0, "learn": "answer"},
    "train": {"micro_batch": 16, "learning_rate": 1e-3, "warmup": 0.1},
    "evaluate": {"rows": 0, "batch_size": 16},
}


def main() -> None:
    """Trains, and prints the figure."""
    wish = asked(__doc__, steps=20, flags=FLAGS)
    done = trained_on_pairs(RECIPE, wish)
    score = scores(done)["preference_accuracy"]
    tell(f"orpo, {wish.options.set} pairs, preference accuracy", score, done)
    # Without a reference, the answer with the higher reward is the likelier one: the curve is of the figure itself.
    title = "pairs whose chosen answer is likelier"
    draw(done, "reward_accuracy", title, wish.out / f"orpo-{wish.options.set}.svg", score["base"]["value"])


if __name__ == "__main__":
    main()
