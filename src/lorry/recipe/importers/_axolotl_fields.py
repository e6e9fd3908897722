"""Axolotl's fields that can be looked at one by one.

Names and meanings: its configuration reference and `utils/schemas`, of versions 0.4 to 0.12 and the deprecated ones before.
"""

from __future__ import annotations

from typing import Any

from lorry.recipe.foreign_names import TARGETS, UNSET
from lorry.recipe.importers._rules import Idle, Lacks, Only, Rule, To, number, only, shared, truth, unused, when

ITSELF = ("axolotl",)
BOTH = ("axolotl", "unsloth")
_SPEED = "changes how fast it goes, not what is learnt"
_ATTENTION = "lorry chooses its attention by itself; `model.attention` names another"
_DEVICES = "lorry trains on one device; what is learnt depends on the batch alone"
_LOADING = "lorry loads models in its own way"
_LOGGED = "lorry tells speed, loss and memory at every step"
_TRACKER = "lorry sends curves to Weights & Biases and TensorBoard: `track.sinks`"
_HUB = "lorry delivers to the run's folder, from which an adapter can be uploaded"
_SERVING = "for trying a model out: `lorry chat`"
_TOKENS = "lorry adds no tokens to a model"
_EVALUATED = "lorry scores metrics of its own: `evaluate.metrics`"
_INTERNAL = "Axolotl's own, not for people to set"
_RELORA = "ReLoRA merges and restarts the adapter while it trains"


def _checkpointing(value: Any) -> Any:
    return True if value in ("unsloth", "offload", "offload_disk") else truth(value)


def _full(value: Any) -> Any:
    return TARGETS["bf16"].convert(True if value == "full" else UNSET if value == "auto" else truth(value))


def _steps(value: Any) -> Any:
    return UNSET if isinstance(value, (int, float)) and value <= 0 else value


def _idle(why: str, *names: str) -> dict[str, Rule]:
    return {name: Idle(why) for name in names}


def _lacks(why: str, *names: str, engines: tuple[str, ...] = ITSELF, matters: bool = True) -> dict[str, Rule]:
    return {name: Lacks(why, engines, matters) for name in names}


RULES: dict[str, Rule] = {
    **shared(("sequence_len", "micro_batch_size", "gradient_accumulation_steps", "eval_batch_size", "data_seed")),
    **shared(("save_total_limit", "early_stopping_patience", "lora_dropout")),
    **unused(("output_dir", "dataloader_num_workers", "dataloader_pin_memory", "remove_unused_columns")),
    **unused(("group_by_length", "device_map")),
    **only(("adam_beta1", "adam_beta2", "adam_epsilon", "metric_for_best_model", "greater_is_better"), BOTH),
    **only(("neftune_noise_alpha",), BOTH),
    "revision_of_model": To("model.revision"),
    "model_revision": To("model.revision"),
    "lora_model_dir": To("model.adapter"),
    "learning_rate": To("train.learning_rate", number),
    "weight_decay": To("train.weight_decay", number),
    "max_grad_norm": To("train.max_grad_norm", number),
    "num_epochs": To("train.epochs", number),
    "seed": To("train.seed"),
    "load_best_model_at_end": To("train.deliver", when("best", "last")),
    "sample_packing": To("data.packing", truth),
    "gradient_checkpointing": To("train.activation_checkpointing", _checkpointing),
    "bf16": To("model.precision", _full),
    "bfloat16": To("model.precision", when("bf16")),
    "fp16": To("model.precision", when("fp16")),
    "float16": To("model.precision", when("fp16")),
    "float32": To("model.precision", when("fp32")),
    "tf32": To("model.tf32", lambda value: UNSET if value == "auto" else truth(value)),
    "peft_use_dora": To("lora.dora", truth),
    "peft_use_rslora": To("lora.rslora", truth),
    "eval_max_new_tokens": To("evaluate.max_new_tokens"),
    "use_tensorboard": Idle(_TRACKER),
    # --- what changes nothing
    **_idle(_SPEED, "lora_mlp_kernel", "lora_qkv_kernel", "lora_o_kernel", "lora_embedding_kernel"),
    **_idle(_SPEED, "unsloth_lora_mlp", "unsloth_lora_qkv", "unsloth_lora_o", "unsloth_rms_norm", "unsloth_rope"),
    **_idle(_SPEED, "unsloth_cross_entropy_loss", "flash_attn_cross_entropy", "flash_attn_rms_norm"),
    **_idle(_SPEED, "flash_attn_fuse_qkv", "flash_attn_fuse_mlp", "cut_cross_entropy", "chunked_cross_entropy"),
    **_idle(_SPEED, "torch_compile", "torch_compile_backend", "torch_compile_mode", "use_kernels", "gc_steps"),
    **_idle(_SPEED, "pad_to_sequence_len", "batch_flattening", "gradient_checkpointing_kwargs", "flash_optimum"),
    **_idle(_SPEED, "sample_packing_group_size", "sample_packing_bin_size", "sample_packing_eff_est"),
    **_idle(_SPEED, "eval_sample_packing", "multipack_real_batches", "sample_packing_sequentially"),
    **_idle(_SPEED, "sample_pack_sequentially", "activation_offloading", "layer_offloading", "tiled_mlp"),
    **_idle(_SPEED, "tiled_mlp_num_shards", "dataloader_prefetch_factor", "lora_on_cpu", "use_scattermoe"),
    **_idle(_SPEED, "experts_implementation", "pretrain_multipack_buffer_size", "flex_attn_compile_kwargs"),
    **_idle(_ATTENTION, "flash_attention", "sdp_attention", "xformers_attention", "flex_attention"),
    **_idle(_ATTENTION, "eager_attention", "attn_implementation", "attention"),
    **_idle(_DEVICES, "deepspeed", "fsdp", "fsdp_config", "fsdp_version", "fsdp_final_state_dict_type", "ddp"),
    **_idle(_DEVICES, "ddp_timeout", "ddp_bucket_cap_mb", "ddp_broadcast_buffers", "ddp_find_unused_parameters"),
    **_idle(_DEVICES, "local_rank", "world_size", "accelerator_config", "device", "sequence_parallel_degree"),
    **_idle(_DEVICES, "context_parallel_size", "tensor_parallel_size", "dp_shard_size", "dp_replicate_size"),
    **_idle(_DEVICES, "heads_k_stride", "ring_attn_func", "qlora_sharded_model_loading", "use_ray", "ray_run_name"),
    **_idle(_DEVICES, "ray_num_workers", "resources_per_worker"),
    **_idle(_LOADING, "model_type", "type_of_model", "tokenizer_type", "tokenizer_use_fast", "tokenizer_legacy"),
    **_idle(_LOADING, "cls_model_config", "is_falcon_derived_model", "is_llama_derived_model"),
    **_idle(_LOADING, "is_mistral_derived_model", "is_qwen_derived_model", "low_cpu_mem_usage", "max_memory"),
    **_idle(_LOADING, "gpu_memory_limit", "embeddings_skip_upcast", "experimental_skip_move_to_device", "gptq"),
    **_idle(_LOADING, "tokenizer_save_jinja_files", "tokenizer_use_mistral_common", "hf_use_auth_token"),
    **_idle(_LOADING, "base_model_ignore_patterns", "lora_fan_in_fan_out", "peft_autocast_adapter_dtype"),
    **_idle("rows are rendered once, and kept", "dataset_prepared_path", "dataset_processes", "dataset_num_proc"),
    **_idle("rows are rendered once, and kept", "dataset_keep_in_memory", "preprocess_iterable", "streaming"),
    **_idle("rows are rendered once, and kept", "skip_prepare_dataset", "streaming_multipack_buffer_size"),
    **_idle("rows are drawn anew for each epoch", "shuffle_merged_datasets", "shuffle_before_merging_datasets"),
    **_idle("lorry delivers PEFT adapters in safetensors", "save_safetensors", "save_only_model"),
    **_idle("packed rows never see each other", "pretrain_multipack_attn", "pretraining_sample_concatenation"),
    **_idle("`lorry resume` goes on with a run", "resume_from_checkpoint", "auto_resume_from_checkpoints"),
    **_idle("adapters stay adapters; merging is another step", "merge_lora", "merge_method"),
    **_idle(_INTERNAL, "strict", "is_preprocess", "total_num_tokens", "total_supervised_tokens", "debug"),
    **_idle(_INTERNAL, "axolotl_config_path", "env_capabilities", "capabilities", "dataloader_drop_last"),
    **_idle(_LOGGED, "include_tokens_per_second", "include_tkps", "profiler_steps", "profiler_steps_start"),
    **_idle("an out-of-memory error makes the micro-batch smaller by itself", "auto_find_batch_size"),
    **_idle(_SERVING, "gradio_title", "gradio_share", "gradio_server_name", "gradio_server_port"),
    **_idle(_SERVING, "gradio_max_new_tokens", "gradio_temperature", "vllm"),
    # --- what is not native, and harms nothing
    **_lacks(_HUB, "hub_model_id", "hub_strategy", "hub_revision", "push_dataset_to_hub", matters=False),
    **_lacks(_TRACKER, "use_mlflow", "mlflow_tracking_uri", "mlflow_experiment_name", "mlflow_run_name", matters=False),
    **_lacks(_TRACKER, "hf_mlflow_log_artifacts", "use_comet", "comet_api_key", "comet_workspace", matters=False),
    **_lacks(_TRACKER, "comet_project_name", "comet_experiment_key", "comet_mode", "comet_online", matters=False),
    **_lacks(
        _TRACKER, "comet_experiment_config", "use_otel_metrics", "use_trackio", "trackio_project_name", matters=False
    ),
    **_lacks(_TRACKER, "wandb_watch", "wandb_log_model", "wandb_run_id", "trackio_run_name", matters=False),
    **_lacks(
        _EVALUATED, "do_causal_lm_eval", "eval_causal_lm_metrics", "do_bench_eval", "bench_dataset", matters=False
    ),
    **_lacks(_EVALUATED, "bench_split", "eval_table_size", "generate_samples", matters=False),
    **_lacks("`train.diverge_at` looks for divergence by itself", "loss_watchdog_threshold", matters=False),
    **_lacks("`train.diverge_at` looks for divergence by itself", "loss_watchdog_patience", matters=False),
    "dataset_exact_deduplication": To("data.drop_near_duplicates", when(1)),
    **_lacks("the embedding keeps its size", "resize_token_embeddings_to_32x", "shrink_embeddings", matters=False),
    **_lacks("the embedding keeps its size", "mean_resizing_embeddings", matters=False),
    # --- what is not native, and matters
    **_lacks("the adapter trains no other modules", "lora_modules_to_save", "unfrozen_parameters", engines=BOTH),
    "lora_target_parameters": To("lora.target_parameters", lambda value: [value] if isinstance(value, str) else value),
    **_lacks("adapters lie on all layers", "peft_layers_to_transform", "peft_layers_pattern", engines=BOTH),
    **_lacks("adapters begin as PEFT begins them", "peft_layer_replication", "peft_trainable_token_indices"),
    **_lacks("adapters begin as PEFT begins them", "peft", "peft_ensure_weight_tying"),
    **_lacks("one learning rate serves all weights", "loraplus_lr_ratio", "lr_groups", "embedding_lr"),
    **_lacks("one learning rate serves all weights", "embedding_lr_scale"),
    **_lacks(_RELORA, "relora", "relora_steps", "relora_warmup_steps", "relora_anneal_steps"),
    **_lacks(_RELORA, "jagged_restart_steps", "jagged_restart_warmup_steps", "jagged_restart_anneal_steps"),
    **_lacks("LISA trains other layers by turns", "lisa_n_layers", "lisa_step_interval"),
    **_lacks("the learning rate falls by `train.schedule` alone", "lr_scheduler_kwargs", "cosine_min_lr_ratio"),
    **_lacks("the learning rate falls by `train.schedule` alone", "cosine_constant_lr_ratio", "lr_quadratic_warmup"),
    **_lacks("lorry's optimizers are AdamW's", "optim_args", "optim_target_modules", "torchdistx_path"),
    **_lacks("lorry's optimizers are AdamW's", "adam_beta3", "adam_epsilon2"),
    **_lacks("the model is trained as its configuration says", "rope_scaling"),
    **_lacks("the model is trained as its configuration says", "s2_attention", "use_pose", "pose_max_context_len"),
    **_lacks("the model is trained as its configuration says", "pose_num_chunks", "pose_split_on_token_ids"),
    **_lacks("the model is trained as its configuration says", "model_kwargs", "overrides_of_model_kwargs"),
    **_lacks("the model begins with its published weights", "random_init_weights", "reinit_weights"),
    **_lacks("the model's own configuration and tokenizer are read", "base_model_config", "tokenizer_config"),
    **_lacks(
        "a model that comes quantised is loaded as it is",
        "model_quantization_config",
        "model_quantization_config_kwargs",
        matters=False,
    ),
    "save_first_step": Idle("`lorry rehearse` tries saving before anything is trained"),
    **_lacks(_TOKENS, "tokens", "added_tokens_overrides", "fix_untrained_tokens", engines=BOTH),
    **_idle("the end of each answer is found in the chat template", "eot_tokens"),
    **_lacks("what is not in the rows is the template's own", "default_system_message"),
    **_lacks("lorry trains in bf16, fp16 or fp32", "fp8", "fp8_enable_fsdp_float8_all_gather", "qat", "nvfp4"),
    **_lacks("lorry quantises to NF4 and int8 while it loads", "quantization"),
    **_lacks("rows come in an order of lorry's own", "curriculum_sampling"),
    **_lacks("short rows are trained on as well", "min_sample_len"),
    **_lacks("only parts of the rows are not taken", "dataset_shard_num", "dataset_shard_idx"),
    **_lacks("lorry's preference methods have no such term", "rpo_alpha", "dpo_use_weighting", "dpo_norm_loss"),
    **_lacks("lorry's preference methods have no such term", "dpo_use_liger_kernel", "precompute_ref_log_probs"),
    **_lacks("rewards are given to whole answers", "process_reward_model"),
    "llama4_linearized_experts": Idle(_SPEED),
    "num_labels": Only((1,), ITSELF),
    **_lacks("the model's parts are frozen as lorry freezes them", "freeze_mm_modules", matters=False),
    **_idle("the model's own processor is taken", "processor_type"),
    **_lacks("images keep their size, within bounds", "image_size", "image_resize_algorithm"),
    "noisy_embedding_alpha": Lacks("embeddings get no noise", BOTH),
    "dpo_use_logits_to_keep": Idle(_SPEED),
    "dpo_generate_during_eval": Idle(_EVALUATED),
    "max_packed_sequence_len": Lacks("rows are packed up to `data.max_length`", ITSELF),
    "max_prompt_len": Idle("a prompt is left out that leaves no room for an answer within `data.max_length`"),
    "lora_alpha": To("lora.alpha", number),
    "lora_r": To("lora.rank"),
    "peft_init_lora_weights": Only((True,), BOTH),
    "relora_prune_ratio": Lacks(_RELORA, ITSELF),
    "relora_prune_method": Lacks(_RELORA, ITSELF),
    "relora_cpu_offload": Lacks(_RELORA, ITSELF),
    "lisa_layers_attribute": Lacks("LISA trains other layers by turns", ITSELF, matters=False),
    "loraplus_lr_embedding": Lacks("one learning rate serves all weights", ITSELF, matters=False),
    "lr_div_factor": Lacks("the learning rate falls by `train.schedule` alone", ITSELF),
    "max_steps": To("train.steps", _steps),
}
