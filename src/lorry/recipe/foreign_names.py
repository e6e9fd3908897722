"""What Hugging Face, TRL, PEFT, Unsloth and Axolotl call the things that a lorry recipe holds.

A table only; `translate` applies it. Names and meanings: TrainingArguments (Transformers 5), SFTConfig, GRPOConfig, PPOConfig
(TRL 1), LoraConfig (PEFT), BitsAndBytesConfig, `FastLanguageModel.get_peft_model` (Unsloth), Axolotl's configuration reference.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum
from pathlib import PurePath
from typing import Any, NamedTuple

UNSET: Any = object()
"""What a converter gives for a value by which those libraries mean "not set"."""


class Target(NamedTuple):
    """Where a foreign name's value goes, and how it is converted."""

    path: str
    convert: Callable[[Any], Any] = lambda value: value


def _positive(value: Any) -> Any:
    return UNSET if isinstance(value, (int, float)) and value <= 0 else value


def _when(true: Any, false: Any = UNSET) -> Callable[[Any], Any]:
    return lambda value: {True: true, False: false}.get(value, value) if isinstance(value, bool) else value


def _renamed(**names: Any) -> Callable[[Any], Any]:
    """Renames a choice; what is not in the table is kept, for the recipe's own check to judge."""

    def convert(value: Any) -> Any:
        text = str(value.value if isinstance(value, Enum) else value).removeprefix("torch.")
        return names.get(text, value if isinstance(value, bool) else text)

    return convert


def _hub(value: Any) -> Any:
    """`OWNER/NAME` with a data set's name is the Hub's; anything with a suffix or a leading dot or slash is a file."""
    named = isinstance(value, str) and re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", value)
    is_file = named and PurePath(str(value)).suffix in {".jsonl", ".json", ".csv", ".parquet", ".txt"}
    return f"hub:{value}" if named and not is_file else value


def _text_field(value: Any) -> Any:
    return UNSET if value == "text" else {"name": "completion", "field": value}


def _modules(value: Any) -> Any:
    return sorted(value) if isinstance(value, (set, frozenset)) else value


def _classifier(value: Any) -> Any:
    return [{"name": "classifier", "model": value}]


def _at_least_none(value: Any) -> Any:
    """Below 0 for all, as older versions write it."""
    return 0 if isinstance(value, int) and value < 0 else value


_SCALED = {"group": True, "none": False, True: True, False: False}
_OPTIMIZERS = {
    **dict.fromkeys(("adamw_torch", "adamw_torch_fused", "adamw_hf", "paged_adamw_32bit", "paged_adamw"), "adamw"),
    **dict.fromkeys(("adamw_bnb_8bit", "paged_adamw_8bit"), "adamw_8bit"),
}
_PRECISIONS = {"bfloat16": "bf16", "float16": "fp16", "half": "fp16", "float32": "fp32", "float": "fp32"}
_LENGTH = ("max_seq_length", "max_length", "max_seq_len", "cutoff_len", "sequence_len")
_MODEL = ("model_name", "model_name_or_path", "base_model", "model_id", "pretrained_model_name_or_path")
_TRAIN = ("train_file", "train_path", "train_data", "train_data_path", "train_dataset", "data_path", "dataset_path")
_EVAL = ("eval_file", "eval_path", "eval_data", "eval_dataset", "validation_file", "val_file", "val_path", "val_data")
_TEST = ("test_file", "test_path", "test_data", "test_dataset")
_DTYPE = _renamed(auto=UNSET, **_PRECISIONS)
_CHECKPOINTING = _renamed(unsloth=True, true=True, false=False)

TARGETS: dict[str, Target] = {
    **{name: Target("model.id") for name in _MODEL},
    **{name: Target("data.train") for name in _TRAIN},
    **{name: Target("data.eval") for name in _EVAL},
    **{name: Target("data.test") for name in _TEST},
    **{name: Target("data.max_length") for name in _LENGTH},
    **{name: Target("lora.rank") for name in ("r", "lora_r", "lora_rank")},
    **{name: Target("model.precision", _DTYPE) for name in ("dtype", "torch_dtype")},
    "bnb_4bit_compute_dtype": Target("model.precision", _DTYPE),
    "dataset": Target("data.train"),
    "dataset_text_field": Target("data.format", _text_field),
    "dataset_name": Target("data.train", _hub),
    "run_name": Target("name"),
    "experiment_name": Target("name"),
    "model_revision": Target("model.revision"),
    "bf16": Target("model.precision", _when("bf16")),
    "fp16": Target("model.precision", _when("fp16")),
    "load_in_4bit": Target("model.quantization", _when("nf4")),
    "load_in_8bit": Target("model.quantization", _when("int8")),
    "bnb_4bit_use_double_quant": Target("model.double_quantization"),
    "use_double_quant": Target("model.double_quantization"),
    "attn_implementation": Target("model.attention", _renamed(flash_attention_2="flash", flash_attention_3="flash")),
    "use_flash_attention_2": Target("model.attention", _when("flash")),
    "flash_attention": Target("model.attention", _when("flash")),
    "adapter_path": Target("model.adapter"),
    "lora_alpha": Target("lora.alpha"),
    "lora_dropout": Target("lora.dropout"),
    "lora_target_modules": Target("lora.target_modules", _modules),
    "target_modules": Target("lora.target_modules", _modules),
    "target_parameters": Target("lora.target_parameters", _modules),
    "lora_target_parameters": Target("lora.target_parameters", _modules),
    "use_rslora": Target("lora.rslora"),
    "use_dora": Target("lora.dora"),
    "full_finetuning": Target("lora", _when(None)),
    "max_train_samples": Target("data.train_subset"),
    "max_eval_samples": Target("data.eval_subset"),
    "val_set_size": Target("data.eval_split"),
    "test_size": Target("data.eval_split"),
    "data_seed": Target("data.split_seed"),
    "chat_template_kwargs": Target("data.template_args"),
    "sample_packing": Target("data.packing"),
    "train_on_inputs": Target("method.train_on", _when("all", "assistant")),
    "assistant_only_loss": Target("method.train_on", _when("assistant", "all")),
    "beta": Target("method.beta"),
    "num_generations": Target("method.group_size"),
    "max_completion_length": Target("method.max_new_tokens"),
    "response_length": Target("method.max_new_tokens"),
    "temperature": Target("method.temperature"),
    "top_p": Target("method.top_p"),
    "top_k": Target("method.top_k", _at_least_none),
    "epsilon": Target("method.clip_range"),
    "epsilon_high": Target("method.clip_range_high"),
    "num_iterations": Target("method.epochs"),
    "scale_rewards": Target("method.scale_rewards", lambda value: _SCALED.get(value, value)),
    "mask_truncated_completions": Target("method.mask_truncated"),
    "reward_funcs": Target("method.rewards"),
    "reward_model_path": Target("method.rewards", _classifier),
    "num_ppo_epochs": Target("method.epochs"),
    "cliprange": Target("method.clip_range"),
    "cliprange_value": Target("method.value_clip"),
    "kl_coef": Target("method.kl_weight"),
    "vf_coef": Target("method.value_weight"),
    "gamma": Target("method.gamma"),
    "lam": Target("method.gae_lambda"),
    "max_steps": Target("train.steps", _positive),
    "num_train_epochs": Target("train.epochs", _positive),
    "num_epochs": Target("train.epochs", _positive),
    "per_device_train_batch_size": Target("train.micro_batch"),
    "micro_batch_size": Target("train.micro_batch"),
    "batch_size": Target("train.micro_batch"),
    "gradient_accumulation_steps": Target("train.accumulation"),
    "lr": Target("train.learning_rate"),
    "lr_scheduler_type": Target("train.schedule", _renamed(constant_with_warmup="constant")),
    "lr_scheduler": Target("train.schedule", _renamed(constant_with_warmup="constant")),
    "warmup_ratio": Target("train.warmup", _positive),
    "warmup_steps": Target("train.warmup", _positive),
    "optim": Target("train.optimizer", _renamed(**_OPTIMIZERS)),
    "gradient_clipping": Target("train.max_grad_norm"),
    "gradient_checkpointing": Target("train.activation_checkpointing", _CHECKPOINTING),
    "use_gradient_checkpointing": Target("train.activation_checkpointing", _CHECKPOINTING),
    "use_liger_kernel": Target("train.liger"),
    "random_state": Target("train.seed"),
    "logging_steps": Target("train.log_every"),
    "eval_steps": Target("train.eval_every"),
    "save_steps": Target("train.save_every"),
    "save_total_limit": Target("train.keep"),
    "load_best_model_at_end": Target("train.deliver", _when("best", "last")),
    "early_stopping_patience": Target("train.early_stop", lambda value: {"patience": value}),
    "per_device_eval_batch_size": Target("evaluate.batch_size"),
    "eval_batch_size": Target("evaluate.batch_size"),
    "budget_cap": Target("budget.usd"),
    "max_cost": Target("budget.usd"),
    "max_hours": Target("budget.hours"),
}
"""Foreign name to lorry's; names that are the same (`learning_rate`, `seed`, `packing`) need no entry."""

IN_SECTION: dict[str, dict[str, Target]] = {
    "model": {"name": Target("model.id"), "path": Target("model.id")},
    "data": {"name": Target("data.train", _hub), "path": Target("data.train")},
    "budget": {"cap": Target("budget.usd")},
}
"""Names that mean something only within a part of a nested configuration."""

GROUPS: dict[str, str] = {
    "model_config": "model",
    "model_args": "model",
    "quantization_config": "model",
    "bnb_config": "model",
    "data_config": "data",
    "data_args": "data",
    "dataset": "data",
    "dataset_config": "data",
    "peft": "lora",
    "peft_config": "lora",
    "lora_config": "lora",
    "training": "train",
    "training_args": "train",
    "training_config": "train",
    "train_config": "train",
    "trainer": "train",
    "sft_config": "train",
    "grpo_config": "train",
    "ppo_config": "train",
    "evaluation": "evaluate",
    "eval_config": "evaluate",
}
"""What the parts of nested configurations are called elsewhere; a part of any other name is read as if it were flat."""

STRONGER: dict[str, str] = {"max_steps": "num_train_epochs", "warmup_steps": "warmup_ratio"}
"""The first wins where both are set, as in Transformers."""

ONLY: dict[str, tuple[Any, ...]] = {
    "bias": ("none",),
    "task_type": ("CAUSAL_LM",),
    "bnb_4bit_quant_type": ("nf4",),
    "modules_to_save": (None, []),
    "loftq_config": (None, {}),
    "neftune_noise_alpha": (None,),
    "adam_beta1": (0.9,),
    "adam_beta2": (0.999,),
    "adam_epsilon": (1e-8,),
    "metric_for_best_model": (None, "loss", "eval_loss"),
    "greater_is_better": (None, False),
    "kl_estimator": ("k1",),
    "whiten_rewards": (False,),
    "num_mini_batches": (1,),
    "total_episodes": (None,),
    "missing_eos_penalty": (None,),
    "stop_token": (None, "eos"),
    "steps_per_generation": (None,),
    "generation_batch_size": (None,),
    "reward_weights": (None,),
    "importance_sampling_level": ("token",),
    "delta": (None,),
    "top_entropy_quantile": (1.0,),
    "min_p": (None, 0),
    "repetition_penalty": (1.0,),
    "sync_ref_model": (False,),
    "use_vllm": (False,),
    "shuffle_dataset": (True,),
    "eval_strategy": ("steps",),
    "evaluation_strategy": ("steps",),
    "save_strategy": ("steps",),
    "logging_strategy": ("steps",),
    "report_to": (None, "none", []),
    "push_to_hub": (False,),
    "do_train": (True,),
}
"""Names that lorry has no setting for, with the values by which they mean what it does anyway."""

UNUSED: dict[str, str] = {
    "output_dir": "a run's files lie under $LORRY_HOME/runs",
    "overwrite_output_dir": "every run has a folder of its own",
    "logging_dir": "a run's files lie under $LORRY_HOME/runs",
    "logging_first_step": "the first step is always recorded",
    "dataloader_num_workers": "rows are tokenised once, before training, and mapped from disk",
    "dataloader_pin_memory": "rows are tokenised once, before training, and mapped from disk",
    "dataset_num_proc": "rows are tokenised once, before training, and mapped from disk",
    "remove_unused_columns": "columns that the format does not know are never read",
    "group_by_length": "rows of like length are always put together",
    "disable_tqdm": "progress is drawn on terminals only",
    "max_prompt_length": "a prompt is left out that leaves no room for an answer within `data.max_length`",
    "local_rollout_forward_batch_size": "answers are made `evaluate.batch_size` at once, fewer where memory runs out",
    "num_sample_generations": "some answers of each rollout are told, and those of the last stand in the report",
    "log_completions": "some answers of each rollout are told, and those of the last stand in the report",
    "do_eval": "whether there are evaluations follows from `data.eval` and `data.eval_split`",
    "device_map": "a model is placed on the machine's one device",
}
"""Names whose value changes nothing here, and why; said aloud when met."""
