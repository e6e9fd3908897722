"""Continued pre-training: the perplexity of held-out chapters on geology; base model and adapter.

python benchmarks/quality/cpt.py DATA [--steps N] [--out FOLDER]
"""

from __future__ import annotations

from common import Json, asked, draw, scores, tell, trained

RECIPE: Json = {
    "name": "quality-cpt",
    "method": "cpt",
    "lora": {"rank": 32, "alpha": 64, "target_modules": "all-linear"},
    "train": {"micro_batch": 4, "learning_rate": 1e-3, "warmup": 0.1},
    "evaluate": {"rows": 0, "batch_size": 4},
}


def main() -> None:
    """Trains, and prints the figure."""
    wish = asked(__doc__, steps=24)
    source = str(wish.data / "cpt" / "geology.jsonl")
    data = {"train": source, "format": "text", "eval_split": 5, "max_length": 512, "packing": True}
    steps = {**RECIPE["train"], "steps": wish.steps, "eval_every": max(wish.steps // 4, 1)}
    done = trained({**RECIPE, "data": data, "train": steps})
    found = scores(done)
    tell("cpt, perplexity of geology", found["perplexity"], done)
    draw(done, "loss", "loss, nats per token", wish.out / "cpt.svg", found["loss"]["base"]["value"])


if __name__ == "__main__":
    main()
