"""Builders of tiny models: real files of every kind, small enough to write in a test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel

HIDDEN, MIDDLE, HEADS, LAYERS = 32, 64, 2, 1
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
VOCABULARY = [*SPECIAL, *sorted(ByteLevel.alphabet()), "ab"]


def config(**changes: Any) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "float32",
        "hidden_size": HIDDEN,
        "intermediate_size": MIDDLE,
        "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS,
        "num_hidden_layers": LAYERS,
        "vocab_size": len(VOCABULARY),
        "max_position_embeddings": 256,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True,
        "bos_token_id": 1,
        "eos_token_id": 2,
        **changes,
    }


def weights() -> dict[str, NDArray[np.float32]]:
    draw = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (len(VOCABULARY), HIDDEN),
        "model.norm.weight": (HIDDEN,),
    }
    for layer in range(LAYERS):
        start = f"model.layers.{layer}."
        shapes |= {f"{start}self_attn.{name}_proj.weight": (HIDDEN, HIDDEN) for name in "qkvo"}
        shapes |= {f"{start}mlp.{name}_proj.weight": (MIDDLE, HIDDEN) for name in ("gate", "up")}
        shapes[f"{start}mlp.down_proj.weight"] = (HIDDEN, MIDDLE)
        shapes |= {f"{start}{name}_layernorm.weight": (HIDDEN,) for name in ("input", "post_attention")}
    return {name: draw.normal(0, 0.05, shape).astype(np.float32) for name, shape in shapes.items()}


def save_tokenizer(folder: Path, *, template: str | None = TEMPLATE, eos: str | None = "<|im_end|>") -> None:
    backend = Tokenizer(BPE(vocab={token: index for index, token in enumerate(VOCABULARY)}, merges=[("a", "b")]))
    backend.pre_tokenizer = ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
    backend.decoder = ByteLevelDecoder()  # type: ignore[assignment]
    backend.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    backend.save(str(folder / "tokenizer.json"))
    named = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<|endoftext|>"}
    write_json(folder / "tokenizer_config.json", named | ({"eos_token": eos} if eos else {}))
    if template is not None:
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")


def save_model(folder: Path, **changes: Any) -> Path:
    """A whole model folder: a Llama with one layer and a vocabulary of bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", config(**changes))
    save_tokenizer(folder)
    save_file(weights(), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def save_gguf(file: Path, *, pre: str = "smollm", leave_out: str = "") -> Path:
    """The same model as a GGUF file in float32."""
    from gguf import GGUFWriter

    file.parent.mkdir(parents=True, exist_ok=True)
    writer = GGUFWriter(file, "llama")
    writer.add_name("tiny")
    writer.add_file_type(0)
    writer.add_block_count(LAYERS)
    writer.add_context_length(256)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(MIDDLE)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(HIDDEN // HEADS)
    writer.add_vocab_size(len(VOCABULARY))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(VOCABULARY)
    writer.add_token_types([3 if token in SPECIAL else 1 for token in VOCABULARY])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(0)
    writer.add_chat_template(TEMPLATE)
    for name, tensor in _gguf_tensors().items():
        if name != leave_out:
            writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


_PARTS = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def _gguf_tensors() -> dict[str, NDArray[np.float32]]:
    made = weights()
    named = {
        "token_embd.weight": made.pop("model.embed_tokens.weight"),
        "output_norm.weight": made.pop("model.norm.weight"),
    }
    for name, tensor in made.items():
        layer, _, part = name.removeprefix("model.layers.").partition(".")
        short = part.removesuffix(".weight")
        turned = _interleaved(tensor) if short in ("self_attn.q_proj", "self_attn.k_proj") else tensor
        named[f"blk.{layer}.{_PARTS[short]}.weight"] = turned
    return named


def _interleaved(tensor: NDArray[np.float32]) -> NDArray[np.float32]:
    """The order of rows that llama.cpp's rotary embedding expects in queries and keys."""
    rows = tensor.shape[0]
    return tensor.reshape(HEADS, 2, rows // HEADS // 2, -1).swapaxes(1, 2).reshape(tensor.shape)
