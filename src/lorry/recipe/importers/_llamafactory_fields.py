"""LLaMA-Factory's fields that can be looked at one by one.

Names and meanings: its `hparams`, of versions 0.8 to 0.9, and Transformers' TrainingArguments, which it takes too.
"""

from __future__ import annotations

from typing import Any

from lorry.recipe.foreign_names import UNSET
from lorry.recipe.importers._rules import Idle, Lacks, Only, Rule, To, number, only, shared, truth, unused, when

ITSELF = ("llamafactory",)
BOTH = ("axolotl", "unsloth")
AXOLOTL = ("axolotl",)
_SPEED = "changes how fast it goes, not what is learnt"
_RENDERED = "rows are rendered once, and kept"
_DEVICES = "lorry trains on one device; what is learnt depends on the batch alone"
_LOADING = "lorry loads models in its own way"
_ANSWERING = "for answering, not for training"
_EXPORT = "for exporting, not for training"
_SERVING = "for serving, not for training"
_PICTURES = "belongs to rows with images, video or sound"
_HUB = "lorry delivers to the run's folder, from which an adapter can be uploaded"
_TRACKER = "lorry sends curves to Weights & Biases and TensorBoard: `track.sinks`"
_TOKENS = "lorry adds no tokens to a model"
_FROZEN = "lorry trains an adapter, or all weights"
_ADAMW = "lorry's optimizers are AdamW's"
_OTHER = "of Transformers' own trainer, which lorry does not use"
_EVALUATED = "lorry scores metrics of its own: `evaluate.metrics`"


def _idle(why: str, *names: str) -> dict[str, Rule]:
    return {name: Idle(why) for name in names}


def _lacks(why: str, *names: str, engines: tuple[str, ...] = AXOLOTL, matters: bool = True) -> dict[str, Rule]:
    return {name: Lacks(why, engines, matters) for name in names}


def _steps(value: Any) -> Any:
    return UNSET if isinstance(value, (int, float)) and value <= 0 else value


RULES: dict[str, Rule] = {
    **shared(("cutoff_len", "per_device_train_batch_size", "gradient_accumulation_steps", "save_total_limit")),
    **shared(("per_device_eval_batch_size", "data_seed", "run_name", "model_revision")),
    **unused(("output_dir", "overwrite_output_dir", "logging_dir", "logging_first_step", "dataloader_num_workers")),
    **unused(("dataloader_pin_memory", "remove_unused_columns", "group_by_length", "disable_tqdm", "do_eval")),
    **only(("adam_beta1", "adam_beta2", "adam_epsilon", "metric_for_best_model", "greater_is_better"), BOTH),
    **only(("neftune_noise_alpha",), BOTH),
    "learning_rate": To("train.learning_rate", number),
    "weight_decay": To("train.weight_decay", number),
    "max_grad_norm": To("train.max_grad_norm", number),
    "num_train_epochs": To("train.epochs", number),
    "max_steps": To("train.steps", _steps),
    "seed": To("train.seed"),
    "load_best_model_at_end": To("train.deliver", when("best", "last")),
    "early_stopping_steps": To("train.early_stop", lambda value: {"patience": value}),
    "lora_rank": To("lora.rank"),
    "lora_alpha": To("lora.alpha", number),
    "lora_dropout": To("lora.dropout", number),
    "use_rslora": To("lora.rslora", truth),
    "use_dora": To("lora.dora", truth),
    "double_quantization": To("model.double_quantization", truth),
    "quantization_type": Only(("nf4",), BOTH),
    "bf16": To("model.precision", when("bf16")),
    "pure_bf16": To("model.precision", when("bf16")),
    "fp16": To("model.precision", when("fp16")),
    "tf32": To("model.tf32", truth),
    "moe_aux_loss_coef": To("train.router_aux_loss_coef", number),
    "enable_liger_kernel": To("train.liger", when(True)),
    "eval_accumulation_steps": Idle(_SPEED),
    # --- what changes nothing
    **_idle(_SPEED, "flash_attn", "use_unsloth_gc", "use_reentrant_gc", "torch_compile", "torch_compile_backend"),
    **_idle(_SPEED, "torch_compile_mode", "use_v1_kernels", "upcast_lmhead_output", "use_cache", "use_kv_cache"),
    **_idle(_SPEED, "bf16_full_eval", "fp16_full_eval", "gradient_checkpointing_kwargs", "optim_target_modules"),
    **_idle(_SPEED, "tokenized_path", "use_kt", "kt_optimize_rule", "cpu_infer", "chunk_size", "mode", "kt_maxlen"),
    **_idle(_SPEED, "kt_use_cuda_graph", "kt_mode", "kt_force_think", "upcast_layernorm", "block_diag_attn"),
    **_idle(
        _RENDERED, "overwrite_cache", "preprocessing_batch_size", "preprocessing_num_workers", "data_shared_file_system"
    ),
    **_idle(_RENDERED, "streaming", "buffer_size", "dataloader_prefetch_factor", "dataloader_persistent_workers"),
    **_idle(_DEVICES, "deepspeed", "fsdp", "fsdp_config", "ddp_timeout", "ddp_find_unused_parameters", "ddp_backend"),
    **_idle(_DEVICES, "ddp_bucket_cap_mb", "local_rank", "sequence_parallel_size", "device_map", "accelerator_config"),
    **_idle(_DEVICES, "ray_run_name", "ray_num_workers", "ray_storage_path", "ray_storage_filesystem", "use_ray"),
    **_idle(_DEVICES, "resources_per_worker", "placement_strategy", "ray_init_kwargs", "sequence_parallel_mode"),
    **_idle(_LOADING, "cache_dir", "use_fast_tokenizer", "split_special_tokens", "low_cpu_mem_usage", "infer_dtype"),
    **_idle(_LOADING, "hf_hub_token", "ms_hub_token", "om_hub_token", "offload_folder", "quantization_device_map"),
    **_idle(_LOADING, "use_hf_kernels", "print_param_status", "init_special_tokens", "compute_dtype"),
    **_idle(
        _ANSWERING,
        "do_sample",
        "max_new_tokens",
        "temperature",
        "top_p",
        "top_k",
        "num_beams",
        "max_length",
        "repetition_penalty",
    ),
    **_idle(_ANSWERING, "length_penalty", "default_system", "skip_special_tokens", "eval_num_beams", "infer_backend"),
    **_idle(_ANSWERING, "generation_max_length", "generation_num_beams", "system_message", "generation_config"),
    **_idle(_EXPORT, "export_dir", "export_size", "export_device", "export_quantization_bit", "export_legacy_format"),
    **_idle(_EXPORT, "export_quantization_dataset", "export_quantization_nsamples", "export_quantization_maxlen"),
    **_idle(_EXPORT, "export_hub_model_id"),
    **_idle(_SERVING, "vllm_maxlen", "vllm_gpu_util", "vllm_enforce_eager", "vllm_max_lora_rank", "vllm_config"),
    **_idle(_SERVING, "sglang_maxlen", "sglang_mem_fraction", "sglang_tp_size", "sglang_config", "sglang_lora_backend"),
    **_idle(_OTHER, "full_determinism", "torch_empty_cache_steps", "use_cpu", "no_cuda", "jit_mode_eval", "debug"),
    **_idle(_OTHER, "logging_nan_inf_filter", "prediction_loss_only", "include_for_metrics", "length_column_name"),
    **_idle(_OTHER, "label_names", "batch_eval_metrics", "eval_do_concat_batches", "average_tokens_across_devices"),
    **_idle(_OTHER, "restore_callback_states_from_checkpoint", "log_level_replica", "project", "trackio_space_id"),
    **_idle("lorry delivers PEFT adapters in safetensors", "save_safetensors", "save_only_model", "pissa_convert"),
    **_idle("`lorry resume` goes on with a run", "resume_from_checkpoint", "ignore_data_skip"),
    **_idle("every report has the curves", "plot_loss"),
    **_idle("lorry tells speed, loss and memory at every step", "include_num_input_tokens_seen", "log_level"),
    **_idle("lorry tells speed, loss and memory at every step", "include_effective_tokens_per_second"),
    **_idle("lorry tells speed, loss and memory at every step", "skip_memory_metrics", "log_on_each_node"),
    **_idle("padding is never learnt", "ignore_pad_token_for_loss"),
    **_idle("an out-of-memory error makes the micro-batch smaller by itself", "auto_find_batch_size"),
    **_idle("a batch is never cut short by what is left of an epoch", "dataloader_drop_last"),
    "freeze_vision_tower": Only((True,), ITSELF),
    "freeze_multi_modal_projector": Only((True,), ITSELF),
    "freeze_language_model": Only((False,), ITSELF),
    "save_on_each_node": Idle(_DEVICES),
    # --- what is not native, and harms nothing
    **_lacks(_HUB, "push_to_hub", "hub_model_id", "hub_strategy", "hub_token", "hub_private_repo", matters=False),
    **_lacks(_TRACKER, "use_swanlab", "swanlab_project", "swanlab_workspace", "swanlab_run_name", matters=False),
    **_lacks(_TRACKER, "swanlab_mode", "swanlab_api_key", "swanlab_logdir", "swanlab_lark_webhook_url", matters=False),
    **_lacks(_TRACKER, "swanlab_lark_secret", matters=False),
    **_lacks(_EVALUATED, "compute_accuracy", "predict_with_generate", "eval_on_each_dataset", matters=False),
    **_lacks(_EVALUATED, "do_predict", "eval_on_start", "eval_delay", matters=False),
    **_lacks("equal parts are taken of what there is", "mix_strategy", "interleave_probs", engines=ITSELF),
    # --- what is not native, and matters
    **_lacks(_TOKENS, "resize_vocab", "add_tokens", "add_special_tokens", "new_special_tokens", engines=BOTH),
    **_lacks(_TOKENS, "new_special_tokens_config", engines=ITSELF),
    **_lacks("the adapter trains no other modules", "additional_target", engines=BOTH),
    **_lacks("adapters begin as PEFT begins them", "pissa_init", engines=BOTH),
    **_lacks("one learning rate serves all weights", "loraplus_lr_ratio"),
    **_lacks("the learning rate falls by `train.schedule` alone", "lr_scheduler_kwargs"),
    **_lacks(_ADAMW, "use_galore", "use_apollo", "use_badam", "use_adam_mini", "use_muon", "optim_args"),
    **_lacks(_FROZEN, "use_llama_pro", engines=ITSELF),
    **_lacks("the model is trained as its configuration says", "rope_scaling", "shift_attn", "mixture_of_depths"),
    **_lacks("the model begins with its published weights", "train_from_scratch"),
    **_lacks(
        "the loss is the mean over trained tokens", "use_dft_loss", "use_eaft_loss", "use_asft_loss", engines=ITSELF
    ),
    **_lacks("the loss is the mean over trained tokens", "label_smoothing_factor", engines=BOTH),
    **_lacks("rows come in an order of lorry's own", "disable_shuffling", engines=ITSELF),
    **_lacks("lorry trains in bf16, fp16 or fp32", "fp8", "fp8_enable_fsdp_float8_all_gather"),
    **_lacks("LLaMA-Factory is not an engine of lorry", "use_mca", engines=ITSELF),
    **_lacks("answers think as the chat template writes it", "enable_thinking", engines=ITSELF, matters=False),
    **_lacks("tools are written as the model's own chat template writes them", "tool_format", matters=False),
    **_lacks("belongs to a loss that is not chosen", "pref_bco_weight", "ld_alpha", engines=ITSELF),
    "fp8_backend": Idle("belongs to fp8"),
}

GROUPS: dict[str, tuple[str, str]] = {
    "galore_": ("use_galore", "belongs to GaLore, which is off"),
    "apollo_": ("use_apollo", "belongs to APOLLO, which is off"),
    "badam_": ("use_badam", "belongs to BAdam, which is off"),
    "freeze_trainable_": ("", "belongs to `finetuning_type: freeze`"),
    "freeze_extra_": ("", "belongs to `finetuning_type: freeze`"),
    "oft_": ("", "belongs to `finetuning_type: oft`"),
    "module_dropout": ("", "belongs to `finetuning_type: oft`"),
    "loraplus_": ("loraplus_lr_ratio", "belongs to LoRA+, which is off"),
    "pissa_": ("pissa_init", "belongs to PiSSA, which is off"),
    "image_": ("", _PICTURES),
    "video_": ("", _PICTURES),
    "audio_": ("", _PICTURES),
    "crop_to_patches": ("", _PICTURES),
    "use_audio_in_video": ("", _PICTURES),
    "media_dir": ("", _PICTURES),
    "ref_model": ("", "belongs to preferences"),
    "reward_model": ("", "belongs to PPO"),
    "ppo_": ("", "belongs to PPO"),
    "kto_": ("", "belongs to KTO"),
    "pref_": ("", "belongs to preferences"),
    "dpo_": ("", "belongs to preferences"),
    "simpo_": ("", "belongs to preferences"),
}
"""Beginnings of names that belong to something else, the field that switches that on, and what to say where it is off."""
