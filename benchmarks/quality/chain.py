"""CPT, SFT and DPO, each from the adapter of the one before, in one command; each step's figure against the base model.

    python benchmarks/quality/chain.py DATA [--steps N] [--out FOLDER]

`--steps` is for each of the three. The command line has the same: `lorry run cpt.yaml sft.yaml dpo.yaml`, with
`model.adapter: last` in the last two.
"""

from __future__ import annotations

from argparse import Namespace

from common import MODEL, Asked, Json, asked, draw, rows_in_files, scores, tell, trained
from pairs import pairs

from lorry import Run

CPT: Json = {
    "method": "cpt",
    "train": {"micro_batch": 4, "learning_rate": 5e-4},
    "evaluate": {"rows": 0, "batch_size": 4},
}
SFT: Json = {
    "method": "sft",
    "train": {"micro_batch": 16, "learning_rate": 5e-4},
    "evaluate": {"rows": 0, "batch_size": 32},
}
DPO: Json = {
    "method": {"name": "dpo", "beta": 0.05},
    "train": {"micro_batch": 16, "learning_rate": 1e-3},
    "evaluate": {"rows": 0, "batch_size": 16},
}


def main() -> None:
    """Trains all three, and prints a figure of each."""
    wish = asked(__doc__, steps=10)
    geology = {"train": str(wish.data / "cpt" / "geology.jsonl"), "format": "text", "eval_split": 3, "max_length": 512}
    first = _link("cpt", CPT, {**geology, "packing": True}, wish)
    tell("chain, cpt: loss of geology", scores(first)["loss"], first)
    commands = {"train": str(wish.data / "cli" / "cli_chat.jsonl"), "eval_split": 200, "max_length": 256}
    second = _link("sft", SFT, commands, wish, first)
    tell("chain, sft: loss of bash commands", scores(second)["loss"], second)
    train, held_out = pairs(wish.data, Namespace(set="tone", held_out=200))
    with rows_in_files(train=train, eval=held_out) as files:
        third = _link("dpo", DPO, {**files, "max_length": 512}, wish, second)
    tell("chain, dpo: preference accuracy of tone", scores(third)["preference_accuracy"], third)


def _link(name: str, recipe: Json, data: Json, wish: Asked, before: Run | None = None) -> Run:
    """One run of the chain, from the adapter of the run before."""
    model = MODEL if before is None else {**MODEL, "adapter": str(before.adapter)}
    steps = {**recipe["train"], "warmup": 0.1, "steps": wish.steps, "eval_every": max(wish.steps // 2, 1)}
    done = trained({**recipe, "name": f"quality-chain-{name}", "model": model, "data": data, "train": steps})
    draw(done, "loss", f"loss of {name}", wish.out / f"chain-{name}.svg")
    return done


if __name__ == "__main__":
    main()
