"""A reward model: how often it gives the chosen answer of held-out pairs the higher reward, beside chance.

    python benchmarks/quality/reward.py DATA [--set human] [--steps N] [--out FOLDER]

What stands as base is the base model under the same head before training: it guesses.
"""

from __future__ import annotations

from common import Json, asked, draw, scores, tell
from pairs import FLAGS, trained_on_pairs

RECIPE: Json = {
    "name": "quality-reward",
    "method": {"name": "reward", "center": 0.01},
    "train": {"micro_batch": 16, "learning_rate": 3e-4, "warmup": 0.1},
    "evaluate": {"rows": 0, "batch_size": 16},
}


def main() -> None:
    """Trains, and prints the figure."""
    wish = asked(__doc__, steps=20, flags=FLAGS)
    done = trained_on_pairs(RECIPE, wish)
    score = scores(done)["reward_accuracy"]
    tell(f"reward, {wish.options.set} pairs, reward accuracy", score, done)
    title = "pairs with the higher reward for the chosen answer"
    draw(done, "reward_accuracy", title, wish.out / f"reward-{wish.options.set}.svg", 0.5)


if __name__ == "__main__":
    main()
