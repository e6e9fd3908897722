"""Whether training fits into this machine's memory, and what the out-of-memory ladder would make of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar

from lorry import units
from lorry.errors import ModelError, RecipeError
from lorry.plan.checks._base import Check
from lorry.plan.findings import Explanation, Finding, note, refusal, warning
from lorry.plan.subject import UnavailableError

if TYPE_CHECKING:
    from lorry.plan.fit import Fit
    from lorry.plan.subject import Subject

_UNSURE = 1.15
"""Up to this many times the room a run is not refused: the estimate is no closer than that."""


class MemoryCheck(Check):
    """Whether the largest micro-batch fits into the memory of this machine's GPU, or of its processor."""

    of_this_computer: ClassVar[bool] = True
    explains: ClassVar[Mapping[str, Explanation]] = {
        "memory.fits": Explanation(
            "What training is likely to take at its peak, by part, and what this machine has.",
            "The parts tell what a change would spare: activations and logits grow with the micro-batch, weights do not.",
            "Nothing; `lorry plan` shows the same for GPUs that can be rented, and the largest micro-batch that fits.",
        ),
        "memory.ladder": Explanation(
            "The largest micro-batch does not fit, and a smaller one does.",
            "Training would find that out at its start and go down by itself: the same steps, in more and smaller pieces.",
            "Set the sizes that the finding names, so that it begins there.",
        ),
        "memory.too-little": Explanation(
            "Not even one row at a time, with activations computed twice, is likely to fit.",
            "The run would end in its first minute. Close to the limit it is a warning: the estimate may be 15 % off.",
            "Quantise the model (`model.quantization: nf4`), cut rows (`data.max_length`), or take a smaller model.",
        ),
        "memory.unknown": Explanation(
            "Of this architecture no sizes are known.",
            "It can be trained all the same; what it takes shows in its first minute.",
            "Try it: `lorry run --smoke`.",
        ),
    }

    def run(self, subject: Subject) -> Iterable[Finding]:
        """Estimates the peak from the model's sizes and the rows' true lengths."""
        try:
            found, room = subject.planner.on_this_computer()
        except UnavailableError as unknown:
            if unknown.part != "planner" or not isinstance(unknown.cause, ModelError):
                raise
            yield note("memory.unknown", unknown.cause.message, place=unknown.cause.place)
            return
        except RecipeError:
            return  # steps that cannot be made: the check `rollouts` says why
        yield _told(found, room, subject.recipe.train.micro_batch)


def _told(found: Fit, room: int, asked: int) -> Finding:
    told = f"training takes about {units.size(found.memory.peak)}, and this machine has {units.size(room)}"
    evidence = ", ".join(f"{name} {units.size(size)}" for name, size in found.memory.device.items())
    if found.rung is None:
        say = refusal if found.memory.peak > _UNSURE * room else warning
        return say(
            "memory.too-little",
            f"{told}, in micro-batches of one row with activations computed twice",
            evidence=evidence,
            remedy="set model.quantization to nf4, lower data.max_length, or take a smaller model or a larger machine",
            place="model.id",
        )
    if found.lowered:
        rung = found.rung
        twice = " and compute activations twice" if rung.activation_checkpointing else ""
        return warning(
            "memory.ladder",
            f"micro-batches of {asked} do not fit: training would go down to {rung.micro_batch}{twice}",
            evidence=f"{told}; {evidence}",
            remedy=f"set train.micro_batch to {rung.micro_batch} and train.accumulation to {rung.accumulation}",
            place="train.micro_batch",
        )
    return note("memory.fits", told, evidence=evidence)
