"""The model: whether it can be had, what it is, and whether rows fit it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from lorry import units
from lorry.errors import LorryError
from lorry.plan.adapter_size import parameters
from lorry.plan.checks._base import Check
from lorry.plan.findings import Explanation, Finding, from_error, note, warning
from lorry.plan.subject import UnavailableError

if TYPE_CHECKING:
    from lorry.plan.subject import Subject


class ModelCheck(Check):
    """Whether the model exists, is whole, and is one that lorry trains."""

    explains: ClassVar[Mapping[str, Explanation]] = {
        "model.unavailable": Explanation(
            "The model does not exist, cannot be had from here, or is broken.",
            "There is nothing to train.",
            "Do what the finding says: correct the id, let the Hub know you, fetch the files again.",
        ),
        "model.source": Explanation(
            "What was done to bring the model here.",
        ),
        "model.found": Explanation(
            "Which model was found, at which revision, of which size.",
        ),
        "model.max-length": Explanation(
            "Rows are longer than the sequences that the model was made for.",
            "Beyond them its positions mean nothing, and answers become poor.",
            "Set `data.max_length` to the model's length or less.",
        ),
        "model.quantised-already": Explanation(
            "The model comes quantised.",
            "It is loaded as it is; `model.quantization` has no effect on it.",
            "Leave `model.quantization` out, or take the model's unquantised version.",
        ),
    }

    def run(self, subject: Subject) -> Iterable[Finding]:
        """Finds the model; its weights are not fetched."""
        from lorry.trainer.sources.model_folder import read_config

        try:
            source = subject.source
        except UnavailableError as unavailable:
            if not isinstance(unavailable.cause, LorryError):
                raise unavailable.cause from unavailable
            yield from_error("model.unavailable", unavailable.cause)
            return
        for said in source.notes:
            yield note("model.source", said, place="model.id")
        config = read_config(source.folder, source.id)
        yield _what_it_is(subject, config)
        yield from _quantised_already(subject, config)
        yield from _length(subject, config)


def _what_it_is(subject: Subject, config: dict[str, Any]) -> Finding:
    name = (config.get("architectures") or [config["model_type"]])[0]
    tensors = subject.tensors
    size = f", {_millions(parameters(tensors))} parameters" if tensors else ""
    revision = f" at {subject.source.revision[:12]}" if subject.source.revision else ""
    return note("model.found", f"{subject.source.id}{revision}: {name}{size}", evidence=str(subject.source.folder))


def _millions(count: int) -> str:
    return f"{count / 1e9:.2f} billion" if count >= 1e9 else f"{units.count(max(count / 1e6, 1))} million"


def _length(subject: Subject, config: dict[str, Any]) -> Iterable[Finding]:
    """Whether rows are longer than the model was made for; a max_length that no row reaches does no harm."""
    most = _text_config(config).get("max_position_embeddings")
    if not isinstance(most, int) or subject.recipe.data.max_length <= most:
        return
    longest = subject.prepared.facts.train.lengths["p100"]
    if longest > most:
        yield warning(
            "model.max-length",
            f"rows have up to {longest:,} tokens, and the model was made for {most:,}",
            remedy=f"set data.max_length to {most} or less",
            place="data.max_length",
        )


def _text_config(config: dict[str, Any]) -> dict[str, Any]:
    inner = config.get("text_config")
    return inner if isinstance(inner, dict) else config


def _quantised_already(subject: Subject, config: dict[str, Any]) -> Iterable[Finding]:
    found = config.get("quantization_config")
    if not isinstance(found, dict):
        return
    method = found.get("quant_method", "unknown")
    if subject.recipe.model.quantization != "none":
        message = f"the model comes quantised ({method}); model.quantization has no effect"
        yield warning("model.quantised-already", message, remedy="leave it out", place="model.quantization")
    else:
        yield note("model.quantised-already", f"the model comes quantised ({method}) and is loaded as it is")
