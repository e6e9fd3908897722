"""One batch through TRL's SFTTrainer and through lorry: the same loss, the same gradient of every LoRA tensor (fp32)."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest

from lorry.data.examples import Example
from lorry.trainer import attention
from lorry.trainer.forest import plant
from tiny_models import forward_of, loss_and_gradients, rows, tiny_model, with_lora, worst_difference

pytest.importorskip("trl", reason="TRL is the yardstick; `make test` installs it")

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # of TRL's, about itself
]


def trl_loss_and_gradients(model: Any, examples: list[Example], folder: Path) -> tuple[float, dict[str, Any]]:
    """What SFTTrainer computes for these rows as one batch, given as tokens so that both train on the same ones."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    columns = {
        "input_ids": [row.ids.tolist() for row in examples],
        "completion_mask": [row.trained.astype(int).tolist() for row in examples],
    }
    config = SFTConfig(
        output_dir=str(folder),
        per_device_train_batch_size=len(examples),
        bf16=False,
        gradient_checkpointing=False,
        max_length=None,
        completion_only_loss=True,
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
    )
    trainer = SFTTrainer(model=model, args=config, train_dataset=Dataset.from_dict(columns), processing_class=words())
    batch = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    model.zero_grad(set_to_none=True)
    loss = trainer.compute_loss(model, batch)
    loss.backward()
    return float(loss), {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}


def words() -> Any:
    """A tokenizer that TRL insists on and, with tokens given, never asks."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    names = {"<pad>": 0, "<s>": 1, "</s>": 2}
    backend = Tokenizer(models.WordLevel(names, unk_token="<pad>"))
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", eos_token="</s>")


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_one_batch_gives_trl_loss_and_gradients(kind, tmp_path):
    examples = rows(8)
    with warnings.catch_warnings(action="ignore"):
        expected, wanted = trl_loss_and_gradients(with_lora(tiny_model(kind)), examples, tmp_path)
    model = with_lora(tiny_model(kind, attention.NAME), fast=True)
    found, got = loss_and_gradients(model, forward_of(model), [plant(examples)])
    assert abs(found - expected) / expected < 1e-5
    assert worst_difference(got, wanted) < 1e-5
