"""What systems that build on Transformers' trainer share: schedule, optimizer, evaluations and checkpoints, trackers."""

from __future__ import annotations

from typing import Any

from lorry.recipe.foreign_names import TARGETS
from lorry.recipe.importers._rules import number, truth
from lorry.recipe.importers._sheet import Part

SCHEDULES = ("linear", "cosine", "constant")
OPTIMIZERS = ("adamw", "adamw_8bit")
_SMALL = {
    "adamw_torch_8bit": "",
    "ao_adamw_8bit": "",
    "adamw_torch_4bit": "8 bits in place of 4: closer to AdamW, for a little more memory",
    "ao_adamw_4bit": "8 bits in place of 4: closer to AdamW, for a little more memory",
}
"""AdamW of torchao, whose states are as small as those of bitsandbytes, or smaller."""
WITHOUT_EXPERTS = "not a mixture's experts: `lora.experts` does"
_ENGINES = ("axolotl", "unsloth")
_TRACKERS = {"wandb": "wandb", "tensorboard": "tensorboard"}


def remote_code(part: Part) -> None:
    """Examples allow it throughout, for models that bring none; here a person allows it for one model, by its name."""
    if truth(part.get("trust_remote_code")) is True:
        why = "for a model that brings code of its own, repeat its id: `-o model.trust_remote_code=OWNER/NAME`"
        part.lacks("trust_remote_code", why, matters=False)
    else:
        part.idle("trust_remote_code", "off")


def schedule(part: Part, key: str, default: str, *, no_steps_count: bool = False) -> None:
    """How the learning rate falls, and its warm-up; `default` is the system's own schedule.

    `no_steps_count` is for systems in which `warmup_steps: 0` decides; in Transformers a `warmup_ratio` beside it does.
    """
    given = part.get(key)
    wanted = default if given is None else TARGETS["lr_scheduler_type"].convert(given)
    if given is not None and wanted not in SCHEDULES:
        part.lacks(key, f"`train.schedule` is one of: {', '.join(SCHEDULES)}", _ENGINES)
    elif given is None:
        part.idle(key, "not set")
        part.sheet.put("train.schedule", default)
    else:
        part.to(key, "train.schedule", wanted)
    _warmup(part, is_constant=given == "constant", no_steps_count=no_steps_count)


def _warmup(part: Part, *, is_constant: bool, no_steps_count: bool) -> None:
    """A warm-up of 0 is a setting as well: without it lorry's own default would count."""
    keys = ("warmup_steps", "warmup_ratio")
    if is_constant:
        for key in keys:
            part.idle(key, "Transformers' `constant` has no warm-up")
        part.sheet.put("train.warmup", 0)
        return
    steps, ratio = (number(part.get(key)) for key in keys)
    by_steps = steps is not None and (steps != 0 or no_steps_count or ratio is None)
    used = keys[0] if by_steps else keys[1]
    for key in keys:
        if part.get(key) is None:
            part.idle(key, "not set")
        elif key == used:
            part.to(key, "train.warmup", number(part.get(key)))
        else:
            part.idle(key, f"`{used}` counts")


def optimizer(part: Part, key: str) -> None:
    """AdamW in one of its forms."""
    given = part.get(key)
    if given is None:
        part.idle(key, "not set")
        return
    wanted = TARGETS["optim"].convert(given)
    if isinstance(given, str) and given in _SMALL:
        part.to(key, "train.optimizer", "adamw_8bit", _SMALL[given])
    elif wanted in OPTIMIZERS:
        part.to(key, "train.optimizer", wanted)
    else:
        part.lacks(key, f"`train.optimizer` is one of: {', '.join(OPTIMIZERS)}", _ENGINES)


def cadence(part: Part) -> None:
    """When it evaluates and saves. Lorry counts in steps; other ways are told, and left to its own."""
    for key, path in (("logging_steps", "train.log_every"), ("eval_steps", "train.eval_every")):
        _steps(part, key, path)
    _steps(part, "save_steps", "train.save_every")
    for key in ("evals_per_epoch", "saves_per_epoch"):
        _in_epochs(part, key)
    for key in ("eval_strategy", "evaluation_strategy", "save_strategy", "logging_strategy"):
        _strategy(part, key)


def _steps(part: Part, key: str, path: str) -> None:
    value = part.get(key)
    is_share = isinstance(value, float) and not value.is_integer()
    if value is None or value == 0:
        part.idle(key, "not set")
    elif is_share:
        part.lacks(key, f"lorry counts steps: set `{path}`; without it, four times in the run", matters=False)
    else:
        part.to(key, path, int(value) if isinstance(value, float) else value)


def _in_epochs(part: Part, key: str) -> None:
    if part.get(key) is None:
        part.idle(key, "not set")
    else:
        path = "train.eval_every" if key.startswith("eval") else "train.save_every"
        part.lacks(key, f"lorry counts steps: set `{path}`; without it, four times in the run", matters=False)


def _strategy(part: Part, key: str) -> None:
    value = part.get(key)
    if value is None or value == "steps":
        part.idle(key, "lorry counts steps" if value else "not set")
    elif value == "epoch":
        part.lacks(key, "lorry counts steps; without a number, four times in the run", matters=False)
    elif key.startswith("eval") and truth(value) is False:
        part.idle(key, "whether there are evaluations follows from `data.eval` and `data.eval_split`")
    elif truth(value) is False:
        part.lacks(key, "lorry always saves checkpoints, so that a run can go on", matters=False)
    else:
        part.lacks(key, "lorry counts steps; the best checkpoint is kept besides", matters=False)


def report_to(part: Part, key: str, settings: dict[str, Any]) -> None:
    """Trackers by their names; `settings` are what the one called `wandb` is told."""
    given = part.get(key)
    names = given if isinstance(given, list) else [given]
    if truth(given) is False or given in (None, "none", []):
        part.idle(key, "none")
        return
    known = [_TRACKERS[name] for name in names if isinstance(name, str) and name in _TRACKERS]
    if len(known) < len(names):
        part.lacks(key, "lorry sends curves to Weights & Biases and TensorBoard: `track.sinks`", matters=False)
    else:
        part.done(key, "track.sinks")
    sinks = [{"name": name, **settings} if name == "wandb" and settings else name for name in known]
    if sinks:
        part.sheet.put("track.sinks", sinks, part.name(key))
