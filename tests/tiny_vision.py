"""Builders of tiny vision-language models: folders with random weights, a trained tokenizer, an image processor; and images."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tokenizers import AddedToken, Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from transformers import AutoConfig, AutoModelForImageTextToText

from tiny_runs import write_rows

CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}IMAGE{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PARTS = (
    "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}:"
    "{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}{% elif part['type'] == 'image' %}"
    "{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)
"""As SmolVLM's: it reads typed parts alone."""
COLOURS = ["red", "green", "blue", "black", "white", "brown", "pink", "grey"]
_SQUARES = [f"<row_{row}_col_{column}>" for row in range(1, 5) for column in range(1, 5)]
SPECIAL = [
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<end_of_utterance>", "<image>", "<|image_pad|>", "<|video_pad|>"),
    *("<|vision_start|>", "<|vision_end|>", "<fake_token_around_image>", "<global-img>", *_SQUARES),
]
TEXT = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
}
_CLIP = {
    "model_type": "clip_vision_model",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}
_CLIP_PROCESSOR = {
    "image_processor_type": "CLIPImageProcessor",
    "crop_size": {"height": 32, "width": 32},
    "size": {"shortest_edge": 32},
}
_QWEN_TEXT = {**TEXT, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}}
_QWEN_PROCESSOR = {
    "image_processor_type": "Qwen2VLImageProcessor",
    "size": {"shortest_edge": 3136, "longest_edge": 100352},
}


def picture(seed: int = 0, width: int = 40, height: int = 30, form: str = "PNG") -> bytes:
    """An image of coloured squares, as the bytes of a file."""
    draw = np.random.default_rng(seed)
    squares = draw.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(squares).resize((width, height), Image.Resampling.NEAREST).save(out, form)
    return out.getvalue()


def save_vision(
    folder: Path,
    kind: str = "llava",
    texts: Iterable[str] = (),
    *,
    spread: float = 0.0,
    vision: dict[str, Any] | None = None,
    **text: Any,
) -> Path:
    """A whole folder of a random vision-language model; `texts` are what its tokenizer is trained on."""
    folder.mkdir(parents=True, exist_ok=True)
    backend = _tokenizer(texts)
    backend.save(str(folder / "tokenizer.json"))
    smol = kind in ("idefics3", "smolvlm")
    end = "<end_of_utterance>" if smol else "<|im_end|>"
    _write(
        folder / "tokenizer_config.json",
        {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": end, "pad_token": "<|endoftext|>"},
    )
    token = {"qwen2_5_vl": "<|image_pad|>", "qwen3_vl": "<|image_pad|>"}.get(kind, "<image>")
    shown = f"<|vision_start|>{token}<|vision_end|>" if "pad" in token else token
    (folder / "chat_template.jinja").write_text(PARTS if smol else CHAT.replace("IMAGE", shown), encoding="utf-8")
    settings, processor = _settings(kind, backend, text)
    _write(folder / "preprocessor_config.json", processor)
    settings["vision_config"] = {**settings["vision_config"], **(vision or {})}
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **settings, image_token_id=backend.token_to_id(token))
    model = AutoModelForImageTextToText.from_config(config, dtype=torch.float32)
    if spread:
        _spread(model, spread)
    model.save_pretrained(folder)
    return folder


@torch.no_grad()
def _spread(model: Any, spread: float) -> None:
    """Weights of a size that tells images and words apart from the beginning, as those of a trained model do."""
    for weight in model.parameters():
        if weight.dim() > 1:
            weight.normal_(std=spread)


def vision_recipe(
    folder: Path, kind: str = "llava", rows: list[dict[str, Any]] | None = None, **sections: Any
) -> dict[str, Any]:
    """A recipe of four steps over rows with images of several sizes, one of which shows two, and one none."""
    save_vision(folder / "model", kind, COLOURS, spread=0.1)
    (folder / "images").mkdir()
    for at in range(8):
        (folder / "images" / f"{at}.png").write_bytes(picture(at // 2, 40 + 20 * (at % 3), 60))
    write_rows(folder / "rows.jsonl", rows or image_rows())
    defaults: dict[str, Any] = {
        "model": {"id": str(folder / "model")},
        "data": {"train": str(folder / "rows.jsonl"), "eval_split": 2, "max_length": 256},
        "lora": {"rank": 4, "alpha": 8},
        "train": {"steps": 4, "micro_batch": 3, "learning_rate": 0.01},
        "evaluate": {"rows": 2, "max_new_tokens": 4},
    }
    return defaults | {
        name: {**defaults.get(name, {}), **section} if isinstance(section, dict) else section
        for name, section in sections.items()
    }


def image_rows() -> list[dict[str, Any]]:
    rows = [
        image_row(f"<image>which colour {at % 2}", colour, [f"images/{at}.png"]) for at, colour in enumerate(COLOURS)
    ]
    two = image_row("<image> or <image>", "both", ["images/0.png", "images/5.png"])
    return [*rows, two, image_row("nothing to see", "none", [])]


def image_row(asked: str, answer: str, images: list[str]) -> dict[str, Any]:
    turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
    return {"messages": turns, "images": images}


def _settings(kind: str, backend: Tokenizer, changes: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    ids = {"vocab_size": backend.get_vocab_size(), "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    if kind == "llava":
        text = {"model_type": "llama", **TEXT, **ids, **changes}
        return {"text_config": text, "vision_config": _CLIP, "vision_feature_layer": -2}, _CLIP_PROCESSOR
    if kind in ("idefics3", "smolvlm"):
        text = {"model_type": "llama", **TEXT, **ids, **changes}
        vision = {**{key: _CLIP[key] for key in _CLIP if key != "model_type"}, "image_size": 32, "patch_size": 8}
        name = {"idefics3": "Idefics3", "smolvlm": "SmolVLM"}[kind]
        processor = {"image_processor_type": f"{name}ImageProcessor", "max_image_size": {"longest_edge": 32}}
        return {"text_config": text, "vision_config": vision, "scale_factor": 2}, {
            **processor,
            "size": {"longest_edge": 64},
        }
    text = {**_QWEN_TEXT, **ids, "head_dim": 16, **changes}
    video = {"video_token_id": backend.token_to_id("<|video_pad|>")}
    video |= {f"vision_{end}_token_id": backend.token_to_id(f"<|vision_{end}|>") for end in ("start", "end")}
    if kind == "qwen2_5_vl":
        text.pop("head_dim")
        vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 64}
        vision |= {"fullatt_block_indexes": [1], "window_size": 56, "patch_size": 14}
        return {"text_config": text, "vision_config": vision, **video}, {**_QWEN_PROCESSOR, "patch_size": 14}
    vision = {"depth": 3, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 64}
    vision |= {"deepstack_visual_indexes": [0, 1], "num_position_embeddings": 64, "patch_size": 16}
    return {"text_config": text, "vision_config": vision, **video}, {**_QWEN_PROCESSOR, "patch_size": 16}


def _tokenizer(texts: Iterable[str]) -> Tokenizer:
    backend = Tokenizer(BPE())
    backend.pre_tokenizer = ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
    backend.decoder = ByteLevelDecoder()  # type: ignore[assignment]
    special = [AddedToken(text, special=True) for text in SPECIAL]
    trainer = BpeTrainer(
        vocab_size=800, special_tokens=special, initial_alphabet=ByteLevel.alphabet(), show_progress=False
    )
    backend.train_from_iterator([*texts, "user assistant system what is there"], trainer)
    return backend


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")
