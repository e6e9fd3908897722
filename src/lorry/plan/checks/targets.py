"""The modules that the adapter sits on: whether the model has them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING

from lorry import units
from lorry.plan.adapter_size import linear, lora_parameters, matching, modules, targeted
from lorry.plan.checks._base import Check
from lorry.plan.findings import Finding, error, note, warning

if TYPE_CHECKING:
    from lorry.plan.subject import Subject
    from lorry.trainer.sources.tensors import Tensor

Shapes = Mapping[str, tuple[int, ...]]
_PLACE = "lora.target_modules"


class TargetsCheck(Check):
    """Whether `lora.target_modules` names modules of this model, and how large the adapter becomes."""

    def run(self, subject: Subject) -> Iterable[Finding]:
        """Reads the names of the model's tensors from the headers of its files."""
        lora = subject.recipe.lora
        if lora is None:
            return
        tensors = subject.tensors
        if tensors is None:
            message = "the modules' names could not be read before the weights are here"
            yield note("targets.unknown-names", message, place=_PLACE)
            return
        shapes = modules(tensors)
        if lora.target_modules != "all-linear":
            for target in lora.target_modules:
                yield from _of(target, shapes)
        yield from _experts(tensors, quantised=subject.recipe.model.quantization != "none")
        count = lora_parameters(lora, shapes)
        if count:
            on = len(targeted(lora, shapes))
            yield note("targets.size", f"the adapter has {units.count(count)} parameters on {on} modules", place=_PLACE)


def _of(target: str, shapes: Shapes) -> Iterable[Finding]:
    found = matching(target, shapes)
    if not found:
        leaves = sorted({name.rpartition(".")[2] for name in linear(shapes)})
        near = get_close_matches(target, leaves, n=1)
        yield error(
            "targets.missing",
            f"the model has no module called `{target}`",
            remedy=f"did you mean `{near[0]}`?" if near else "see the list of its modules, or use all-linear",
            evidence=f"it has: {', '.join(leaves)}",
            place=_PLACE,
        )
    elif not any(len(shapes[name]) >= 2 for name in found):
        yield error(
            "targets.no-matrix",
            f"`{target}` has no matrix to adapt: {found[0]} has the shape {list(shapes[found[0]])}",
            remedy="leave it out",
            place=_PLACE,
        )


def _experts(tensors: Mapping[str, Tensor], *, quantised: bool) -> Iterable[Finding]:
    """Mixture-of-experts weights that Transformers keeps as one parameter for all experts, not as linear modules."""
    experts = [name for name, tensor in tensors.items() if len(tensor.shape) == 3 or ".experts." in name]
    if not experts:
        return
    yield warning(
        "targets.experts",
        "the experts' weights get no adapter" + (", and stay in 16 bits: plan memory for that" if quantised else ""),
        evidence=f"{len(experts)} tensors such as {experts[0]}",
        place=_PLACE,
    )
