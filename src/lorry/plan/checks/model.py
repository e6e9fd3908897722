"""The model: whether it can be had, what it is, and whether rows fit it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from lorry import units
from lorry.errors import LorryError
from lorry.plan.adapter_places import modules
from lorry.plan.adapter_size import parameters
from lorry.plan.checks._base import Check
from lorry.plan.findings import Explanation, Finding, error, from_error, note, warning
from lorry.plan.subject import UnavailableError

if TYPE_CHECKING:
    from lorry.plan.subject import Subject


_OTHER_TASKS = {
    "ForMaskedLM": "fills gaps in a text",
    "ForSequenceClassification": "puts texts into classes",
    "ForTokenClassification": "puts words into classes",
    "ForQuestionAnswering": "marks answers in a text",
    "ForMultipleChoice": "chooses among texts",
    "ForImageClassification": "puts pictures into classes",
    "ForSpeechSeq2Seq": "writes down speech",
    "BertModel": "turns texts into vectors",
    "RobertaModel": "turns texts into vectors",
    "MPNetModel": "turns texts into vectors",
}
"""Ends of architectures' names, and what such models do."""
_EMBEDDINGS = ("embed_tokens", "wte", "embed_in", "word_embeddings")
_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.")


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
        "model.unpinned": Explanation(
            "The model's revision is a branch, or none is given.",
            "Its owner may change the files at any time: the same recipe would then train another model.",
            "Set `model.revision` to the commit that the finding names.",
        ),
        "model.not-generative": Explanation(
            "The model was made for something else than writing text: classes, vectors, gaps, translation.",
            "Loaded for writing, it has parts that were never trained, and nothing good comes of it.",
            "Use a causal language model, such as an instruction-tuned one.",
        ),
        "model.no-score": Explanation(
            "The method trains a reward model, and Transformers has no head for that on this architecture.",
            "The model could not be loaded.",
            "Take a model of another family, such as Llama, Qwen, Mistral or Gemma.",
        ),
        "model.weights": Explanation(
            "The weights are missing, cut short, incomplete or damaged.",
            "The model could not be loaded; on a rented machine that would show after the download.",
            "Fetch the files again, all of them.",
        ),
        "model.config-disagrees": Explanation(
            "Sizes in config.json are not those of the weights.",
            "Loading would fail, or leave weights at random values.",
            "Fetch config.json and the weights from the same place again.",
        ),
        "model.full-quantised": Explanation(
            "The model comes quantised, and all its weights are to be trained.",
            "Quantised weights are frozen: they cannot be trained.",
            "Train an adapter (`lora: {}`), or take the model's unquantised version.",
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
        yield from _not_generative(config, source.id)
        if subject.method.head == "score":
            yield from _no_score(str(config["model_type"]))
        yield from _unpinned(subject)
        yield from _quantised_already(subject, config)
        yield from _weights(subject, config)
        yield from _length(subject, config)


def _not_generative(config: dict[str, Any], name: str) -> Iterable[Finding]:
    """Models that Transformers can load with a head that writes text, and that were not trained with one."""
    architecture = str((config.get("architectures") or [""])[0])
    task = next((words for ending, words in _OTHER_TASKS.items() if architecture.endswith(ending)), None)
    if task is None and config.get("is_encoder_decoder"):
        task = "turns one text into another, with an encoder"
    if task:
        yield error(
            "model.not-generative",
            f"{name} is a {architecture or config['model_type']}, which {task}; lorry trains models that go on writing a text",
            remedy="use a causal language model, such as an instruction-tuned one",
            place="model.id",
        )


def _no_score(kind: str) -> Iterable[Finding]:
    """Architectures that cannot give rewards."""
    from lorry.trainer.sources.model_folder import known_model_types

    known = known_model_types("SEQUENCE_CLASSIFICATION")
    if known and kind not in known:
        yield error(
            "model.no-score",
            f"Transformers has no `{kind}` model with a head for rewards",
            remedy="take a model of another family, such as Llama, Qwen, Mistral or Gemma",
            place="model.id",
        )


def _unpinned(subject: Subject) -> Iterable[Finding]:
    asked, found = subject.recipe.model.revision, subject.source.revision
    if subject.source.kind == "hub" and found and found != asked:
        message = (
            f"`{asked or 'main'}` means the commit {found} today; set model.revision to it to train on the same again"
        )
        yield note("model.unpinned", message, place="model.revision")


def _has_weights(folder: Path) -> bool:
    """Whether a model's folder holds more than its configuration, which alone tells every tensor's name and shape."""
    from lorry.trainer.sources.tensors import tensors

    return tensors(folder) is not None or any(folder.glob("pytorch_model*.bin"))


def _weights(subject: Subject, config: dict[str, Any]) -> Iterable[Finding]:
    """What the model is, if its weights are whole and are those that its configuration speaks of."""
    try:
        tensors = subject.tensors
    except UnavailableError as unavailable:
        if unavailable.part != "tensors" or not isinstance(unavailable.cause, LorryError):
            raise
        yield from_error("model.weights", unavailable.cause)
        return
    folder = subject.source.folder
    if subject.source.kind == "folder" and not _has_weights(folder):
        yield error(
            "model.weights",
            f"{folder} has no weights",
            remedy="put model.safetensors there, or its shards with their index",
            place="model.id",
        )
        return
    yield _what_it_is(subject, config)
    if tensors:
        yield from _disagreement(_text_config(config), modules(tensors))


def _disagreement(config: dict[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> Iterable[Finding]:
    """Sizes in config.json that are not those of the weights."""
    embedding = next((shape for name, shape in shapes.items() if name.endswith(_EMBEDDINGS) and len(shape) == 2), None)
    layers = {int(found[1]) for name in shapes if (found := _LAYER.search(name))}
    seen = {
        "vocab_size": embedding[0] if embedding else None,
        "hidden_size": embedding[1] if embedding else None,
        "num_hidden_layers": max(layers) + 1 if layers else None,
    }
    for key, found in seen.items():
        written = config.get(key)
        # Some families add layers for predicting several tokens, which the configuration does not count.
        allowed = key == "num_hidden_layers" and found and isinstance(written, int) and written < found <= written + 2
        if isinstance(written, int) and found and written != found and not allowed:
            yield error(
                "model.config-disagrees",
                f"config.json says {key} {written:,}, and the weights have {found:,}",
                remedy="fetch config.json and the weights from the same place again",
                place="model.id",
            )


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
    if subject.recipe.lora is None:
        yield error(
            "model.full-quantised",
            f"the model comes quantised ({method}), and all its weights are to be trained",
            remedy="train an adapter (`lora: {}`), or take the unquantised model",
            place="lora",
        )
    if subject.recipe.model.quantization != "none":
        message = f"the model comes quantised ({method}); model.quantization has no effect"
        yield warning("model.quantised-already", message, remedy="leave it out", place="model.quantization")
    else:
        yield note("model.quantised-already", f"the model comes quantised ({method}) and is loaded as it is")
