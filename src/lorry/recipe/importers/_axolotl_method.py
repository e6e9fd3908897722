"""Axolotl's `rl`, and what goes with it: which of lorry's methods it is, and its settings."""

from __future__ import annotations

import re
from typing import Any

from lorry.recipe.importers._axolotl_fields import ITSELF
from lorry.recipe.importers._rules import Lacks, Rule, To, apply, number, only, shared, truth, unused
from lorry.recipe.importers._sheet import Part

_PREFERENCES = ("dpo", "ipo", "kto", "simpo", "orpo")
_BETAS = ("rl_beta", "dpo_beta", "orpo_alpha")
"""Behind `trl.beta`: the first that is given is TRL's `beta`, whatever the method."""
_OF_OTHERS = ("rl_beta", "dpo_beta", "orpo_alpha", "simpo_gamma", "cpo_alpha", "kto_desirable_weight")
_GRPO: dict[str, Rule] = {
    **shared(("beta", "max_completion_length", "num_generations", "temperature", "top_p", "top_k")),
    **shared(("epsilon", "epsilon_high", "num_iterations", "scale_rewards", "mask_truncated_completions")),
    "use_vllm": To("method.engine", lambda value: "vllm" if truth(value) is True else "transformers"),
    **{
        name: Lacks("lorry starts vLLM by itself", ITSELF, matters=False)
        for name in ("vllm_server_host", "vllm_server_port", "vllm_server_timeout", "vllm_device", "vllm_dtype")
    },
    **{
        name: Lacks("lorry starts vLLM by itself", ITSELF, matters=False)
        for name in ("vllm_gpu_memory_utilization", "vllm_max_model_len", "vllm_enable_prefix_caching", "vllm_mode")
    },
    **only(("sync_ref_model", "min_p", "repetition_penalty", "importance_sampling_level", "delta"), ITSELF),
    **unused(("log_completions",)),
    "ref_model_mixup_alpha": Lacks("the reference stays what it is", ITSELF, matters=False),
    "ref_model_sync_steps": Lacks("the reference stays what it is", ITSELF, matters=False),
    "loss_type": Lacks("lorry's GRPO takes the mean over all tokens of a step", ITSELF),
    "rollout_func": Lacks("the model answers in one turn", ITSELF),
}


def method(top: Part) -> str:
    """The method's name; rows that are raw text make `cpt` of `sft` later."""
    rl = top.get("rl")
    if truth(top.get("reward_model")) is True:
        top.done("reward_model", "method")
        top.sheet.put("method", {"name": "reward"}, "reward_model")
        top.idle("rl", "a reward model is trained")
        _number(top, "center_rewards_coefficient", "method.center")
        _idle(top, ())
        return "reward"
    top.idle("reward_model", "off")
    top.idle("center_rewards_coefficient", "belongs to a reward model")
    if rl is None or truth(rl) is False:
        top.idle("rl", "not set")
        _idle(top, ())
        return "sft"
    if rl not in (*_PREFERENCES, "grpo"):
        top.lacks("rl", "lorry has no such method: `lorry methods` lists its own", ITSELF)
        return "unknown"
    name = "dpo" if rl == "ipo" else str(rl)
    top.sheet.put("method", {"name": name}, "rl")
    top.done("rl", "method")
    if rl == "grpo":
        _grpo(top)
    else:
        _preferences(top, str(rl))
    return name


def _preferences(top: Part, rl: str) -> None:
    if rl == "ipo":
        top.sheet.put("method.loss_type", "ipo", "rl")
    used = _beta(top)
    _of_grpo(top)
    if rl == "kto":
        used += ["kto_desirable_weight", "kto_undesirable_weight"]
        _number(top, "kto_desirable_weight", "method.good_weight")
        _number(top, "kto_undesirable_weight", "method.bad_weight")
    if rl == "simpo":
        used += ["simpo_gamma", "cpo_alpha"]
        _simpo(top)
    if rl == "dpo":
        used += ["dpo_label_smoothing", "dpo_loss_type"]
        _number(top, "dpo_label_smoothing", "method.label_smoothing")
        _loss(top)
    _idle(top, used)


def _beta(top: Part) -> list[str]:
    """The first beta that is given; the fields of `top` that have been spoken of."""
    trl = top.part("trl")
    places = [*([(trl, "beta")] if trl is not None else []), *((top, key) for key in _BETAS)]
    given = [(part, key) for part, key in places if part.get(key) is not None]
    for part, key in given[:1]:
        part.to(key, "method.beta", number(part.get(key)))
    for part, key in given[1:]:
        part.idle(key, f"`{given[0][0].name(given[0][1])}` counts")
    return [key for part, key in given if part is top]


def _of_grpo(top: Part) -> None:
    """What else `trl` holds is read by GRPO alone, one by one, so that a name that nobody knows is told."""
    trl = top.part("trl")
    if not trl or not trl.values:
        top.idle("trl", "nothing is set in it")
        return
    for key in (*_GRPO, "reward_funcs", "reward_weights"):
        if top.sheet.covering(trl.name(key)) is None:
            trl.idle(key, "belongs to GRPO")


def _simpo(top: Part) -> None:
    """TRL's SimPO adds the chosen answer's likelihood, with weight 1 where nothing is said; lorry's is the paper's."""
    _number(top, "simpo_gamma", "method.margin")
    if top.get("simpo_gamma") is None:
        top.sheet.put("method.margin", 0.5)
    if not top.sheet.has("method.beta"):
        top.sheet.put("method.beta", 0.1)
    why = "TRL adds the chosen answer's likelihood to SimPO's loss, lorry does not: `cpo_alpha: 0` says so"
    if "cpo_alpha" not in top.values:
        top.lacks("rl", why, ITSELF)
    elif number(top.get("cpo_alpha")) == 0:
        top.idle("cpo_alpha", "the loss is the paper's")
    else:
        top.lacks("cpo_alpha", why, ITSELF)


def _loss(top: Part) -> None:
    given: Any = top.get("dpo_loss_type")
    names = given if isinstance(given, list) else [given]
    if given is None:
        top.idle("dpo_loss_type", "not set")
    elif len(names) == 1 and names[0] in ("sigmoid", "ipo", "hinge"):
        top.to("dpo_loss_type", "method.loss_type", names[0])
    else:
        top.lacks("dpo_loss_type", "lorry's DPO has one loss: sigmoid, ipo or hinge", ITSELF)


def _grpo(top: Part) -> None:
    """Rewards are TRL's functions, which are called here as there; what transforms rows in Python is not."""
    trl, used = top.part("trl"), _beta(top)
    if trl is not None:
        apply(trl, _GRPO)
        _rewards(trl)
    _idle(top, used)


def _rewards(trl: Part) -> None:
    """`rewards.brevity` is the function `brevity` in `rewards.py`."""
    names, weights = trl.get("reward_funcs"), trl.get("reward_weights")
    known: list[Any] = names if isinstance(names, list) else []
    if not known or not all(isinstance(name, str) and re.fullmatch(r"(\w+\.)+\w+", name) for name in known):
        trl.lacks("reward_funcs", "rewards are functions in files here: `rewards.brevity`", ITSELF)
        trl.lacks("reward_weights", "there are no such rewards", ITSELF)
        return
    weighed: list[Any] = weights if isinstance(weights, list) else [1.0] * len(known)
    if len(weighed) != len(known):
        trl.sheet.problem(trl.name("reward_weights"), "one weight for each reward", "as many as `reward_funcs`")
    rewards: list[Any] = []
    for name, weight in zip(known, weighed, strict=False):
        file, _, function = name.rpartition(".")
        rewards.append(
            {"name": "python", "file": f"{file.replace('.', '/')}.py", "function": function, "weight": weight}
        )
    trl.to("reward_funcs", "method.rewards", rewards)
    trl.done("reward_weights", "method.rewards")


def _number(top: Part, key: str, path: str) -> None:
    if top.get(key) is None:
        top.idle(key, "not set")
    else:
        top.to(key, path, number(top.get(key)))


def _idle(top: Part, used: tuple[str, ...] | list[str]) -> None:
    """Settings of methods that are not chosen."""
    others = (*_OF_OTHERS, "kto_undesirable_weight", "dpo_label_smoothing", "dpo_loss_type")
    for key in others:
        if key not in used:
            top.idle(key, "belongs to another method")
    if truth(top.get("rl")) in (None, False) or truth(top.get("reward_model")) is True:
        top.idle("trl", "belongs to another method")
