"""Precision and attention against this machine's hardware."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar

from lorry.plan.adapter_size import parameters
from lorry.plan.checks._base import Check
from lorry.plan.findings import Explanation, Finding, note, refusal, warning

if TYPE_CHECKING:
    from lorry.plan.hardware import Hardware
    from lorry.plan.subject import Subject
    from lorry.recipe.schema import Recipe

_LARGE_FOR_CPU = 3e9
_FLASH_CAPABILITY = 8.0  # FlashAttention 2's README: Ampere, Ada or Hopper


class PrecisionCheck(Check):
    """Whether this machine computes in the precision that the recipe asks for, and at what pace."""

    of_this_computer: ClassVar[bool] = True
    explains: ClassVar[Mapping[str, Explanation]] = {
        "hardware.gpu-silent": Explanation(
            "There is an NVIDIA driver, and it does not answer.",
            "Training would run on the processor, many times slower.",
            "Install the driver anew, or restart the machine.",
        ),
        "hardware.slow": Explanation(
            "The model has billions of parameters, and there is no GPU.",
            "Training it here would take days.",
            "Use a smaller model or a machine with a GPU; `--smoke` tries ten steps.",
        ),
        "precision.fp16-without-gpu": Explanation(
            "The recipe asks for fp16 on a machine without a GPU.",
            "fp16 needs a loss scaler, which exists on CUDA only.",
            "Set `model.precision: auto`.",
        ),
        "precision.bf16-emulated": Explanation(
            "The recipe asks for bf16, and this hardware has none.",
            "It is emulated, which is several times slower.",
            "Set `model.precision: auto`: older GPUs then use fp16 with a loss scaler, processors fp32.",
        ),
        "precision.auto": Explanation(
            "What `model.precision: auto` means on this machine.",
        ),
        "precision.flash": Explanation(
            "FlashAttention is asked for, and this GPU is too old for it, or there is none.",
            "The model could not be loaded.",
            "Set `model.attention: auto`.",
        ),
        "precision.adamw-8bit": Explanation(
            "`adamw_8bit` needs a GPU; `adamw` is used in its place.",
            "The optimizer takes more memory, little for LoRA.",
            "Nothing, or set `train.optimizer: adamw`.",
        ),
        "precision.quantised-cpu": Explanation(
            "The weights are to be quantised on a machine without a GPU.",
            "It saves memory and costs time: layers are unpacked at each step.",
            "Set `model.quantization: none` where memory allows it.",
        ),
    }

    def run(self, subject: Subject) -> Iterable[Finding]:
        """Compares the recipe with the GPUs, or with the processor where there are none."""
        recipe, hardware = subject.recipe, subject.hardware
        if hardware.gpu_trouble:
            remedy = "install the NVIDIA driver anew, or restart; until then training runs on the processor"
            yield warning("hardware.gpu-silent", hardware.gpu_trouble, remedy=remedy)
        yield from _attention(recipe, hardware)
        if not hardware.gpus:
            yield from _without_gpu(recipe)
        yield from _precision(subject)
        tensors = subject.tensors
        if not hardware.gpus and tensors and parameters(tensors) > _LARGE_FOR_CPU:
            yield warning(
                "hardware.slow",
                "this machine has no GPU: training a model of this size here takes days",
                remedy="use a smaller model, or a machine with a GPU; `--smoke` tries ten steps",
            )


def _precision(subject: Subject) -> Iterable[Finding]:
    hardware, asked = subject.hardware, subject.recipe.model.precision
    if asked == "fp16" and not hardware.gpus:
        yield refusal(
            "precision.fp16-without-gpu",
            "fp16 trains with a loss scaler, on CUDA only, and this machine has no GPU",
            remedy="set model.precision to auto",
            place="model.precision",
        )
    elif asked == "bf16" and not hardware.bf16:
        yield warning(
            "precision.bf16-emulated",
            f"{hardware.gpus[0].name if hardware.gpus else 'this processor'} has no bf16: it is emulated, and slow",
            remedy="set model.precision to auto",
            place="model.precision",
        )
    elif asked == "auto":
        yield _resolved(subject)


def _resolved(subject: Subject) -> Finding:
    """What `auto` means here, by the trainer's own table."""
    from lorry.trainer.precision import decide
    from lorry.trainer.sources.model_folder import read_config

    config = read_config(subject.source.folder, subject.source.id)
    checkpoint = str(config.get("dtype") or config.get("torch_dtype") or "float32")
    device = "cuda" if subject.hardware.gpus else "cpu"
    full = subject.recipe.lora is None
    made = decide("auto", checkpoint, device=device, has_bf16=subject.hardware.bf16, full=full)
    return note("precision.auto", f"weights in {made.weights}: {made.why}", place="model.precision")


def _attention(recipe: Recipe, hardware: Hardware) -> Iterable[Finding]:
    capable = hardware.gpus and all(gpu.capability >= _FLASH_CAPABILITY for gpu in hardware.gpus)
    if recipe.model.attention == "flash" and not capable:
        yield refusal(
            "precision.flash",
            "FlashAttention needs an NVIDIA GPU of the Ampere generation or later",
            remedy="set model.attention to auto",
            place="model.attention",
        )


def _without_gpu(recipe: Recipe) -> Iterable[Finding]:
    if recipe.train.optimizer == "adamw_8bit":
        yield note("precision.adamw-8bit", "adamw_8bit needs a GPU: adamw is used", place="train.optimizer")
    if recipe.model.quantization != "none":
        yield warning(
            "precision.quantised-cpu",
            f"without a GPU {recipe.model.quantization} saves memory and costs time: layers are unpacked at each step",
            remedy="set model.quantization to none where memory allows",
            place="model.quantization",
        )
