"""Preference pairs for the benchmarks, and how often a model finds the chosen answer likelier."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from common import Asked, Json, rows_in_files, trained

from lorry import Run

FLAGS: dict[str, Json] = {
    "--set": {"choices": ("human", "tone"), "default": "tone", "help": "which pairs (tone)"},
    "--passages": {
        "action": "store_true",
        "help": "keep the passages in front of the questions: four times the tokens",
    },
    "--held-out": {"type": int, "default": 200, "help": "pairs that are never trained on (200)"},
}


def trained_on_pairs(recipe: Json, wish: Asked) -> Run:
    """A run on the pairs that the command line asks for; the held-out ones are its evaluation rows."""
    train, held_out = pairs(wish.data, wish.options)
    steps = {**recipe["train"], "steps": wish.steps, "eval_every": -(-wish.steps // 3)}
    with rows_in_files(train=train, eval=held_out) as files:
        return trained({**recipe, "data": {**files, "max_length": 1536}, "train": steps})


def pairs(data: Path, options: Any) -> tuple[list[Json], list[Json]]:
    """Those that are trained on, and those that are held out; pairs of one prompt stay on one side.

    `tone`: the more polite of two answers (`preference/raw/instruction_with_preference.json`). `human`: which of two answers
    of one model people preferred (`preference/qa_feedback_pairs.jsonl`).
    """
    found = _human(data, passages=options.passages) if options.set == "human" else _tone(data)
    prompts = sorted({_prompt(row) for row in found})
    random.Random(0).shuffle(prompts)
    held_out: list[Json] = []
    for prompt in prompts:
        if len(held_out) < options.held_out:
            held_out += [row for row in found if _prompt(row) == prompt]
    chosen = {_prompt(row) for row in held_out}
    return [row for row in found if _prompt(row) not in chosen], held_out


def _prompt(row: Json) -> str:
    return json.dumps(row["prompt"])


def _human(data: Path, *, passages: bool) -> list[Json]:
    lines = (data / "preference" / "qa_feedback_pairs.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return [
        {
            "prompt": row["prompt"] if passages else row["prompt"][-1]["content"].rpartition("Question:")[2].strip(),
            "chosen": row["chosen"],
            "rejected": row["rejected"],
        }
        for row in rows
    ]


def _tone(data: Path) -> list[Json]:
    rows = json.loads((data / "preference" / "raw" / "instruction_with_preference.json").read_text(encoding="utf-8"))
    return [
        {
            "prompt": "\n".join(part for part in (row["instruction"], row["input"]) if part),
            "chosen": row["chosen"],
            "rejected": row["rejected"],
        }
        for row in rows
        if row["chosen"].strip() != row["rejected"].strip()
    ]


def labelled(rows: list[Json]) -> list[Json]:
    """Each answer of each pair by itself, labelled."""
    return [
        {"messages": [*_turns(row["prompt"], "user"), *_turns(row[side], "assistant")], "label": side == "chosen"}
        for row in rows
        for side in ("chosen", "rejected")
    ]


def _turns(content: Any, role: str) -> list[Json]:
    return [{"role": role, "content": content}] if isinstance(content, str) else content


def preference_accuracy(done: Run, held_out: list[Json]) -> Json:
    """The score of the same name that runs on pairs have, for a run that was not trained on pairs."""
    from lorry.data.prepare import prepare
    from lorry.evaluate import scoring
    from lorry.evaluate.opening import find, open_found
    from lorry.evaluate.sides import SIDES, Side
    from lorry.trainer.row_loss import RowLoss, row_losses

    opened = open_found(find(str(done.folder.path)))
    recipe = opened.found.recipe
    with rows_in_files(pairs=held_out) as files:
        only = {"train": files["pairs"], "eval": None, "eval_split": 0.0, "eval_subset": None}
        data = recipe.data.model_copy(update=only)
        as_pairs = recipe.model_copy(update={"data": data, "method": {"name": "dpo"}})
        examples = prepare(as_pairs, opened.found.base, opened.tokenizer).train
    losses: dict[Side, list[RowLoss]] = {}
    for side in SIDES:
        with opened.side(side) as model, model.answering():
            losses[side] = row_losses(model, examples, range(len(examples)), 16)
    return scoring.preferences(losses, examples.kinds)["preference_accuracy"]
