"""Axolotl: a YAML file that names `base_model` and `datasets`.

    base_model: NousResearch/Llama-3.2-1B
    datasets: [{path: teknium/GPT4-LLM-Cleaned, type: alpaca}]
    adapter: lora

Paths start from the current folder, as there; where nothing lies there, from the file's own.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

from lorry.recipe.importers import _axolotl_data, _axolotl_method, _trainer
from lorry.recipe.importers._axolotl_fields import BOTH, ITSELF, RULES
from lorry.recipe.importers._base import Importer
from lorry.recipe.importers._rules import apply, is_off, number, truth
from lorry.recipe.importers._sheet import Part, Sheet


class Axolotl(Importer):
    """Axolotl's YAML."""

    title: ClassVar[str] = "Axolotl"
    needs: ClassVar[str] = "base_model"
    marks: ClassVar[frozenset[str]] = frozenset(
        {"base_model", "datasets", "pretraining_dataset", "sequence_len", "micro_batch_size", "val_set_size"}
        | {"sample_packing", "lora_target_linear", "lora_target_modules", "dataset_prepared_path", "rl", "lora_r"}
        | {"num_epochs", "train_on_inputs", "adapter", "test_datasets", "special_tokens", "evals_per_epoch"}
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
        method = _axolotl_method.method(top)
        _axolotl_data.fill(top, method)
        _batch(top)
        _trainer.schedule(top, "lr_scheduler", "cosine", no_steps_count=True)
        _trainer.optimizer(top, "optimizer")
        _trainer.cadence(top)
        _wandb(top)
        _plugins(top)
        _tokens(top)
        _mixture(top)
        _precision(top)
        _length(top)
        _steps(top)
        apply(top, RULES)
        sheet.rest()


_TOGETHER = frozenset(
    {"optimizer", "lr_scheduler", "warmup_steps", "warmup_ratio", "eval_steps", "save_steps", "saves_per_epoch"}
    | {"eval_strategy", "save_strategy", "logging_steps", "load_in_4bit", "load_in_8bit", "chat_template"}
    | {"chat_template_jinja", "rl_beta", "orpo_alpha", "simpo_gamma", "plugins", "wandb_project", "trust_remote_code"}
    | {"model_config", "overrides_of_model_config"}
)


def _model(top: Part) -> None:
    model = top.text("base_model")
    if model is None:
        top.sheet.problem("base_model", "is missing", "name the model that is trained")
        return
    top.to("base_model", "model.id", model)
    _trainer.remote_code(top)


def _adapter(top: Part) -> None:
    """LoRA, LoRA on quantised weights, or all weights."""
    adapter = top.text("adapter")
    bits = [key for key in ("load_in_4bit", "load_in_8bit") if truth(top.get(key)) is True]
    for key in ("load_in_4bit", "load_in_8bit"):
        if key in bits[:1]:
            top.to(key, "model.quantization", "nf4" if key == "load_in_4bit" else "int8")
        else:
            top.idle(key, "off" if key not in bits else "`load_in_4bit` counts")
    _quantised_as(top)
    if adapter is None:
        top.idle("adapter", "all weights are trained")
        top.sheet.put("lora", None, *(["adapter"] if "adapter" in top.values else []))
        _no_lora(top, "there is no adapter")
        return
    if adapter not in ("lora", "qlora"):
        top.lacks("adapter", "lorry trains LoRA adapters", ITSELF)
        _no_lora(top, "belongs to LoRA")
        return
    if adapter == "qlora" and not bits:
        top.sheet.put("model.quantization", "nf4", "adapter")
    top.done("adapter", "lora")
    top.sheet.put("lora.dropout", 0.0)
    _targets(top)


def _no_lora(top: Part, why: str) -> None:
    for key in [key for key in top.values if key.startswith(("lora_", "peft"))]:
        top.idle(key, why)


def _quantised_as(top: Part) -> None:
    part = top.part("bnb_config_kwargs")
    if part is None:
        return
    for key in part.values:
        if key == "bnb_4bit_use_double_quant":
            part.to(key, "model.double_quantization", truth(part.get(key)))
        elif part.get(key) in ("nf4", None, False, "bfloat16"):
            part.idle(key, "says what is so without it")
        else:
            part.lacks(key, "lorry quantises to NF4 and int8", BOTH)


_NOT_LINEAR = re.compile(r"embed|\bwte\b|\bwpe\b|head\b|\boutput\b")
"""Embeddings, and output layers, as models call them."""


def _targets(top: Part) -> None:
    named, linear = top.get("lora_target_modules"), truth(top.get("lora_target_linear")) is True
    if linear:
        top.to("lora_target_linear", "lora.target_modules", "all-linear", _trainer.WITHOUT_EXPERTS)
        names: list[Any] = named if isinstance(named, list) else [named]
        beside = [str(name) for name in names if _NOT_LINEAR.search(str(name))]
        if beside:
            why = f"`lora_target_linear` takes these as well there, lorry's `all-linear` does not: {', '.join(beside)}"
            top.lacks("lora_target_modules", why, BOTH)
        else:
            top.idle("lora_target_modules", "`lora_target_linear` takes them all")
        return
    top.idle("lora_target_linear", "off")
    if isinstance(named, str) and named in ("all-linear", "all_linear"):
        top.to("lora_target_modules", "lora.target_modules", "all-linear")
    elif isinstance(named, str):
        names = _of_language(named)
        if names:
            top.to("lora_target_modules", "lora.target_modules", names, "of the language part, as always here")
        else:
            top.lacks("lora_target_modules", "lorry takes names of modules, and no pattern", BOTH)
    elif named is None:
        top.idle("lora_target_modules", "not set: PEFT's own choice, q_proj and v_proj in most models")
        top.sheet.put("lora.target_modules", ["q_proj", "v_proj"])
    else:
        top.to("lora_target_modules", "lora.target_modules", named)


def _of_language(pattern: str) -> list[str]:
    """The names in the usual pattern for the language part of a model that sees; none for any other pattern."""
    found = re.fullmatch(
        r"[^|()]*language_model[^|()]*(?:\([\w|]+\)[^|()]*)?\((?P<names>[\w|]+)\)(?P<end>\w*)", pattern
    )
    return [f"{name}{found['end']}" for name in found["names"].split("|")] if found else []


def _batch(top: Part) -> None:
    """Micro-batch and accumulation; `batch_size` is their product. Axolotl's default for both is 1."""
    whole, micro = top.get("batch_size"), top.get("micro_batch_size")
    known = isinstance(whole, int) and not isinstance(whole, bool)
    if whole is None:
        top.idle("batch_size", "not set")
    elif not known or whole < 1:
        top.sheet.problem("batch_size", "must be a whole number above 0", "give `gradient_accumulation_steps` instead")
    elif isinstance(micro, int) and micro > 0 and top.get("gradient_accumulation_steps") is None:
        top.to("batch_size", "train.accumulation", max(whole // micro, 1))
    elif micro is None and isinstance(accumulation := top.get("gradient_accumulation_steps"), int) and accumulation > 0:
        top.to("batch_size", "train.micro_batch", max(whole // accumulation, 1))
    else:
        top.idle("batch_size", "`micro_batch_size` and `gradient_accumulation_steps` say it already")
    for key, path in (("micro_batch_size", "train.micro_batch"), ("gradient_accumulation_steps", "train.accumulation")):
        if top.get(key) is None and not top.sheet.has(path):
            top.sheet.put(path, 1)
    if truth(top.get("load_best_model_at_end")) is not True:
        top.sheet.put("train.deliver", "last")
        top.idle("load_best_model_at_end", "off: the last weights are delivered")


def _wandb(top: Part) -> None:
    keys = ("wandb_project", "wandb_entity", "wandb_mode", "wandb_name", "use_wandb")
    given = {key: top.get(key) for key in keys if not is_off(truth(top.get(key)))}
    if not given.keys() & {"wandb_project", "use_wandb"} or top.get("wandb_mode") == "disabled":
        for key in keys:
            top.idle(key, "Weights & Biases is off")
        return
    sink = {"name": "wandb"}
    for key, setting in (("wandb_project", "project"), ("wandb_entity", "entity")):
        if key in given:
            sink[setting] = given[key]
    if top.get("wandb_mode") in ("offline", "online"):
        sink["mode"] = str(top.get("wandb_mode"))
    for key in ("wandb_project", "wandb_entity", "wandb_mode", "use_wandb"):
        if key in given:
            top.done(key, "track.sinks")
        else:
            top.idle(key, "not set")
    if isinstance(given.get("wandb_name"), str):
        top.to("wandb_name", "name", given["wandb_name"])
    else:
        top.idle("wandb_name", "not set")
    top.sheet.put("track.sinks", [sink], *[key for key in keys[:3] if key in given])


_KERNELS = ("liger", "cut_cross_entropy", "kernels")


def _plugins(top: Part) -> None:
    """Plugins that change how fast it goes are passed over; Liger's kernels are lorry's own setting."""
    given: Any = top.get("plugins")
    names = given if isinstance(given, list) else [] if given is None else [given]
    others = [str(name) for name in names if not any(kernel in str(name).lower() for kernel in _KERNELS)]
    if others:
        top.lacks("plugins", f"lorry has no such plugin: {', '.join(others)}", ITSELF)
    elif any("liger" in str(name).lower() for name in names):
        top.to("plugins", "train.liger", True)
    else:
        top.idle("plugins", "change how fast it goes, not what is learnt")
    for key in [key for key in top.values if key.startswith("liger_")]:
        top.idle(key, "Liger's kernels change how fast it goes, not what is learnt: `train.liger`")


def _tokens(top: Part) -> None:
    """Special tokens: padding means nothing here, others must be the model's own."""
    part = top.part("special_tokens")
    if part is None:
        top.idle("special_tokens", "not set") if top.get("special_tokens") is None else None
        return
    own = _own_tokens(top)
    for key in part.values:
        value = part.get(key)
        if value is None or value == []:
            part.idle(key, "not set")
        elif key == "pad_token":
            part.idle(key, "padding is never looked at nor learnt")
        elif own is not None and value == own.get(key):
            part.idle(key, "the model's own")
        elif own is None and key in ("bos_token", "eos_token", "unk_token"):
            part.lacks(key, "lorry takes the model's own: see that it is the same", BOTH, matters=False)
        else:
            part.lacks(key, "lorry takes the model's own special tokens, and adds none", BOTH)


def _own_tokens(top: Part) -> dict[str, str] | None:
    """The special tokens of a model that lies in a folder here; None for any other."""
    from lorry.data.tokenizer import Tokenizer
    from lorry.errors import LorryError

    model = top.get("base_model")
    folder = top.sheet.local(model) if isinstance(model, str) else None
    if folder is None or not folder.is_dir():
        return None
    try:
        return Tokenizer.open(folder).special
    except LorryError:
        return None


def _steps(top: Part) -> None:
    """`max_steps` counts where both are given; the learning rate has no default there."""
    steps = top.get("max_steps")
    if isinstance(steps, (int, float)) and steps > 0:
        top.idle("num_epochs", "`max_steps` counts")
    if top.get("learning_rate") is None:
        top.sheet.problem(
            "learning_rate", "is missing", "Axolotl has no default: `learning_rate: 2e-4` is usual for LoRA"
        )
    if not top.sheet.has("train.warmup"):
        _warmup(top, steps)


def _warmup(top: Part, steps: Any) -> None:
    """Where none is given it is 3 % of the steps, 100 at most; how many an epoch has is not known before the rows are."""
    if isinstance(steps, int) and not isinstance(steps, bool) and steps > 0:
        top.sheet.put("train.warmup", min(int(0.03 * steps), 100))
    elif top.get("num_epochs") is not None:
        why = "with a warm-up of 3 % of the steps; Axolotl's has 100 at most: `-o train.warmup=100` in a longer run"
        top.to("num_epochs", "train.epochs", number(top.get("num_epochs")), why)


_OF_MODEL = ("model_config", "overrides_of_model_config")
_CONFIGURED = "the model is trained as its configuration says"


def _mixture(top: Part) -> None:
    """A mixture's experts are evened where the model's settings give out the load of its routers, and not by themselves."""
    for key in _OF_MODEL:
        if top.part(key) is None and not is_off(top.get(key)):
            top.lacks(key, _CONFIGURED, ITSELF)
        elif not top.get(key):
            top.idle(key, "not set")
    parts = [part for key in _OF_MODEL if (part := top.part(key)) is not None]
    evened = any(truth(part.get("output_router_logits")) is True for part in parts)
    if not evened:
        top.sheet.put("train.router_aux_loss_coef", 0)
    for part in parts:
        for key in part.values:
            if key == "output_router_logits":
                part.done(key, "train.router_aux_loss_coef", why="as much as the model's own configuration says")
            elif key != "router_aux_loss_coef":
                part.lacks(key, _CONFIGURED, ITSELF)
            elif evened and part.get(key) is not None:
                part.to(key, "train.router_aux_loss_coef", number(part.get(key)))
            else:
                part.idle(key, "counts with `output_router_logits: true`")


def _precision(top: Part) -> None:
    """Without 16 bits the weights are loaded in 32. A `bf16` that is not given is `auto` there, as here."""
    others = ("bfloat16", "fp16", "float16", "load_in_8bit")
    if truth(top.get("bf16")) is False and all(is_off(truth(top.get(key))) for key in others):
        top.to("bf16", "model.precision", "fp32", "Axolotl's precision without 16 bits")


def _length(top: Part) -> None:
    """How long rows may be, and what becomes of longer ones: Axolotl leaves them out."""
    if top.get("sequence_len") is None:
        top.sheet.put("data.max_length", 512)
    strategy = top.get("excess_length_strategy")
    if strategy == "truncate":
        top.to("excess_length_strategy", "data.on_long_row", "cut")
        return
    if strategy in (None, "drop"):
        top.done("excess_length_strategy", "data.on_long_row")
        if not top.sheet.has("method") or top.sheet.made.values["method"].get("name") != "cpt":
            top.sheet.put("data.on_long_row", "skip", *(["excess_length_strategy"] if strategy else []))
    else:
        top.lacks("excess_length_strategy", "lorry cuts such rows, or leaves them out", ITSELF)
