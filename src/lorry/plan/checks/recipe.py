"""Settings of a recipe that do not go together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar

from lorry.plan.checks._base import Check
from lorry.plan.findings import Explanation, Finding, error, note, warning
from lorry.trainer import watched

if TYPE_CHECKING:
    from lorry.plan.subject import Subject
    from lorry.recipe.schema import Recipe

_HIGH_RATE = {"lora": 5e-3, "full": 5e-4}
"""Learning rates above which training commonly diverges; LoRA bears ten times more (thinkingmachines.ai/blog/lora)."""


class RecipeCheck(Check):
    """Settings that contradict each other, or that nothing would read."""

    explains: ClassVar[Mapping[str, Explanation]] = {
        "recipe.full-quantized": Explanation(
            "All weights are to be trained, and are to be quantised too.",
            "Quantised weights are frozen: they cannot be trained.",
            "Train an adapter (`lora: {}`), or set `model.quantization: none`.",
        ),
        "recipe.full-adapter": Explanation(
            "`lora: null` trains all weights, and `model.adapter` names an earlier adapter.",
            "There is no adapter to continue.",
            "Leave out one of the two.",
        ),
        "recipe.learning-rate": Explanation(
            "The learning rate is one at which training commonly diverges.",
            "The loss explodes, and the run is lost.",
            "Start from 2e-4 for LoRA, from 1e-5 for all weights.",
        ),
        "recipe.remote-code": Explanation(
            "`model.trust_remote_code` lets Python that comes with the model run.",
            "It runs with your rights, and its author may change it at any time.",
            "Read the code, and pin `model.revision` to the commit that you have read.",
        ),
        "recipe.budget-without-price": Explanation(
            "`budget.usd` is set, and nobody says what an hour of this machine costs.",
            "The budget could not be kept.",
            "Set `budget.price_per_hour`, or `budget.hours`.",
        ),
        "recipe.no-eval-rows": Explanation(
            "Metrics are named, and there are no rows to score.",
            "No metric would give a number.",
            "Set `data.eval_split: 0.1`, or name rows in `data.eval` or `data.test`.",
        ),
        "recipe.metrics-need-answers": Explanation(
            "Metrics are named, and the method trains a reward model.",
            "Metrics score answers, and a reward model gives none: it is scored by `reward_accuracy`, unasked.",
            "Leave out `evaluate.metrics`, and let early stopping watch the loss.",
        ),
        "recipe.deliver-last": Explanation(
            "Without evaluation rows nobody knows which weights are best; the last are delivered.",
            "",
            "Nothing, or set `data.eval_split`.",
        ),
        "recipe.eval-every": Explanation(
            "The run ends before its first evaluation.",
            "Nothing is seen of it but the training loss.",
            "Set `train.eval_every` to a quarter of the steps.",
        ),
        "recipe.save-every": Explanation(
            "The run ends before its first checkpoint by steps.",
            "A crash would lose more than it needs to.",
            "Set `train.save_every` to a quarter of the steps.",
        ),
        "recipe.not-evaluated": Explanation(
            "What is to decide which step is best, or when to stop early, is nothing that evaluations during training give.",
            "No step would ever be the best, and training would never stop.",
            "Name `loss`, what the method tells, or a metric of `evaluate.metrics`.",
        ),
        "recipe.early-stop-without-rows": Explanation(
            "Early stopping has no evaluation rows to watch.",
            "It would never stop.",
            "Set `data.eval_split: 0.1`.",
        ),
        "recipe.warmup": Explanation(
            "The learning rate rises for as many steps as the run has, or more.",
            "The run never trains at its learning rate.",
            "Set `train.warmup` to a share such as 0.1.",
        ),
        "recipe.no-sharing": Explanation(
            "Rows do not share the computation of their common beginnings, because of dropout.",
            "The run is slower than it could be, and otherwise the same.",
            "Set `lora.dropout: 0` if speed matters more.",
        ),
        "recipe.unused-chat-template": Explanation(
            "`data.chat_template` is set for a method that learns raw text.",
            "Nothing reads it.",
            "Leave it out, or use `method: sft`.",
        ),
        "recipe.unused-template-args": Explanation(
            "`data.template_args` is set for a method that learns raw text.",
            "Nothing reads it.",
            "Leave it out, or use `method: sft`.",
        ),
    }

    def run(self, subject: Subject) -> Iterable[Finding]:
        """Looks at the recipe alone."""
        recipe = subject.recipe
        yield from _weights(recipe)
        yield from _budget(recipe)
        yield from _evaluation(recipe)
        yield from _watched(recipe)
        yield from _lengths(recipe)
        yield from _sharing(recipe)
        if subject.method.accepts == {"text"}:
            yield from _raw_text(recipe)
        if subject.method.head == "score":
            yield from _no_answers(recipe)


def _weights(recipe: Recipe) -> Iterable[Finding]:
    """What is trained: an adapter, or all weights."""
    if recipe.lora is None and recipe.model.quantization != "none":
        yield error(
            "recipe.full-quantized",
            f"all weights cannot be trained while they are quantised to {recipe.model.quantization}",
            remedy="train an adapter (`lora: {}`), or set model.quantization to none",
            place="model.quantization",
        )
    if recipe.lora is None and recipe.model.adapter is not None:
        yield error(
            "recipe.full-adapter",
            "an earlier adapter is named, and `lora: null` trains all weights",
            remedy="leave out model.adapter, or `lora: null`",
            place="model.adapter",
        )
    kind = "lora" if recipe.lora else "full"
    if recipe.train.learning_rate > _HIGH_RATE[kind]:
        yield warning(
            "recipe.learning-rate",
            f"a learning rate of {recipe.train.learning_rate:g} is likely to diverge",
            remedy=f"start from {'2e-4' if recipe.lora else '1e-5'}",
            place="train.learning_rate",
        )
    if recipe.model.trust_remote_code:
        yield warning(
            "recipe.remote-code",
            f"Python that comes with {recipe.model.id} will run with your rights",
            remedy="pin model.revision to a commit that you have read",
            place="model.trust_remote_code",
        )


def _budget(recipe: Recipe) -> Iterable[Finding]:
    if recipe.budget.usd is not None and not recipe.budget.price_per_hour and recipe.compute.is_here:
        yield error(
            "recipe.budget-without-price",
            f"a budget of ${recipe.budget.usd:g} cannot be kept without knowing what an hour costs",
            remedy="set budget.price_per_hour, or limit budget.hours instead",
            place="budget.usd",
        )


def _evaluation(recipe: Recipe) -> Iterable[Finding]:
    data, train = recipe.data, recipe.train
    held_back = data.eval is not None or (data.eval_split > 0 and data.eval_subset != 0)
    if not held_back and data.test is None and recipe.evaluate.metrics:
        yield warning(
            "recipe.no-eval-rows",
            "metrics are named, and there are no rows to score: no data.eval, no data.test, data.eval_split is 0",
            remedy="set data.eval_split to 0.1",
            place="evaluate.metrics",
        )
    if not held_back and train.deliver == "best":
        yield note(
            "recipe.deliver-last", "without evaluation rows the last weights are delivered", place="train.deliver"
        )
    if train.steps is None:
        return
    for name, code in (("eval_every", "recipe.eval-every"), ("save_every", "recipe.save-every")):
        every: int | None = getattr(train, name)
        if every is not None and every > train.steps and (held_back or name == "save_every"):
            yield warning(
                code,
                f"{name} is {every}, and the run has {train.steps} steps",
                remedy=f"set train.{name} to {max(1, train.steps // 4)}",
                place=f"train.{name}",
            )


def _watched(recipe: Recipe) -> Iterable[Finding]:
    data = recipe.data
    given = watched.given(recipe)
    for place, name in watched.named(recipe).items():
        if name not in given:
            message, remedy = watched.not_given(recipe, name)
            yield error("recipe.not-evaluated", message, remedy=remedy, place=place)
    if recipe.train.early_stop and data.eval is None and (not data.eval_split or data.eval_subset == 0):
        yield warning(
            "recipe.early-stop-without-rows",
            "early stopping has no evaluation rows to watch, so it never stops",
            remedy="set data.eval_split to 0.1",
            place="train.early_stop",
        )


def _lengths(recipe: Recipe) -> Iterable[Finding]:
    train = recipe.train
    if train.steps is not None and train.warmup >= 1 and train.warmup >= train.steps:
        yield warning(
            "recipe.warmup",
            f"the learning rate rises for {train.warmup:g} steps, and the run has {train.steps}",
            remedy="set train.warmup to 0.1",
            place="train.warmup",
        )


def _sharing(recipe: Recipe) -> Iterable[Finding]:
    """Why rows will not share their beginnings, although the recipe lets them."""
    lets = recipe.train.share_prefixes and recipe.model.attention == "auto"
    if lets and recipe.lora is not None and recipe.lora.dropout > 0:
        message = "rows will not share the computation of their common beginnings, since lora.dropout is above 0"
        yield note("recipe.no-sharing", message, place="train.share_prefixes")


def _no_answers(recipe: Recipe) -> Iterable[Finding]:
    """Metrics of answers in a recipe of a model that makes none."""
    if recipe.evaluate.metrics:
        names = ", ".join(f"`{metric['name']}`" for metric in recipe.evaluate.metrics)
        yield error(
            "recipe.metrics-need-answers",
            f"{names} would need answers, and a reward model gives none",
            remedy="leave out evaluate.metrics: `reward_accuracy` is always scored",
            place="evaluate.metrics",
        )


def _raw_text(recipe: Recipe) -> Iterable[Finding]:
    """Settings of conversations in a recipe that has none."""
    unused = {"chat_template": "recipe.unused-chat-template", "template_args": "recipe.unused-template-args"}
    for name, code in unused.items():
        if getattr(recipe.data, name):
            yield warning(
                code,
                f"data.{name} has no effect: `{recipe.method['name']}` learns raw text",
                remedy="leave it out",
                place=f"data.{name}",
            )
