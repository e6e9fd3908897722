"""The rows that a model finds hardest, to be looked at: wrong labels, odd formats, what it has not learned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lorry.data.examples import UNWANTED
from lorry.evaluate.generation import generate
from lorry.evaluate.scoring import last_content
from lorry.evaluate.sides import Measured

if TYPE_CHECKING:
    from lorry.data.prepare import Task
    from lorry.evaluate.score import Evaluation

MOST = 30
_LONGEST_TEXT = 4000
"""Characters shown of a row of raw text."""


def hard_rows(evaluation: Evaluation, adapter: Measured, answers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The worst evaluation rows by the adapter's mean loss per trained token, worst first.

    Each has prompt, prediction, truth, loss, tokens and origin. An answer that was not made before is made now, unless
    the recipe wants no answers; raw text has no prompt and no prediction.
    """
    kinds = _eval(evaluation).kinds
    counted = [row for row in adapter.losses if row.tokens > 0 and kinds[row.index] not in UNWANTED]
    worst = sorted(counted, key=lambda row: (-row.loss_sum / row.tokens, row.index))[:MOST]
    tasks = {task.index: task for task in evaluation.prepared.tasks("eval")}
    known = {row["index"]: row["adapter"] for row in answers if row["split"] == "eval"}
    missing = [row.index for row in worst if row.index in tasks and row.index not in known]
    if missing and evaluation.recipe.evaluate.rows:
        prompts = [evaluation.prompt(tasks[index]) for index in missing]
        made = generate(evaluation.loaded, evaluation.tokenizer, prompts, evaluation.limits)
        known.update(zip(missing, made.texts, strict=True))
    return [
        {
            "loss": row.loss_sum / row.tokens,
            "tokens": row.tokens,
            "prompt": _prompt(tasks.get(row.index)),
            "prediction": known.get(row.index),
            "truth": tasks[row.index].truth if row.index in tasks else _text(evaluation, row.index),
            "origin": str(_eval(evaluation).origin(row.index)),
        }
        for row in worst
    ]


def _prompt(task: Task | None) -> str | None:
    content = task.messages[-1].get("content") if task and task.messages else None
    return last_content(task) if task and isinstance(content, str) else None


def _text(evaluation: Evaluation, index: int) -> str:
    return evaluation.tokenizer.decode(_eval(evaluation)[index].ids.tolist())[:_LONGEST_TEXT]


def _eval(evaluation: Evaluation) -> Any:
    return evaluation.prepared.eval
