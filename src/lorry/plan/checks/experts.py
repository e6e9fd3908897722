"""A mixture's experts: whether they get adapters, what they take, and the loss that evens their load."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from lorry import units
from lorry.plan.adapter_places import Places, Shapes, linear, places, stacks, trouble
from lorry.plan.adapter_size import on_tensors, parameters_of
from lorry.plan.checks._base import Check
from lorry.plan.findings import Explanation, Finding, error, note, warning
from lorry.trainer.mixtures import AUX_LOSS_COEF, can_balance, coefficient, text_settings
from lorry.trainer.sources.model_folder import read_config

if TYPE_CHECKING:
    from lorry.plan.subject import Subject
    from lorry.recipe.lora import LoraSettings
    from lorry.recipe.schema import Recipe

_16_BITS = 2


class ExpertsCheck(Check):
    """What a mixture-of-experts model makes of the recipe, and tensors that are adapted by name."""

    explains: ClassVar[Mapping[str, Explanation]] = {
        "experts.refused": Explanation(
            "The adapter would sit on a mixture's experts, or on other tensors, in a way that PEFT does not make.",
            "The run would end when the adapter is added.",
            "Leave out dropout and DoRA, or set `lora.experts: false` and name other modules.",
        ),
        "experts.missing": Explanation(
            "`lora.target_parameters` names a tensor that the model has not, or one that no adapter can sit on.",
            "PEFT would leave it out, or refuse the adapter.",
            "Take names as they end, such as `experts.down_proj`.",
        ),
        "experts.adapted": Explanation(
            "Every expert gets an adapter of its own.",
            "It is many times larger than one on attention alone, and so are its gradients, states and checkpoints.",
            "Nothing, or set `lora.experts: false`, or a lower `lora.rank`.",
        ),
        "experts.left": Explanation(
            "The experts are trained through: they get no adapter.",
            "`all-linear` means what every token passes: attention, shared experts, dense layers.",
            "Set `lora.experts: true` for adapters on the experts, too.",
        ),
        "experts.unreached": Explanation(
            "Some layers of this mixture are no experts, but have modules of the same names.",
            "PEFT 0.21 takes those names for the experts', so shared experts and dense layers get no adapter.",
            "Nothing.",
        ),
        "experts.whole": Explanation(
            "Quantisation in 4 or 8 bits leaves a mixture's experts as they are.",
            "Transformers keeps all experts of a layer in one tensor, and bitsandbytes packs linear modules alone: nearly all "
            "of the model stays in 16 bits.",
            "Plan memory for it; Unsloth, run by itself, packs experts, too.",
        ),
        "experts.no-aux-loss": Explanation(
            "The recipe asks for the loss that evens a mixture's experts, and this model has none.",
            "The setting would be read by nothing.",
            "Leave out `train.router_aux_loss_coef`.",
        ),
        "experts.aux-loss": Explanation(
            "The loss that evens the experts' load is part of the training, over each whole optimizer step.",
            "Where a step is several micro-batches, each is passed through once more, to count beforehand.",
            "Nothing; `train.router_aux_loss_coef: 0` trains without it.",
        ),
    }

    def run(self, subject: Subject) -> Iterable[Finding]:
        """Reads the names and shapes of the model's tensors, and its configuration."""
        recipe, tensors = subject.recipe, subject.tensors
        config = read_config(subject.source.folder, subject.source.id)
        yield from _aux_loss(recipe, text_settings(config))
        if tensors is None:
            return
        shapes = {name: tensor.shape for name, tensor in tensors.items()}
        kind = str(config.get("model_type", ""))
        if recipe.lora is not None:
            yield from _adapter(recipe.lora, shapes, kind, quantised=recipe.model.quantization != "none")
        if recipe.model.quantization != "none" and stacks(shapes):
            yield _whole(recipe, shapes)


def _adapter(lora: LoraSettings, shapes: Shapes, kind: str, *, quantised: bool) -> Iterable[Finding]:
    found = places(lora, shapes, kind)
    experts = stacks(shapes)
    refused = trouble(lora, found)
    if refused:
        named = experts and lora.experts is None
        remedy = "set lora.experts to false" if named else "leave out what it refuses, or name other modules"
        yield error("experts.refused", f"PEFT refuses this adapter: {refused}", remedy=remedy, place="lora")
        return
    yield from _named(lora, shapes, quantised=quantised)
    if experts:
        yield from _on_experts(lora, found, shapes, kind)


def _named(lora: LoraSettings, shapes: Shapes, *, quantised: bool) -> Iterable[Finding]:
    packed = (
        set(linear({name.removesuffix(".weight"): shape for name, shape in shapes.items()})) if quantised else set()
    )
    for target in lora.target_parameters:
        found = parameters_of([target], shapes)
        if not found:
            why = f"the model has no tensor called `{target}`"
        elif any(len(shape) not in {2, 3} for shape in found.values()):
            why = f"`{target}` is no matrix, nor one for each expert: {list(next(iter(found.values())))}"
        elif any(name.removesuffix(".weight") in packed for name in found):
            why = f"`{target}` is quantised, and takes an adapter as a module alone"
        else:
            continue
        remedy = "name it in lora.target_modules" if "quantised" in why else "take the end of a tensor's name"
        yield error("experts.missing", why, remedy=remedy, place="lora.target_parameters")


def _on_experts(lora: LoraSettings, found: Places, shapes: Shapes, kind: str) -> Iterable[Finding]:
    count = on_tensors(lora, shapes, kind)
    each, layers = _extent(shapes)
    if count:
        told = f"{each} experts in each of {layers} layers get adapters of their own: {units.count(count)} parameters"
        yield note("experts.adapted", told, evidence="lora.experts: false leaves them out", place="lora.experts")
    else:
        told = f"the {each} experts in each of {layers} layers get no adapter"
        yield note("experts.left", told, evidence="lora.experts: true adapts them, too", place="lora.experts")
    if found.unreached:
        told = f"{len(found.unreached)} modules outside of the experts get no adapter: PEFT takes their names for the experts'"
        yield note("experts.unreached", told, evidence=f"such as {found.unreached[0]}", place="lora.target_modules")


def _whole(recipe: Recipe, shapes: Shapes) -> Finding:
    experts = _16_BITS * sum(math.prod(shape) for shape in stacks(shapes).values())
    rest = [shape for name, shape in shapes.items() if name not in stacks(shapes) and ".experts." not in name]
    every = experts + _16_BITS * sum(math.prod(shape) for shape in rest)
    kind = recipe.model.quantization
    return warning(
        "experts.whole",
        f"{kind} leaves the experts in 16 bits: {units.size(experts)} of a model of {units.size(every)}",
        evidence="all experts of a layer are one tensor, and bitsandbytes packs linear modules alone",
        remedy="plan memory for them; Unsloth, run by itself, packs experts, too",
        place="model.quantization",
    )


def _aux_loss(recipe: Recipe, config: Mapping[str, Any]) -> Iterable[Finding]:
    wanted, place = recipe.train.router_aux_loss_coef, "train.router_aux_loss_coef"
    if wanted and not can_balance(config):
        yield error(
            "experts.no-aux-loss",
            f"a `{config.get('model_type')}` model has no loss that evens experts",
            evidence=f"these have one: {', '.join(AUX_LOSS_COEF)}",
            remedy="leave it out",
            place=place,
        )
    weight = coefficient(wanted, config)
    if weight and can_balance(config):
        more = ", with one more forward pass for each micro-batch" if recipe.train.accumulation > 1 else ""
        yield note("experts.aux-loss", f"the loss that evens experts counts {weight:g} times{more}", place=place)


def _extent(shapes: Shapes) -> tuple[int, int]:
    """Experts of a layer, and layers that have any."""
    found = stacks(shapes)
    return next(iter(found.values()))[0], len({name.rpartition(".")[0] for name in found})
