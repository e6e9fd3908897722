"""PPO: the mean reward of greedy answers to held-out requests, and how far the model moves from where it began.

    python benchmarks/quality/ppo.py DATA [--steps N] [--target-kl NATS] [--out FOLDER]

The requests and the reward are those of `grpo.py`.
"""

from __future__ import annotations

from pathlib import Path

from common import Json, asked, draw, scores, tell, trained

from lorry import Run

LONGEST = 24
"""Tokens of an answer; three of four commands are shorter."""
METHOD: Json = {
    "name": "ppo",
    "rewards": [f"{Path(__file__).parent / 'rewards.py'}:command"],
    "max_new_tokens": LONGEST,
    "epochs": 2,
    "kl_weight": 0.05,
    # The price of moving follows the target within a few rollouts, for there are but a few dozen.
    "kl_horizon": 200,
}
RECIPE: Json = {
    "name": "quality-ppo",
    "train": {"micro_batch": 48, "learning_rate": 1e-3, "schedule": "constant", "warmup": 4},
    "evaluate": {"rows": 128, "batch_size": 64, "max_new_tokens": LONGEST},
}


def main() -> None:
    """Trains, and prints the figures."""
    flag = {"type": float, "default": 8.0, "metavar": "NATS", "help": "divergence an answer that is aimed at (8)"}
    wish = asked(__doc__, steps=24, flags={"--target-kl": flag})
    data = {
        "train": str(wish.data / "cli" / "cli_chat.jsonl"),
        "train_subset": 2000,
        "eval_split": 128,
        "max_length": 256,
    }
    steps = {**RECIPE["train"], "steps": wish.steps, "eval_every": max(wish.steps // 5, 1)}
    method = {**METHOD, "target_kl": wish.options.target_kl}
    done = trained({**RECIPE, "method": method, "data": data, "train": steps})
    score = scores(done)["reward"]
    tell("ppo, mean reward", score, done)
    print(f"ppo, divergence from the base model: {_divergence(done)} aimed at {wish.options.target_kl:g}")
    draw(done, "reward", "mean reward", wish.out / "ppo.svg", score["base"]["value"])
    draw(done, "kl", "nats an answer from the base model", wish.out / "ppo-kl.svg")


def _divergence(done: Run) -> str:
    """Nats an answer, over the rollouts."""
    found = [float(event.data["kl"]) for event in done.events() if event.kind == "rollout"]
    last = found[-max(len(found) // 4, 1) :]
    return (
        f"{sum(last) / len(last):.1f} nats an answer over the last quarter of the rollouts, {max(found):.1f} at most,"
    )


if __name__ == "__main__":
    main()
