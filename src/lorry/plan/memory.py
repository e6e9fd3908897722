"""How much memory training takes, by part, from a model's shape and the largest micro-batch; pure arithmetic.

What autograd keeps of a layer is counted tensor by tensor, as the trainer computes it: the adapter's fused products keep
their input once in the model's precision, norms keep theirs in fp32, attention its queries, keys, values and result, a gated
MLP four tensors of its inner width. The logits of trained tokens alone are made, at most so many at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lorry.plan import vision_memory
from lorry.plan.adapter_places import linear, modules, names_experts
from lorry.plan.adapter_size import adapter_parameters, on_tensors
from lorry.recipe.schema import LoraSettings
from lorry.trainer.logits import tokens_at_once
from lorry.trainer.precision import SEEING

if TYPE_CHECKING:
    from lorry.plan.architecture.model_shape import ModelShape
    from lorry.trainer.sources.tensors import Tensor

BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}
CUDA_CONTEXT = 600_000_000
"""Bytes that the driver, cuBLAS and the kernels themselves take on a device before a tensor is there."""
FRAGMENTATION = 0.04
"""Share of what torch's allocator holds beside what is in use, with segments that grow (`expandable_segments`)."""
HEAP = 0.08
"""The same of a processor's heap, where a step's blocks lie otherwise than the last one's (measured: 3 to 9 %)."""
HOST = 2_500_000_000
"""Bytes of host memory that Python, torch and CUDA's libraries take beside what is trained on a GPU."""
HOST_CPU = 60_000_000
"""The same on a machine without one, beyond what importing them took."""
_STATES = {"adamw": 8.0, "adamw_8bit": 2.1}
"""AdamW's two moments: fp32, or 8 bits with a scale for each 256 of them (bitsandbytes)."""
_BLOCK = 64
"""Weights that share one scale in NF4 (QLoRA, arXiv 2305.14314)."""


@dataclass(frozen=True)
class Judge:
    """A model that judges answers, beside the one that is trained."""

    weights: int
    """Bytes of what the device holds for it alone: a base that it shares is none of them."""
    parameters: int
    """That a token meets."""
    working: int
    """Bytes that a token takes while a layer computes it, at most."""
    at_once: int
    """Answers that it reads at once."""
    fetched: int = 0
    """Bytes that a machine fetches for it."""


@dataclass(frozen=True)
class Setup:
    """How a model is trained."""

    weights: str
    """Format that weights are loaded in: `bfloat16`, `float16` or `float32`."""
    lora: LoraSettings | None
    """None where all weights are trained."""
    autocast: bool = False
    """Whether products are computed in 16 bits although weights are kept in fp32."""
    quantization: str = "none"
    double_quantization: bool = True
    optimizer: str = "adamw"
    checkpointing: bool = False
    on_gpu: bool = True
    has_reference: bool = False
    """Whether each step also asks what the model said before training, in a pass without gradients."""
    copies_reference: bool = False
    """Whether the trained weights are kept as they were for that: an earlier adapter is continued, or all weights trained."""
    judges: tuple[Judge, ...] = ()
    """The models that judge answers."""
    engine: int = 0
    """Bytes that vLLM takes of the device while it answers; 0 where Transformers does."""

    @property
    def size(self) -> int:
        """Bytes of a value that layers compute."""
        return 2 if self.autocast else BYTES[self.weights]

    @property
    def is_fused(self) -> bool:
        """Whether the adapter's products are the trainer's own: on plain layers, without dropout and DoRA."""
        return self.lora is not None and self.quantization == "none" and not (self.lora.dropout or self.lora.dora)


@dataclass(frozen=True)
class Load:
    """The largest micro-batch, and the largest batch of answers."""

    tokens: int
    """Tokens that are computed; shared beginnings once."""
    keys: int
    """Keys and values that are kept: shared beginnings once for each row that continues them."""
    trained: int
    """Tokens whose logits are made; 0 where one number for each row is all that is made."""
    answers: int = 0
    """Answers that are generated at once."""
    answer_tokens: int = 0
    """Tokens of the longest prompt with its answer."""
    image_tokens: int = 0
    """Those of the micro-batch's images, of which the vision part computes several patches each."""


@dataclass(frozen=True)
class Memory:
    """Bytes by part at the moment when most is in use."""

    device: dict[str, int]
    host: dict[str, int]

    @property
    def peak(self) -> int:
        """Bytes on the device; on a machine without one, in its own memory."""
        return sum(self.device.values())


def estimate(shape: ModelShape, tensors: Mapping[str, Tensor], setup: Setup, load: Load) -> Memory:
    """What training takes at its peak: the end of a forward pass, the making of answers or their judging, whichever is more."""
    trained = trained_parameters(shape, tensors, setup)
    reference = {"reference": 4 * trained} if setup.copies_reference else {}
    judges = {"reward models": sum(judge.weights for judge in setup.judges)}
    kept = {**weights(tensors, setup), **_states(trained, setup), **reference, **judges}
    training = {
        "activations": _activations(shape, tensors, setup, load),
        **vision_memory.kept(shape, setup, load),
        "logits and loss": _logits(shape, setup, load),
    }
    if setup.engine:
        answering = {"vLLM": setup.engine}
    else:
        answering = {"keys and values of answers": _cache(shape, setup, load)}
    judging = {"rewards of answers": max((_judging(judge, load) for judge in setup.judges), default=0)}
    seeing = {"the vision part at work": vision_memory.at_work(shape, setup, load)}
    passing = max(training, answering, judging, seeing, key=lambda parts: sum(parts.values()))
    live = {name: size for name, size in {**kept, **passing}.items() if size}
    snapshot = 12 * trained if setup.lora is not None else 0
    if not setup.on_gpu:
        parts = {**live, "copies for checkpoints": snapshot, "libraries": HOST_CPU}
        return Memory({**parts, "holes in the heap": round(HEAP * sum(live.values()))}, {})
    moving = sum(live.values())
    parts = {**live, "CUDA itself": CUDA_CONTEXT, "fragmentation": round(FRAGMENTATION * moving)}
    asleep = {"vLLM asleep": sum(weights(tensors, setup).values())} if setup.engine else {}
    return Memory(parts, {"libraries": HOST, "copies for checkpoints": snapshot, **asleep})


def trained_parameters(shape: ModelShape, tensors: Mapping[str, Tensor], setup: Setup) -> int:
    """Parameters that the optimizer changes."""
    if setup.lora is None:
        return sum(math.prod(tensor.shape) for tensor in tensors.values())
    return adapter_parameters(setup.lora, tensors, shape.model_type)


def weights(tensors: Mapping[str, Tensor], setup: Setup) -> dict[str, int]:
    """Bytes of the model as it is loaded: what is quantised, its constants, and what stays in 16 or 32 bits."""
    count = sum(math.prod(tensor.shape) for tensor in tensors.values())
    if setup.quantization == "none":
        return {"weights": count * BYTES[setup.weights]}
    packed = [shape for name, shape in linear(modules(tensors)).items() if not set(name.split(".")) & set(SEEING)]
    few = sum(math.prod(shape) for shape in packed)
    rest = (count - few) * BYTES[setup.weights]
    if setup.quantization == "int8":
        return {"quantised weights": few, "constants": 4 * sum(shape[0] for shape in packed), "16-bit weights": rest}
    scales = few / _BLOCK
    constants = scales * (1 + 4 / 256) if setup.double_quantization else scales * 4
    return {"quantised weights": few // 2, "constants": round(constants), "16-bit weights": rest}


def stays_whole(shape: ModelShape) -> list[str]:
    """What keeps 16 bits although the recipe says `nf4` or `int8`, in words."""
    experts = [f"{shape.experts} experts in each of {shape.sparse_layers} layers"] if shape.expert_parameters else []
    vision = ["the vision part"] if shape.vision else []
    return ["embeddings and output layer", "norms", *experts, *vision]


def _states(trained: int, setup: Setup) -> dict[str, int]:
    """What belongs to trained parameters, which are fp32 (with all weights trained, the weights themselves are)."""
    own = {} if setup.lora is None else {"adapter": 4 * trained}
    return {**own, "gradients": 4 * trained, "optimizer": round(_STATES[setup.optimizer] * trained)}


def _activations(shape: ModelShape, tensors: Mapping[str, Tensor], setup: Setup, load: Load) -> int:
    """What autograd keeps until the backward pass, and what that needs besides while it takes a layer down."""
    return round(kept(shape, tensors, setup, load) + _working(shape, setup, load))


def kept(shape: ModelShape, tensors: Mapping[str, Tensor], setup: Setup, load: Load) -> float:
    """Bytes that autograd keeps of a forward pass, the loss's not counted."""
    layer = kept_by_layer(shape, setup, load)
    cast = 2 * sum(math.prod(one) for one in linear(modules(tensors)).values()) if setup.autocast else 0
    layer += _expert_copies(shape, tensors, setup) / shape.layers
    if setup.checkpointing:
        return shape.layers * load.tokens * shape.hidden * setup.size + layer + cast
    return shape.layers * layer + cast


def _expert_copies(shape: ModelShape, tensors: Mapping[str, Tensor], setup: Setup) -> float:
    """Bytes of adapters on experts as they are multiplied: in the model's precision, and the second matrix by expert."""
    if setup.lora is None or not shape.experts:
        return 0.0
    count = on_tensors(setup.lora, {name: one.shape for name, one in tensors.items()}, shape.model_type)
    return count * (setup.size if setup.size < 4 else 2)


def kept_by_layer(shape: ModelShape, setup: Setup, load: Load) -> float:
    """Bytes that autograd keeps of one layer, on average over all of them."""
    size, wide, narrow = setup.size, shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    norms = _norms(shape, setup) + (_norm(setup) * (wide + narrow) if shape.qk_norm else 0)
    attention = 4 * shape.heads + size * 2 * wide  # sums of exponents; queries, results
    per_token = (
        norms + attention + _inputs(shape, setup) + _ranks(shape, setup) + _mlp(shape, setup) + routed(shape, setup)
    )
    return per_token * load.tokens + size * 2 * narrow * load.keys


def _norm(setup: Setup) -> int:
    """Bytes that a norm keeps of each value: its input in fp32, and what it made of it where its own weight is trained."""
    return 4 if setup.lora is not None else 8


def _norms(shape: ModelShape, setup: Setup) -> float:
    return shape.norms * (_norm(setup) * shape.hidden + 4)


def _inputs(shape: ModelShape, setup: Setup) -> float:
    """Bytes of the inputs of matrices whose gradient is asked for; a frozen matrix without an adapter keeps none."""
    wide = shape.heads * shape.head_dim
    into, inner = _plain_mlp(shape)
    on = _adapted(setup)
    if (setup.is_fused or setup.lora is None) and not setup.autocast:
        groups = [(("q", "k", "v"), shape.hidden), (("o",), wide), (("gate", "up"), into), (("down",), inner)]
        return setup.size * sum(width for names, width in groups if on & set(names))
    # Autocast makes a copy in 16 bits for each matrix, and PEFT one in fp32.
    single: dict[str, float] = {"q": shape.hidden, "k": shape.hidden, "v": shape.hidden, "o": wide}
    single |= {"gate": into, "up": into, "down": inner}
    size = setup.size if setup.autocast else 4
    return float(size * sum(width for name, width in single.items() if name in on - _absent(shape)))


def _mlp(shape: ModelShape, setup: Setup) -> float:
    """Bytes of the inside of an MLP: where it is gated the gate, what the activation made of it, and what it multiplies."""
    return setup.size * _inner(shape) * (3 if shape.mlp_matrices == 3 else 1)


def _inner(shape: ModelShape) -> float:
    """Width inside of the MLPs that a token goes through, on average over all layers."""
    sparse = shape.sparse_layers * (shape.active_experts * shape.expert_intermediate + shape.shared_intermediate)
    return (sparse + (shape.layers - shape.sparse_layers) * shape.intermediate) / shape.layers


def _plain_mlp(shape: ModelShape) -> tuple[float, float]:
    """Widths of the input and of the inside of MLPs that every token goes through, on average over all layers."""
    dense = shape.layers - shape.sparse_layers
    has_any = dense + (shape.sparse_layers if shape.shared_intermediate else 0)
    inner = dense * shape.intermediate + shape.sparse_layers * shape.shared_intermediate
    return shape.hidden * has_any / shape.layers, inner / shape.layers


def routed(shape: ModelShape, setup: Setup) -> float:
    """Bytes a token of what experts and routers keep besides, on average over all layers; the MLP's own not counted.

    What each chosen expert gives, where its choice came from, and the routers' logits and probabilities; where experts are
    trained or have adapters, also what each was given, and its inside.
    """
    if not shape.experts:
        return 0.0
    is_trained = setup.lora is None or names_experts(setup.lora)
    rank = 2 * setup.lora.rank if setup.lora is not None else 0
    given = shape.hidden + shape.expert_intermediate + rank if is_trained else 0
    choices = shape.active_experts * (setup.size * (shape.hidden + given) + _CHOICE)
    return (choices + shape.experts * (setup.size + 8)) * shape.sparse_layers / shape.layers


_CHOICE = 32
"""Bytes of a choice's expert, of its place among those sorted by expert and back, and of its weight."""


def _ranks(shape: ModelShape, setup: Setup) -> float:
    """Bytes between the two matrices of each adapter."""
    if setup.lora is None:
        return 0.0
    return (setup.size if setup.is_fused else 4) * setup.lora.rank * len(_adapted(setup) - _absent(shape))


def _absent(shape: ModelShape) -> frozenset[str]:
    """A plain MLP has no gate."""
    return frozenset() if shape.mlp_matrices == 3 else frozenset({"gate"})


_PLACES: dict[str, tuple[str, ...]] = {
    **{f"{name}_proj": (name,) for name in ("q", "k", "v", "o", "gate", "up", "down")},
    **dict.fromkeys(("qkv_proj", "query_key_value", "c_attn"), ("q", "k", "v")),
    **dict.fromkeys(("dense", "out_proj"), ("o",)),
    **dict.fromkeys(("fc1", "c_fc", "dense_h_to_4h"), ("up",)),
    **dict.fromkeys(("fc2", "dense_4h_to_h"), ("down",)),
    "gate_up_proj": ("gate", "up"),
    "c_proj": ("o", "down"),
}
"""What each family calls the matrices of a layer."""


def _adapted(setup: Setup) -> frozenset[str]:
    """Which of a layer's matrices have an adapter, those of experts aside; all of them where all weights are trained."""
    every = frozenset({"q", "k", "v", "o", "gate", "up", "down"})
    if setup.lora is None or setup.lora.target_modules == "all-linear":
        return every
    leaves = (name.rpartition(".")[2] for name in setup.lora.target_modules)
    return frozenset(place for leaf in leaves for place in _PLACES.get(leaf, ()))


def _working(shape: ModelShape, setup: Setup, load: Load) -> float:
    """Bytes of the backward pass through one layer: gradients of the MLP's inside and of its input."""
    return load.tokens * working_of_token(shape, setup.size)


def working_of_token(shape: ModelShape, size: int) -> int:
    """Bytes that a layer takes of one token while it computes an MLP, its values of so many bytes each."""
    return round(size * (3 * _inner(shape) + 2 * shape.hidden))


def _judging(judge: Judge, load: Load) -> int:
    """Bytes of a batch of the longest answers while a model reads them, which keeps none of its layers."""
    return judge.working * judge.at_once * load.answer_tokens


def _logits(shape: ModelShape, setup: Setup, load: Load) -> int:
    """Bytes of the loss, in fp32 and once more in the head's precision.

    A frozen head has logits and what their softmax becomes, and the gradient of each trained token's hidden state. A trained
    one has logits' softmax and two gradients of it, and where it is the embedding as well, keeps its own gradient for the end.
    """
    if not load.trained:
        return 0
    is_trained = setup.lora is None or "lm_head" in setup.lora.target_modules
    is_made_twice = is_trained or setup.weights == "float16"
    step = tokens_at_once(shape.vocabulary, on_gpu=setup.on_gpu, is_made_twice=is_made_twice)
    copies = (12 if is_made_twice else 8) + (setup.size if setup.size < 4 else 0)
    blocks = copies * shape.vocabulary * min(load.trained, step)
    if setup.lora is None and shape.tied:
        return blocks + 4 * shape.vocabulary * shape.hidden
    return blocks + (0 if is_made_twice else setup.size * shape.hidden * load.trained)


def _cache(shape: ModelShape, setup: Setup, load: Load) -> int:
    """Bytes of keys and values while answers are made, and of the logits of their next tokens."""
    values = 2 * shape.layers * shape.kv_heads * shape.head_dim * BYTES[setup.weights]
    return load.answers * (values * load.answer_tokens + 6 * shape.vocabulary)
