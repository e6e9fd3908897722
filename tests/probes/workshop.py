"""The folder that probes work in: models, rows and templates that let every setting show what it does."""

from __future__ import annotations

from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from mixture_runs import make_mixture
from model_folders import TEMPLATE, save_model
from tiny_runs import chat_rows, write_rows
from tiny_vision import image_row, picture, save_vision

CODE = """
from transformers import LlamaConfig, LlamaForCausalLM


class CodedConfig(LlamaConfig):
    model_type = "KIND"


class CodedModel(LlamaForCausalLM):
    config_class = CodedConfig
"""
LIGER = """
def _apply_liger_kernel_to_instance(model, **settings):
    model.liger = settings


MODEL_TYPE_TO_APPLY_LIGER_FN = {"llama": None}
"""
THINKING = "{% if enable_thinking is defined and not enable_thinking %}<no-thinking>{% endif %}" + TEMPLATE


def furnish(folder: Path) -> Path:
    """Writes everything; tests may read it all and change nothing."""
    save_model(folder / "model")
    save_model(folder / "other", rms_norm_eps=1.0)
    make_mixture(save_model(folder / "mixture"))
    _save_coded(folder / "coded", "coded")
    _save_coded(folder / "disguised", "llama")
    _save_adapter(folder)
    _save_liger(folder / "installed" / "liger_kernel" / "transformers")
    write_rows(folder / "rows.jsonl", chat_rows(24))
    write_rows(folder / "more.jsonl", chat_rows(6, start=100))
    write_rows(folder / "broken.jsonl", [*chat_rows(8), {"messages": []}])
    _write_long(folder / "long.jsonl")
    _write_alike(folder / "alike.jsonl")
    laid_out_twice = {"prompt": "What is two?", "completion": "A number.", "text": "Raw text."}
    write_rows(folder / "both.jsonl", [{**row, **laid_out_twice} for row in chat_rows(8)])
    _save_images(folder)
    (folder / "shout.jinja").write_text(TEMPLATE.replace("message['role']", "message['role'] | upper"), "utf-8")
    (folder / "thinking.jinja").write_text(THINKING, "utf-8")
    return folder


def _write_long(file: Path) -> None:
    """Eight rows, of which two are longer than any other row here."""
    rows = chat_rows(8)
    for row in rows[2:4]:
        row["messages"][-1]["content"] = "red " * 200
    write_rows(file, rows)


def _write_alike(file: Path) -> None:
    """Four rows, of which two differ in one word of many."""
    said = "We walked along the harbour, counted the boats that had come in over night, and wrote down their"
    rows = chat_rows(4)
    for row, last in zip(rows[2:], ("names", "colours"), strict=True):
        row["messages"][-2]["content"], row["messages"][-1]["content"] = "What did you do?", f"{said} {last}."
    write_rows(file, rows)


def _save_coded(folder: Path, kind: str) -> None:
    """A model that brings its own Python, and says that it is of some kind."""
    classes = {"AutoConfig": "code.CodedConfig", "AutoModelForCausalLM": "code.CodedModel"}
    save_model(folder, model_type=kind, architectures=["CodedModel"], auto_map=classes)
    (folder / "code.py").write_text(CODE.replace("KIND", kind), "utf-8")


def _save_adapter(folder: Path) -> None:
    """An adapter that has learnt something: its B is not zero."""
    model = AutoModelForCausalLM.from_pretrained(folder / "model")
    made = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM"))
    for name, weight in made.named_parameters():
        if "lora_B" in name:
            torch.nn.init.ones_(weight)
    made.save_pretrained(folder / "adapter")


def _save_liger(folder: Path) -> None:
    """A package with the interface of Liger's that lorry calls; the real one needs a GPU to be imported."""
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").touch()
    (folder / "__init__.py").touch()
    (folder / "monkey_patch.py").write_text(LIGER, "utf-8")


def _save_images(folder: Path) -> None:
    """A model that reads images, one under the same name in two folders, and rows of which one shows nothing."""
    save_vision(folder / "seeing", "qwen3_vl")
    (folder / "elsewhere").mkdir()
    (folder / "one.png").write_bytes(picture(1, 256, 256))
    (folder / "elsewhere" / "one.png").write_bytes(picture(2, 64, 64))
    (folder / "torn.png").write_bytes(picture(3)[:60])
    write_rows(folder / "images.jsonl", [image_row("<image>see", "a cat", ["one.png"])])
    write_rows(folder / "torn.jsonl", [image_row("<image>see", "a cat", [name]) for name in ("one.png", "torn.png")])
