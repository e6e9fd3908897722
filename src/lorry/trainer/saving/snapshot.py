"""What a checkpoint is made of and what is made of one: copies of a running training's tensors, and the way back."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file, save_file

from lorry.trainer import checkpoint
from lorry.trainer.architectures import class_for, reads_images
from lorry.trainer.checkpoint import Contents
from lorry.trainer.model import LoadedModel, put_adapter
from lorry.trainer.rollouts.rollout import Rollout
from lorry.trainer.saving import rng
from lorry.trainer.saving.state import Origin, State

_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
)
_ADAPTER = "adapter_model.safetensors"


@dataclass(frozen=True)
class TokenizerFiles:
    """What is laid beside the weights, so that whoever loads them renders rows as they were trained."""

    folder: Path
    """Where the model's tokenizer files are copied from."""
    template: str | None = None
    """The chat template that rows were rendered with; None where there is none."""

    def copy_to(self, folder: Path) -> None:
        """Copies the files, with the template that was really used."""
        for name in _TOKENIZER_FILES:
            if (self.folder / name).is_file():
                shutil.copyfile(self.folder / name, folder / name)
        if self.template is not None:
            (folder / "chat_template.jinja").write_text(self.template, encoding="utf-8")


@dataclass(frozen=True)
class Live:
    """The parts of a running training whose tensors a checkpoint holds."""

    loaded: LoadedModel
    optimizer: torch.optim.Optimizer
    scaler: torch.GradScaler
    tokenizer: TokenizerFiles


@dataclass(frozen=True)
class Standing:
    """Where training stands after an optimizer step, apart from what the model and the optimizer hold."""

    state: State
    origin: Origin
    generators: rng.Generators
    """As they were then: in the middle of the next step they are elsewhere."""
    rollout: Rollout | None = None
    """The answers that the next step goes on with."""
    carried: Mapping[str, float] = field(default_factory=dict[str, float])
    """What rollouts have left for later ones."""


class Copies:
    """Host memory that holds one snapshot; it is kept from one to the next, for fresh pages cost more than the copying.

    Only adapters are copied: a copy of a fully trained model would double what it takes.
    """

    def __init__(self, live: Live, root: Path) -> None:
        self._live = live
        self._kept: dict[str, torch.Tensor] = {}
        self._beside = _beside_adapter(live, root) if live.loaded.has_adapter else {}
        # These are the trained tensors themselves, so they are asked for once: for quantised models it takes long.
        self._weights = _adapter_weights(live.loaded) if live.loaded.has_adapter else {}
        self._stream: Any = torch.cuda.Stream() if live.loaded.device.type == "cuda" else None
        self._applied: Any = None

    @property
    def copies_all(self) -> bool:
        """Whether `take` copies everything, so that training may go on while it is written."""
        return self._live.loaded.has_adapter

    def applied(self) -> None:
        """Says that an optimizer step was just given to the device."""
        if self._stream is not None:
            self._applied = torch.cuda.Event()
            self._applied.record()

    def make_room(self) -> None:
        """Takes the memory that copies will need, so that a machine with too little of it tells so at the beginning."""
        if self.copies_all:
            tensors, _ = _optimizer_state(self._live.optimizer)
            self._copied({**_named("weights", self._weights), **_named("optimizer", tensors)})

    def take(self, standing: Standing) -> Contents:
        """The training as it stands, which must not change meanwhile. What was taken before is overwritten."""
        live, state, origin = self._live, standing.state, standing.origin
        tensors, plain = _optimizer_state(live.optimizer)
        random_tensors, random_plain = standing.generators
        facts: dict[str, Any] = {
            **state.as_json(),
            "origin": {
                "run": origin.run,
                "settings": origin.settings,
                "rows": origin.rows,
                "attempt": origin.attempt,
                "brought": origin.brought,
            },
            "rung": origin.rung.as_dict(),
            "made_with": origin.made_with,
            "rng": random_plain,
            "optimizer": plain,
            "scaler": self._scaler_state(),
            "rollout": {"carried": dict(standing.carried), **(standing.rollout.facts() if standing.rollout else {})},
        }
        more = {checkpoint.ROLLOUT: standing.rollout.tensors()} if standing.rollout else {}
        head = self._copied(_named("value_head", _value_head(live.loaded)))
        more |= {checkpoint.VALUE_HEAD: _below("value_head", head)} if head else {}
        if not self.copies_all:
            return Contents(state.step, self._write_model, _unshared(tensors), random_tensors, facts, more)
        copied = self._copied({**_named("weights", self._weights), **_named("optimizer", tensors)})
        weights, tensors = _below("weights", copied), _below("optimizer", copied)
        return Contents(
            state.step, lambda place: self._write_adapter(place, weights), tensors, random_tensors, facts, more
        )

    def _scaler_state(self) -> dict[str, Any]:
        """Read beside the running step: its numbers lie on the device."""
        if self._stream is None:
            return self._live.scaler.state_dict()
        with torch.cuda.stream(self._stream):
            self._wait_for_applied()
            return self._live.scaler.state_dict()

    def _wait_for_applied(self) -> None:
        if self._applied is not None:
            self._stream.wait_event(self._applied)

    def _copied(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        if self._stream is None:
            return {name: self._copy(name, tensor) for name, tensor in tensors.items()}
        # The default stream may be seconds behind, in the backward pass of a running step, which changes none of these.
        with torch.cuda.stream(self._stream):
            self._wait_for_applied()
            copied = {name: self._copy(name, tensor) for name, tensor in tensors.items()}
            self._stream.synchronize()
        return copied

    def _copy(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        kept = self._kept.get(name)
        if kept is None or kept.shape != tensor.shape or kept.dtype != tensor.dtype:
            kept = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=self._stream is not None)
            self._kept[name] = kept
        with torch.no_grad():
            return kept.copy_(tensor, non_blocking=self._stream is not None)

    def _write_adapter(self, place: Path, weights: dict[str, torch.Tensor]) -> None:
        for name, content in self._beside.items():
            (place / name).write_bytes(content)
        save_file(weights, place / _ADAPTER, metadata={"format": "pt"})

    def _write_model(self, place: Path) -> None:
        self._live.loaded.model.save_pretrained(place, safe_serialization=True)
        self._live.tokenizer.copy_to(place)


def restore(folder: Path, live: Live) -> State:
    """Puts a verified checkpoint into a training that was built anew from the same recipe; returns its state."""
    facts = checkpoint.read_state(folder)
    if live.loaded.has_adapter:
        put_adapter(live.loaded, folder)
    else:
        _put_model(live.loaded, folder)
    if live.loaded.value_head is not None:
        live.loaded.value_head.load_state_dict(load_file(folder / checkpoint.VALUE_HEAD))
    _put_optimizer(live.optimizer, load_file(folder / checkpoint.OPTIMIZER), facts["optimizer"])
    if live.scaler.is_enabled() and facts["scaler"]:
        live.scaler.load_state_dict(facts["scaler"])
    rng.restore(load_file(folder / checkpoint.RNG), facts["rng"])
    return State.from_json(facts)


def rollout_in(folder: Path) -> tuple[Rollout | None, Mapping[str, float]]:
    """The answers that a verified checkpoint's next step goes on with, and what rollouts have left for later ones."""
    facts = dict(checkpoint.read_state(folder).get("rollout", {}))
    carried = {str(name): float(value) for name, value in dict(facts.get("carried", {})).items()}
    file = folder / checkpoint.ROLLOUT
    return (Rollout.of_tensors(load_file(file), facts) if file.is_file() else None), carried


def _value_head(loaded: LoadedModel) -> dict[str, torch.Tensor]:
    return {} if loaded.value_head is None else dict(loaded.value_head.state_dict())


def _adapter_weights(loaded: LoadedModel) -> dict[str, torch.Tensor]:
    from peft import get_peft_model_state_dict

    return get_peft_model_state_dict(loaded.model)


def _beside_adapter(live: Live, root: Path) -> dict[str, bytes]:
    """What PEFT itself would lay beside the weights, and the tokenizer; none of it changes while training."""
    place = root / f".beside.{os.getpid()}"  # a name that is cleared where this process is killed
    with checkpoint.refusals_told(root):
        try:
            place.mkdir(parents=True, exist_ok=True)
            live.loaded.model.save_pretrained(place, safe_serialization=True)
            live.tokenizer.copy_to(place)
            # README.md is PEFT's empty card; lorry writes its own with the report.
            left_out = (_ADAPTER, "README.md")
            return {file.name: file.read_bytes() for file in place.iterdir() if file.name not in left_out}
        finally:
            shutil.rmtree(place, ignore_errors=True)


def _optimizer_state(optimizer: torch.optim.Optimizer) -> tuple[dict[str, torch.Tensor], dict[str, dict[str, Any]]]:
    """The optimizer's tensors as `{parameter}.{name}`, and its plain numbers by parameter."""
    tensors: dict[str, torch.Tensor] = {}
    plain: dict[str, dict[str, Any]] = {}
    for index, parameter in enumerate(_parameters(optimizer)):
        for name, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, torch.Tensor):
                tensors[f"{index}.{name}"] = value.detach().contiguous()
            else:
                plain.setdefault(str(index), {})[name] = value
    return tensors, plain


def _unshared(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Tensors that share memory (bitsandbytes' maps are one for all) cannot be written: later ones become copies."""
    seen: set[int] = set()
    own: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        shared = tensor.numel() > 0 and tensor.data_ptr() in seen
        seen.add(tensor.data_ptr())
        own[name] = tensor.clone() if shared else tensor
    return own


def _put_optimizer(
    optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor], plain: dict[str, dict[str, Any]]
) -> None:
    """Sets the state as it was, without the casts of `load_state_dict`."""
    optimizer.state.clear()
    parameters = _parameters(optimizer)
    for key, value in tensors.items():
        index, _, name = key.partition(".")
        parameter = parameters[int(index)]
        optimizer.state[parameter][name] = value.to(parameter.device)
    for index, values in plain.items():
        optimizer.state[parameters[int(index)]].update(values)


def _put_model(loaded: LoadedModel, folder: Path) -> None:
    weights: dict[str, torch.Tensor] = {}
    for file in sorted(folder.glob("model*.safetensors")):
        weights |= load_file(file)
    if reads_images(loaded.model.config) and not weights.keys() <= dict(loaded.model.named_parameters()).keys():
        # Transformers writes such models under the names of their publication, and translates them when it reads.
        read: Any = class_for(loaded.model.config).from_pretrained(folder, dtype="auto", device_map="cpu")
        weights = dict(read.state_dict())
    missing = loaded.model.load_state_dict(weights, strict=False).missing_keys
    untied = [name for name in missing if name not in (getattr(loaded.model, "all_tied_weights_keys", None) or {})]
    if untied:
        raise checkpoint.DamagedError(f"the checkpoint has no {untied[0]}", place=str(folder))


def _parameters(optimizer: torch.optim.Optimizer) -> list[torch.nn.Parameter]:
    return [cast("torch.nn.Parameter", one) for group in optimizer.param_groups for one in group["params"]]


def _named(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def _below(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix(f"{prefix}/"): one for name, one in tensors.items() if name.startswith(f"{prefix}/")}
