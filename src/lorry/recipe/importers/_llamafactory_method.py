"""LLaMA-Factory's `stage` and `pref_loss`: which of lorry's methods it is, and its settings."""

from __future__ import annotations

from lorry.recipe.importers._llamafactory_fields import ITSELF
from lorry.recipe.importers._rules import number, truth
from lorry.recipe.importers._sheet import Part

_STAGES = {"pt": "cpt", "sft": "sft", "rm": "reward", "dpo": "dpo", "kto": "kto"}
_LOSSES = {"sigmoid": "dpo", "hinge": "dpo", "ipo": "dpo", "orpo": "orpo", "simpo": "simpo"}


def method(top: Part) -> str:
    """The method's name."""
    stage = top.get("stage") or "sft"
    if stage == "ppo":
        why = "lorry's PPO takes its rewards and its sampling from `method`: see `lorry init --template rlhf_standard`"
        top.lacks("stage", why, ITSELF)
        return "unknown"
    if stage not in _STAGES:
        top.lacks("stage", f"a stage is one of: {', '.join(_STAGES)}", ITSELF)
        return "unknown"
    name = _STAGES[str(stage)]
    top.done("stage", "method")
    if name == "dpo":
        return _preferences(top)
    top.sheet.put("method", {"name": name}, *(["stage"] if "stage" in top.values else []))
    if name == "sft":
        _train_on(top)
    if name == "kto":
        _number(top, "pref_beta", "method.beta")
        _number(top, "kto_chosen_weight", "method.good_weight")
        _number(top, "kto_rejected_weight", "method.bad_weight")
    if name == "kto":
        _reference(top)
        _likelihood(top, "pref_ftx", "pref_bco_weight")
    return name


def _preferences(top: Part) -> str:
    loss = top.get("pref_loss") or "sigmoid"
    name = _LOSSES.get(str(loss))
    if name is None:
        top.sheet.put("method", {"name": "dpo"}, "stage")
        top.lacks("pref_loss", f"lorry has: {', '.join(_LOSSES)}", ITSELF)
        return "dpo"
    top.sheet.put("method", {"name": name}, *(["pref_loss"] if top.get("pref_loss") else ["stage"]))
    top.done("pref_loss", "method")
    if loss in ("hinge", "ipo"):
        top.sheet.put("method.loss_type", loss, "pref_loss")
    _number(top, "pref_beta", "method.beta")
    if name == "simpo":
        _number(top, "simpo_gamma", "method.margin")
        if top.get("simpo_gamma") is None:
            top.sheet.put("method.margin", 0.5)
        if top.get("pref_beta") is None:
            top.sheet.put("method.beta", 0.1)
    if name == "dpo":
        _number(top, "dpo_label_smoothing", "method.label_smoothing")
        _reference(top)
        _likelihood(top, "pref_bco_weight")
    _likelihood(top, "pref_ftx")
    return name


def _likelihood(top: Part, *keys: str) -> None:
    """Terms that are added to the loss: the chosen answer's likelihood to that of every method, BCO's to DPO's alone."""
    for key in keys:
        if number(top.get(key)) in (None, 0):
            top.idle(key, "none")
        else:
            top.lacks(key, "lorry's preference methods have no such term", ITSELF)


def _reference(top: Part) -> None:
    for key in ("ref_model", "ref_model_adapters", "ref_model_quantization_bit"):
        if top.get(key) is None:
            top.idle(key, "not set")
        else:
            top.lacks(key, "the reference is the model, or the adapter that is gone on with", ITSELF)


def _train_on(top: Part) -> None:
    prompt, history = (truth(top.get(key)) is True for key in ("train_on_prompt", "mask_history"))
    for key, on, value in (("train_on_prompt", prompt, "all"), ("mask_history", history, "last")):
        if on:
            top.to(key, "method.train_on", value)
        else:
            top.idle(key, "off")


def _number(top: Part, key: str, path: str) -> None:
    if top.get(key) is None:
        top.idle(key, "not set")
    else:
        top.to(key, path, number(top.get(key)))
