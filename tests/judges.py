"""Builders of models that judge, for tests that load none of them: files with the right names and shapes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lorry.plan.subject import Subject
from model_folders import config, save_model, save_tokenizer, write_json
from subjects import subject

PROMPTS = [{"prompt": f"Say {number}", "answer": str(number)} for number in range(12)]


def given(folder: Path, reward: dict[str, Any], **sections: Any) -> Subject:
    """A recipe that learns by one reward; the folder's model is `tiny`."""
    method = {"name": "grpo", "group_size": 4, "max_new_tokens": 16, "rewards": [reward], **sections.pop("method", {})}
    return subject(folder, rows=PROMPTS, method=method, **sections)


def save_adapter(
    folder: Path, hidden: int = 32, task: str = "SEQ_CLS", *, head: bool = True, base: str = "tiny", **settings: Any
) -> Path:
    """What a reward model's adapter of such a width leaves, filled with zeros."""
    import numpy as np
    from safetensors.numpy import save_file

    folder.mkdir(parents=True)
    module = "base_model.model.model.layers.0.self_attn.q_proj"
    made = {f"{module}.lora_A.weight": np.zeros((4, hidden), np.float32)}
    made |= {f"{module}.lora_B.weight": np.zeros((hidden, 4), np.float32)}
    made |= {"base_model.model.score.weight": np.zeros((1, hidden), np.float32)} if head else {}
    save_file(made, folder / "adapter_model.safetensors")
    known = {"task_type": task, "peft_type": "LORA", "base_model_name_or_path": base}
    write_json(folder / "adapter_config.json", known | settings)
    return folder


def save_classifier(folder: Path, labels: list[str], architecture: str = "BertForSequenceClassification") -> Path:
    save_model(folder)
    save_tokenizer(folder)
    named = {str(number): label for number, label in enumerate(labels)}
    write_json(folder / "config.json", config(architectures=[architecture], id2label=named))
    return folder
