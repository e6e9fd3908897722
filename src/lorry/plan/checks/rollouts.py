"""Learning from the model's own answers: whether there is room for them, and whether they come in whole groups."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar

from lorry.plan.checks._base import Check
from lorry.plan.findings import Explanation, Finding, error, note
from lorry.trainer.methods._rollouts import FromRollouts
from lorry.trainer.rollouts.vllm_engine import unfit

if TYPE_CHECKING:
    from lorry.plan.subject import Subject
    from lorry.recipe.schema import TrainSettings


class RolloutsCheck(Check):
    """Whether the model's own answers fit into the lengths and the steps of the recipe."""

    explains: ClassVar[Mapping[str, Explanation]] = {
        "rollouts.groups": Explanation(
            "The answers of a step, `train.micro_batch` x `train.accumulation`, are no whole groups of `group_size`.",
            "An answer is compared with the others to the same prompt, so a group is trained on in one step.",
            "Set the product to a multiple of `method.group_size`.",
        ),
        "rollouts.no-room": Explanation(
            "`data.max_length` leaves no room for a prompt and an answer of `method.max_new_tokens`.",
            "Every row would be left out.",
            "Raise `data.max_length`, or lower `method.max_new_tokens`.",
        ),
        "rollouts.vllm": Explanation(
            "`method.engine: vllm` cannot make the answers that this recipe learns from.",
            "vLLM is given an adapter in a form that it knows, on a base that it quantises as training does.",
            "Leave `method.engine` out: Transformers makes the answers then.",
        ),
        "rollouts.packing": Explanation(
            "`data.packing` means nothing for methods that have the model answer.",
            "Answers to one prompt share it anyway, and how long they get is not known before.",
            "Leave it out.",
        ),
        "rollouts.dropout": Explanation(
            "`lora.dropout` is above 0, and answers are made and measured without it.",
            "The adapter that learns then differs from the one that answered: more noise, and a ratio that is not 1.",
            "Set `lora.dropout: 0`, which also lets answers share their prompt.",
        ),
    }

    def run(self, subject: Subject) -> Iterable[Finding]:
        """Looks at the recipe alone."""
        recipe, method = subject.recipe, subject.method
        if not isinstance(method, FromRollouts):
            return
        yield from _groups(recipe.train, method.group)
        if method.max_new_tokens >= recipe.data.max_length:
            yield error(
                "rollouts.no-room",
                f"answers of {method.max_new_tokens:,} tokens leave no room for a prompt within {recipe.data.max_length:,}",
                remedy="raise data.max_length, or lower method.max_new_tokens",
                place="data.max_length",
            )
        if method.engine == "vllm" and (why := unfit(recipe)):
            yield error("rollouts.vllm", why, remedy="leave method.engine out", place="method.engine")
        if recipe.data.packing:
            message = "packing means nothing here: answers to one prompt share it anyway"
            yield note("rollouts.packing", message, place="data.packing")
        if recipe.lora is not None and recipe.lora.dropout > 0:
            message = f"answers are made and measured without dropout, and learnt from with {recipe.lora.dropout:g}"
            yield note("rollouts.dropout", message, place="lora.dropout")


def _groups(train: TrainSettings, group: int) -> Iterable[Finding]:
    answers = train.micro_batch * train.accumulation
    if answers % group:
        near = -(-answers // group) * group
        yield error(
            "rollouts.groups",
            f"{train.micro_batch} x {train.accumulation} answers a step are no whole groups of {group}",
            remedy=f"set train.micro_batch x train.accumulation to a multiple of {group}, such as {near}",
            place="train.accumulation",
        )
