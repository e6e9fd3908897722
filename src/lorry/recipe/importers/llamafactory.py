"""LLaMA-Factory: a YAML file that names `model_name_or_path`, and data sets that `dataset_info.json` describes.

    model_name_or_path: Qwen/Qwen2.5-0.5B-Instruct
    stage: sft
    dataset: identity
    template: qwen

Paths start from the current folder, as there, and `dataset_dir` is `data`; where nothing lies there, from the file's own.
"""

from __future__ import annotations

from typing import Any, ClassVar

from lorry.recipe.importers import _llamafactory_data, _llamafactory_method, _templates, _trainer
from lorry.recipe.importers._base import Importer
from lorry.recipe.importers._llamafactory_fields import BOTH, GROUPS, ITSELF, RULES
from lorry.recipe.importers._rules import apply, is_off, number, truth
from lorry.recipe.importers._sheet import Part, Sheet


class LlamaFactory(Importer):
    """LLaMA-Factory's YAML with its `dataset_info.json`."""

    title: ClassVar[str] = "LLaMA-Factory"
    needs: ClassVar[str] = "model_name_or_path"
    marks: ClassVar[frozenset[str]] = frozenset(
        {"model_name_or_path", "stage", "finetuning_type", "template", "dataset", "dataset_dir", "cutoff_len"}
        | {"lora_target", "pref_beta", "pref_loss", "val_size", "eval_dataset", "max_samples", "do_train"}
        | {"overwrite_cache", "preprocessing_num_workers", "plot_loss", "quantization_bit", "num_train_epochs"}
    )

    @classmethod
    def known(cls) -> frozenset[str]:
        """As in the tables, and what is looked at together."""
        return cls.marks | frozenset(RULES) | _TOGETHER

    def fill(self, sheet: Sheet) -> None:
        """Model, adapter, method and rows look at several fields each; the rest is a matter of one field."""
        top = sheet.top
        _model(top)
        _adapter(top)
        method = _llamafactory_method.method(top)
        _llamafactory_data.fill(top, method)
        _template(top, method)
        _defaults(top)
        _trainer.schedule(top, "lr_scheduler_type", "linear")
        _trainer.optimizer(top, "optim")
        _trainer.cadence(top)
        _trainer.report_to(top, "report_to", {})
        apply(top, RULES)
        _groups(top)
        sheet.rest()


_TOGETHER = frozenset(
    {"optim", "lr_scheduler_type", "warmup_steps", "warmup_ratio", "eval_steps", "save_steps", "eval_strategy"}
    | {"save_strategy", "logging_steps", "packing", "neat_packing", "train_on_prompt", "mask_history", "report_to"}
    | {"gradient_checkpointing", "disable_gradient_checkpointing", "adapter_name_or_path", "trust_remote_code"}
)


def _model(top: Part) -> None:
    model = top.text("model_name_or_path")
    if model is None:
        top.sheet.problem("model_name_or_path", "is missing", "name the model that is trained")
        return
    top.to("model_name_or_path", "model.id", model)
    _trainer.remote_code(top)
    _bits(top)
    if truth(top.get("do_train")) is False:
        top.sheet.problem("do_train", "is false: there is nothing to train", "`lorry eval` and `lorry chat` use a run")
    top.idle("do_train", "lorry trains")


def _bits(top: Part) -> None:
    """Quantisation while the model is loaded."""
    bits = top.get("quantization_bit")
    kind = top.get("quantization_method")
    if kind in (None, "bnb", "bitsandbytes"):
        top.idle("quantization_method", "lorry quantises with bitsandbytes")
    else:
        top.lacks("quantization_method", "lorry quantises with bitsandbytes", ITSELF)
    if bits is None:
        top.idle("quantization_bit", "not set")
    elif bits in (4, 8):
        top.to("quantization_bit", "model.quantization", "nf4" if bits == 4 else "int8")
    else:
        top.lacks("quantization_bit", "lorry quantises to 4 and 8 bits", ITSELF)


def _adapter(top: Part) -> None:
    """LoRA, or all weights."""
    kind = top.get("finetuning_type") or "lora"
    if kind == "full":
        top.done("finetuning_type", "lora")
        top.sheet.put("lora", None, "finetuning_type")
        _no_lora(top, "there is no adapter")
        return
    if kind != "lora":
        top.lacks("finetuning_type", "lorry trains LoRA adapters, or all weights", ITSELF)
        _no_lora(top, "belongs to LoRA")
        return
    top.done("finetuning_type", "lora")
    rank = top.get("lora_rank")
    if rank is None:
        top.sheet.put("lora.rank", 8)
    if top.get("lora_alpha") is None and not isinstance(rank, (str, list, dict)):
        top.sheet.put("lora.alpha", 2 * (8 if rank is None else rank))
    _targets(top)
    _earlier(top)


def _no_lora(top: Part, why: str) -> None:
    for key in [key for key in top.values if key.startswith("lora_") or key in ("use_dora", "use_rslora")]:
        top.idle(key, why)


def _targets(top: Part) -> None:
    given: Any = top.get("lora_target")
    names = [name.strip() for name in given.split(",")] if isinstance(given, str) else given
    if given is None or names == ["all"]:
        top.done("lora_target", "lora.target_modules", why=_trainer.WITHOUT_EXPERTS)
        top.sheet.put("lora.target_modules", "all-linear", *(["lora_target"] if given else []))
    else:
        top.to("lora_target", "lora.target_modules", names)


def _earlier(top: Part) -> None:
    """An adapter to go on with."""
    given = top.get("adapter_name_or_path")
    top.idle("create_new_adapter", "off") if is_off(truth(top.get("create_new_adapter"))) else top.lacks(
        "create_new_adapter", "lorry goes on with the adapter itself", ITSELF
    )
    if given is None:
        top.idle("adapter_name_or_path", "not set")
    elif isinstance(given, str) and "," not in given:
        top.to("adapter_name_or_path", "model.adapter", given)
    else:
        top.lacks("adapter_name_or_path", "lorry goes on with one adapter", ITSELF)
    top.idle("adapter_folder", "`adapter_name_or_path` names it") if given else top.lacks(
        "adapter_folder", "name the adapter's folder in `adapter_name_or_path`", ITSELF
    )


def _template(top: Part, method: str) -> None:
    name = top.text("template")
    if name is None:
        top.idle("template", "not set: the model's own chat template")
    elif method == "cpt":
        top.idle("template", "raw text has no turns")
    elif name in ("chatml",):
        top.to("template", "data.chat_template", "chatml")
    else:
        _templates.of_model(top, "template", name, str(top.get("model_name_or_path") or ""))


def _defaults(top: Part) -> None:
    """What LLaMA-Factory does where nothing is said, as far as lorry does otherwise."""
    for key, path, value in _DEFAULTS:
        if top.get(key) is None:
            top.sheet.put(path, value)
    if top.get("max_steps") in (None, -1) and top.get("num_train_epochs") is None:
        top.sheet.put("train.epochs", 3)
    steps = top.get("max_steps")
    if isinstance(steps, (int, float)) and steps > 0:
        top.idle("num_train_epochs", "`max_steps` counts")
    off = truth(top.get("disable_gradient_checkpointing")) is True
    top.done("disable_gradient_checkpointing", "train.activation_checkpointing")
    given = truth(top.get("gradient_checkpointing"))
    top.done("gradient_checkpointing", "train.activation_checkpointing")
    top.sheet.put("train.activation_checkpointing", not off and given is not False, *(_checkpointing(top)))
    if not truth(top.get("load_best_model_at_end")):
        top.sheet.put("train.deliver", "last")
        top.idle("load_best_model_at_end", "off: the last weights are delivered")
    if number(top.get("warmup_steps")) is None and number(top.get("warmup_ratio")) is None:
        top.sheet.put("train.warmup", 0)


def _checkpointing(top: Part) -> list[str]:
    return [key for key in ("disable_gradient_checkpointing", "gradient_checkpointing") if key in top.values]


_DEFAULTS = (
    ("cutoff_len", "data.max_length", 2048),
    ("per_device_train_batch_size", "train.micro_batch", 8),
    ("gradient_accumulation_steps", "train.accumulation", 1),
    ("learning_rate", "train.learning_rate", 5e-5),
    ("moe_aux_loss_coef", "train.router_aux_loss_coef", 0),
)


def _groups(top: Part) -> None:
    """Fields that belong to something that is switched off."""
    for key in top.values:
        found = next((group for group in GROUPS if key.startswith(group)), None)
        if found is None or top.sheet.covering(key) is not None:
            continue
        switch, why = GROUPS[found]
        if not switch or is_off(truth(top.get(switch))):
            top.idle(key, why)
        else:
            top.lacks(key, f"belongs to `{switch}`", BOTH)
