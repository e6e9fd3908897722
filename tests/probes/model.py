"""Probes of `model` and `lora`: what is loaded, seen in the model itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from hub_server import COMMIT, hub
from lorry.errors import LorryError
from lorry.trainer.forest import plant
from lorry.trainer.liger import use_liger
from lorry.trainer.loss import token_loss
from lorry.trainer.model import LoadedModel, load
from lorry.trainer.optimizer import make_optimizer
from lorry.trainer.sources.locate import locate
from probes.data import prepared
from probes.probe import Probe, Values, understood
from probes.train import ONE_STEP, THREE_STEPS, computed_tokens, losses, trained

ASK = """
import json, sys
from pathlib import Path
from lorry.errors import LorryError
from lorry.recipe.schema import ModelSettings
from lorry.trainer.sources.locate import locate

try:
    print(locate(ModelSettings(**json.loads(sys.argv[1])), Path("."), weights=False).revision)
except LorryError as error:
    print(error)
"""


def loaded(values: Values) -> LoadedModel:
    recipe = understood(values)
    return load(recipe, locate(recipe.model, Path.cwd()).folder)


def modules(values: Values) -> dict[str, Any]:
    return dict(loaded(values).model.named_modules())


def architecture(values: Values) -> str:
    """The class of the model, or of the error that says why there is none."""
    try:
        return type(loaded(values).model.get_base_model()).__name__
    except LorryError as error:
        return type(error).__name__


def adapted_parts(values: Values) -> set[str]:
    """Which parts of a vision model have an adapter."""
    names = [name for name, one in loaded(values).model.named_parameters() if one.requires_grad]
    return {"projector" if "merger" in name else "vision" if "visual" in name else "text" for name in names}


def dtype(values: Values) -> torch.dtype:
    return _query(values).weight.dtype


def weights(values: Values) -> str:
    """The class of a frozen weight."""
    return type(_query(values).weight).__name__


def constants_are_quantised(values: Values) -> bool:
    return _query(values).weight.quant_state.nested


def tf32(values: Values) -> bool:
    loaded(values)
    return torch.backends.cuda.matmul.allow_tf32


def first_matrix(values: Values) -> tuple[int, ...]:
    return tuple(modules(values)[f"{_LAYER}.q_proj"].lora_A["default"].weight.shape)


def magnitudes(values: Values) -> bool:
    """Whether the adapter learns the weights' magnitudes apart from their direction."""
    return any("magnitude" in name for name, weight in loaded(values).model.named_parameters() if weight.requires_grad)


def beginning_weights(values: Values) -> list[float]:
    """The adapter before training."""
    return modules(values)[f"{_LAYER}.q_proj"].lora_A["default"].weight.flatten().tolist()


def scaling(values: Values) -> float:
    return modules(values)[f"{_LAYER}.q_proj"].scaling["default"]


def adapted(values: Values) -> list[str]:
    """Names of the layers that have an adapter."""
    return sorted(name.rpartition(".")[2] for name, module in modules(values).items() if hasattr(module, "lora_A"))


def adapted_tensors(values: Values) -> list[str]:
    """Names of the tensors that have an adapter and are no layers."""
    return sorted({str(one.parameter_name) for one in modules(values).values() if hasattr(one, "parameter_name")})


def recomputations(values: Values) -> int:
    """How often a layer computes in one forward and backward pass."""
    model, count = loaded(values), list[None]()
    layer = dict(model.model.named_modules())[f"{_LAYER}.q_proj"]
    layer.register_forward_hook(lambda *_: count.append(None))
    token_loss(model.forward, plant([prepared(values).train[0]])).backward()
    return len(count)


def asked_of_the_hub(values: Values) -> str:
    """The commit that the Hub gave, or what it lacks."""
    with hub(tiny=Path("model")) as served:
        environment = {**os.environ, "HF_ENDPOINT": served.url, "HF_HUB_OFFLINE": "0", "NO_PROXY": "*"}
        environment["HF_HOME"] = str(Path(os.environ["LORRY_HOME"], "hf"))
        command = [sys.executable, "-c", ASK, json.dumps(values["model"])]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def way(values: Values) -> str:
    """How rows go through the model, or how loading ends where flash-attn is not installed."""
    try:
        return loaded(values).forward.way
    except LorryError as error:
        return f"exit {error.exit_code}: {error}"


def has_learnt(values: Values) -> bool:
    """Whether the adapter changes anything before it is trained."""
    return bool(modules(values)[f"{_LAYER}.q_proj"].lora_B["default"].weight.any())


def optimizer(values: Values) -> tuple[str, list[str]]:
    """The optimizer's class, and what is said about it."""
    made, notes = make_optimizer(loaded(values), understood(values).train)
    return type(made).__name__, notes


def liger(values: Values) -> Any:
    """What Liger is asked to do to a model on CUDA, and what is said about it."""
    with ExitStack() as cleanup:
        sys.path.insert(0, "installed")
        cleanup.callback(sys.path.remove, "installed")
        base = loaded(values).model.get_base_model()
        notes = use_liger(base, understood(values).train, torch.device("cuda"))
    return getattr(base, "liger", None), notes


def is_trained_in_full(values: Values) -> bool:
    return (trained(values).adapter / "model.safetensors").is_file()


def _query(values: Values) -> Any:
    return modules(values)[f"{_LAYER}.q_proj"].base_layer


_LAYER = "base_model.model.model.layers.0.self_attn"
_NO_LIGER, _LIGER = (None, []), ({"fused_linear_cross_entropy": False}, ["Liger's kernels are in use"])
_NO_V9 = "model.revision: `owner/tiny` has no revision `v9`"
_HUB = {"model.id": "owner/tiny"}
_NF4 = {"model.quantization": "nf4"}
_MIXTURE = {"model.id": "./mixture"}
_CODED = {"model.id": "./coded"}
_SEES = {"model.id": "./seeing"}

PROBES = [
    Probe("model.id", ("./model", "./other"), losses, given=ONE_STEP),
    Probe("model.revision", (COMMIT, "v9"), asked_of_the_hub, (COMMIT, _NO_V9), _HUB),
    Probe("model.trust_remote_code", (None, "./coded"), architecture, ("ModelError", "CodedModel"), _CODED),
    Probe("model.trust_remote_code", (None, "./disguised"), way, ("forest", "padded"), {"model.id": "./disguised"}),
    Probe("model.precision", ("fp32", "bf16"), dtype, (torch.float32, torch.bfloat16)),
    Probe("model.quantization", ("none", "nf4"), weights, ("Parameter", "Params4bit")),
    Probe("model.quantization", ("none", "int8"), weights, ("Parameter", "Int8Params")),
    Probe("model.double_quantization", (False, True), constants_are_quantised, (False, True), _NF4),
    Probe("model.tf32", (False, True), tf32, (False, True)),
    Probe("model.attention", ("auto", "sdpa"), computed_tokens, given=ONE_STEP),
    Probe("model.attention", ("sdpa", "flash"), way),
    Probe("model.adapter", (None, "adapter"), has_learnt, (False, True)),
    Probe("lora", (None, {"rank": 4}), is_trained_in_full, (True, False), ONE_STEP),
    Probe("lora.rank", (4, 8), first_matrix, ((4, 32), (8, 32))),
    Probe("lora.alpha", (8, 16), scaling, (2.0, 4.0)),
    Probe("lora.dropout", (0, 0.5), computed_tokens, given=ONE_STEP),
    Probe("lora.dropout", (0.25, 0.5), losses, given=THREE_STEPS),
    Probe("lora.target_modules", (["q_proj"], ["k_proj", "v_proj"]), adapted, (["q_proj"], ["k_proj", "v_proj"])),
    Probe("lora.dropout", (0, 0.5), losses, given={**ONE_STEP, "model.adapter": "adapter"}),
    Probe("lora.experts", (False, True), adapted_tensors, ([], ["down_proj", "gate_up_proj"]), _MIXTURE),
    Probe("lora.target_parameters", ([], ["experts.down_proj"]), adapted_tensors, ([], ["down_proj"]), _MIXTURE),
    Probe("lora.dora", (False, True), magnitudes, (False, True)),
    Probe("lora.projector", (False, True), adapted_parts, ({"text"}, {"text", "projector"}), _SEES),
    Probe("lora.vision", (False, True), adapted_parts, ({"text"}, {"text", "vision"}), _SEES),
    Probe("lora.rslora", (False, True), scaling, (2.0, 4.0)),
    Probe("train.activation_checkpointing", (False, True), recomputations, (1, 2)),
    Probe("train.liger", (False, True), liger, (_NO_LIGER, _LIGER)),
    Probe("train.optimizer", ("adamw", "adamw_8bit"), optimizer),
    Probe("train.seed", (0, 1), beginning_weights),
]
