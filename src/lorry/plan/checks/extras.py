"""What must be installed for this recipe, and is not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar

from lorry.evaluate import harness
from lorry.evaluate.chosen import metrics_of
from lorry.evaluate.metrics._base import cause_and_remedy
from lorry.plan.checks._base import Check
from lorry.plan.findings import Explanation, Finding, error, warning
from lorry.plan.subject import UnavailableError
from lorry.trainer import watched

if TYPE_CHECKING:
    from lorry.plan.subject import Subject
    from lorry.recipe.schema import Recipe

TRAINING = ("torch", "transformers", "peft", "accelerate")

_UNPACKERS = {
    "gptq": ("gptqmodel", "optimum"),
    "awq": ("gptqmodel",),
    "compressed-tensors": ("compressed_tensors",),
    "bitsandbytes": ("bitsandbytes",),
    "hqq": ("hqq",),
    "quanto": ("optimum",),
    "torchao": ("torchao",),
    "aqlm": ("aqlm",),
}
"""Packages that Transformers 5.23 asks for by the method a checkpoint was quantised with (its quantizers/)."""


class ExtrasCheck(Check):
    """Whether the packages and programs that the recipe needs are here."""

    of_this_computer: ClassVar[bool] = True
    explains: ClassVar[Mapping[str, Explanation]] = {
        "extras.train": Explanation(
            "Packages that training needs are not installed.",
            "Without them nothing can be trained.",
            "`pip install 'lorry[train]'`",
        ),
        "extras.bitsandbytes": Explanation(
            "The recipe asks for quantised weights or an 8-bit optimizer, and bitsandbytes is not installed.",
            "Both come from this package.",
            "`pip install bitsandbytes`, or set `model.quantization: none` and `train.optimizer: adamw`.",
        ),
        "extras.quantised": Explanation(
            "The model comes quantised by a method whose package is not installed.",
            "The model could not be loaded.",
            "Install the package, or take the unquantised model with `model.quantization: nf4`.",
        ),
        "extras.flash": Explanation(
            "The recipe asks for FlashAttention, and flash-attn is not installed.",
            "The model could not be loaded.",
            "`pip install flash-attn --no-build-isolation`, or set `model.attention: auto`.",
        ),
        "extras.vllm": Explanation(
            "The method's answers are to be made by vLLM, which is not installed.",
            "The run would end before its first step.",
            "`pip install vllm` on a machine with a CUDA GPU (it brings the torch that it was built for), or leave "
            "`method.engine` out.",
        ),
        "extras.harness": Explanation(
            "The recipe names benchmarks of lm-evaluation-harness, which is not installed.",
            "They would not be scored.",
            "`pip install 'lorry[harness]'`, or leave `evaluate.harness` out.",
        ),
        "extras.metric": Explanation(
            "A metric needs a program or a package that is not here.",
            "It would give no scores.",
            "Install what the finding names, or leave the metric out.",
        ),
    }

    def run(self, subject: Subject) -> Iterable[Finding]:
        """Looks for packages without importing them."""
        recipe = subject.recipe
        missing = [name for name in TRAINING if find_spec(name) is None]
        if missing:
            yield error(
                "extras.train",
                f"training needs {', '.join(missing)}",
                remedy="pip install 'lorry[train]'",
            )
        if _needs_bitsandbytes(recipe, gpu=bool(subject.hardware.gpus)) and find_spec("bitsandbytes") is None:
            yield error("extras.bitsandbytes", "quantised weights need bitsandbytes", remedy="pip install bitsandbytes")
        yield from _quantised(subject)
        if recipe.model.attention == "flash" and find_spec("flash_attn") is None:
            yield error(
                "extras.flash",
                "model.attention: flash needs flash-attn",
                remedy="pip install flash-attn --no-build-isolation, or set model.attention to auto",
                place="model.attention",
            )
        if recipe.method.get("engine") == "vllm" and find_spec("vllm") is None:
            remedy = "pip install vllm, or leave method.engine out"
            yield error("extras.vllm", "method.engine: vllm needs vLLM", remedy=remedy, place="method.engine")
        if recipe.evaluate.harness and (why := harness.unavailable()):
            told, _, remedy = why.partition(": ")
            yield warning("extras.harness", told, remedy=remedy, place="evaluate.harness")
        yield from _metrics(subject)


def _needs_bitsandbytes(recipe: Recipe, *, gpu: bool) -> bool:
    return recipe.model.quantization != "none" or (gpu and recipe.train.optimizer == "adamw_8bit")


def _quantised(subject: Subject) -> Iterable[Finding]:
    """A checkpoint that comes quantised needs the package that made it."""
    from lorry.trainer.sources.model_folder import read_config

    try:
        config = read_config(subject.source.folder, subject.source.id)
    except UnavailableError:
        return
    made: Any = config.get("quantization_config")
    method = str(made.get("quant_method")) if isinstance(made, dict) else ""
    missing = [name for name in _UNPACKERS.get(method, ()) if find_spec(name) is None]
    if missing:
        yield error(
            "extras.quantised",
            f"the model comes quantised with {method}, which needs {', '.join(missing)}",
            remedy=f"pip install {' '.join(missing)}, or take the unquantised model with `model.quantization: nf4`",
            place="model.id",
        )


def _metrics(subject: Subject) -> Iterable[Finding]:
    recipe = subject.recipe
    for name, metric in metrics_of(recipe.evaluate.metrics, subject.base).items():
        why = metric.unavailable()
        if why:
            message, remedy = cause_and_remedy(why)
            message = f"the metric `{name}` gives no scores: {message}"
            needed = {*watched.named(recipe).values(), *recipe.evaluate.gates}
            found = error if metric.about.keys() & needed else warning
            yield found("extras.metric", message, remedy=remedy, place="evaluate.metrics")
