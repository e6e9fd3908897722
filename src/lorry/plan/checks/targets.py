"""The modules that the adapter sits on: whether the model has them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, ClassVar

from lorry import units
from lorry.plan.adapter_places import (
    ROUTERS,
    Shapes,
    expert_tensor,
    linear,
    matching,
    modules,
    places,
    stacks,
    targeted,
)
from lorry.plan.checks._base import Check
from lorry.plan.findings import Explanation, Finding, error, note, warning
from lorry.trainer.sources.model_folder import read_config
from lorry.trainer.untouched import reached

if TYPE_CHECKING:
    from lorry.plan.subject import Subject
    from lorry.recipe.lora import LoraSettings

_PLACE = "lora.target_modules"


class TargetsCheck(Check):
    """Whether `lora.target_modules` names modules of this model, and how large the adapter becomes."""

    explains: ClassVar[Mapping[str, Explanation]] = {
        "targets.unknown-names": Explanation(
            "The names of the model's modules are not known before its weights are here.",
            "Whether `lora.target_modules` is right shows only then.",
            "Nothing, or use `all-linear`.",
        ),
        "targets.missing": Explanation(
            "`lora.target_modules` names a module that the model has not.",
            "Each architecture has names of its own; PEFT would refuse the adapter.",
            "Take a name from the list in the finding, or `all-linear`.",
        ),
        "targets.no-matrix": Explanation(
            "A target module has no matrix, such as a normalisation.",
            "A low-rank adapter needs a matrix to sit on.",
            "Leave it out.",
        ),
        "targets.embedding": Explanation(
            "The adapter sits on the table of words, or on the output layer.",
            "It is large, many servers refuse it, and where the model ties the two, merging it changes both.",
            "Leave the module out, unless new words are to be learnt.",
        ),
        "targets.router": Explanation(
            "The adapter sits on a mixture's router.",
            "It then learns which experts tokens are sent to, which few rows can unbalance.",
            "Leave it out of `lora.target_modules`: routers get no adapter unless they are named.",
        ),
        "targets.size": Explanation(
            "How many parameters the adapter has, and on how many modules it sits.",
        ),
    }

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
        shapes, every = modules(tensors), {name: tensor.shape for name, tensor in tensors.items()}
        is_mixture = bool(stacks(every))
        if lora.target_modules != "all-linear":
            for target in lora.target_modules:
                if not (is_mixture and expert_tensor(target)):
                    yield from _of(target, shapes)
        yield from _embeddings(lora, shapes, is_mixture=is_mixture)
        count = subject.adapter_parameters
        if count:
            kind = str(read_config(subject.source.folder, subject.source.id).get("model_type", ""))
            on = len(targeted(places(lora, every, kind).modules, reached(lora, shapes)))
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


def _embeddings(lora: LoraSettings, shapes: Shapes, *, is_mixture: bool) -> Iterable[Finding]:
    """An adapter on the table of words, or on the output layer, which in many models is the same matrix, or on a router."""
    if lora.target_modules == "all-linear":
        return
    for target in lora.target_modules:
        if is_mixture and target.rpartition(".")[2] in ROUTERS:
            told = f"`{target}` is the router, which sends tokens to experts"
            remedy = "leave it out unless that is to be learnt, too"
            yield warning("targets.router", told, remedy=remedy, place=_PLACE)
            continue
        found = [name for name in matching(target, shapes) if name not in linear(shapes) and len(shapes[name]) == 2]
        if found:
            yield warning(
                "targets.embedding",
                f"`{target}` is the model's table of words or its output layer ({list(shapes[found[0]])})",
                evidence="where the model ties the two, merging the adapter changes both; many servers refuse such adapters",
                remedy="leave it out unless new words are to be learnt",
                place=_PLACE,
            )
