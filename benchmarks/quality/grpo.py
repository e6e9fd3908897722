"""GRPO: the mean reward of greedy answers to held-out requests; base model and adapter.

    python benchmarks/quality/grpo.py DATA [--steps N] [--out FOLDER]

The model is asked for bash commands (`cli/cli_chat.jsonl`), never shown one, and rewarded by `rewards.py`.
"""

from __future__ import annotations

from pathlib import Path

from common import Json, asked, draw, scores, tell, trained

LONGEST = 24
"""Tokens of an answer; three of four commands are shorter."""
RECIPE: Json = {
    "name": "quality-grpo",
    "method": {
        "name": "grpo",
        "rewards": [f"{Path(__file__).parent / 'rewards.py'}:command"],
        "group_size": 8,
        "max_new_tokens": LONGEST,
    },
    # 64 answers a step: 8 to each of 8 requests.
    "train": {"micro_batch": 64, "learning_rate": 1e-3, "schedule": "constant", "warmup": 3},
    "evaluate": {"rows": 128, "batch_size": 64, "max_new_tokens": LONGEST},
}


def main() -> None:
    """Trains, and prints the figure."""
    wish = asked(__doc__, steps=12)
    data = {
        "train": str(wish.data / "cli" / "cli_chat.jsonl"),
        "train_subset": 2000,
        "eval_split": 128,
        "max_length": 256,
    }
    steps = {**RECIPE["train"], "steps": wish.steps, "eval_every": max(wish.steps // 4, 1)}
    done = trained({**RECIPE, "data": data, "train": steps})
    score = scores(done)["reward"]
    tell("grpo, mean reward", score, done)
    draw(done, "reward", "mean reward", wish.out / "grpo.svg", score["base"]["value"])


if __name__ == "__main__":
    main()
