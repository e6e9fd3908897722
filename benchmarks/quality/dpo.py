"""DPO: how often held-out pairs' chosen answers are likelier, per token, than the other; base model and adapter.

python benchmarks/quality/dpo.py DATA [--set human] [--steps N] [--out FOLDER]
"""

from __future__ import annotations

from common import Json, asked, draw, scores, tell
from pairs import FLAGS, trained_on_pairs

RECIPE: Json = {
    "name": "quality-dpo",
    "method": {"name": "dpo", "beta": 0.05},
    "train": {"micro_batch": 16, "learning_rate": 1e-3, "warmup": 0.1},
    "evaluate": {"rows": 0, "batch_size": 16},
}


def main() -> None:
    """Trains, and prints the figure."""
    wish = asked(__doc__, steps=32, flags=FLAGS)
    done = trained_on_pairs(RECIPE, wish)
    tell(f"dpo, {wish.options.set} pairs, preference accuracy", scores(done)["preference_accuracy"], done)
    title = "pairs with the higher reward for the chosen answer"
    draw(done, "reward_accuracy", title, wish.out / f"dpo-{wish.options.set}.svg")


if __name__ == "__main__":
    main()
