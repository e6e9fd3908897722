"""What runs in the process of a reward function: `python -m lorry.trainer.rewards._called FILE FUNCTION PARENT`.

It imports nothing but what the person's file imports, so that it starts at once. The process that was started stays as its
keeper (see `_keeper.py`); the function is called in one forked from it.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lorry.trainer.rewards import _keeper


def main(file: str, function: str, parent: int) -> int:
    """Answers line by line until its input ends."""
    _keeper.divide(parent)
    asked = os.fdopen(os.dup(0), encoding="utf-8")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    # Nobody answers what the function asks for, and what it prints belongs into the log.
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    try:
        os.chdir(Path(file).parent)
        called = _function(file, function)
        takes = inspect.signature(called).parameters
    except BaseException as error:
        _say(answers, error=f"{type(error).__name__}: {error}")
        return 1
    _say(answers, ready=True)
    for line in asked:
        try:
            _say(answers, score=_score(called, takes, json.loads(line)))
        except Exception as error:
            _say(answers, error=f"{type(error).__name__}: {error}")
    return 0


def _function(file: str, name: str) -> Callable[..., Any]:
    sys.path.insert(0, str(Path(file).resolve().parent))
    spec = importlib.util.spec_from_file_location("rewards_of_the_recipe", file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickle look there for what a module holds
    spec.loader.exec_module(module)
    found = getattr(module, name, None)
    if not callable(found):
        there = ", ".join(one for one, value in vars(module).items() if inspect.isfunction(value)) or "no function"
        raise AttributeError(f"there is no function `{name}`, but {there}")
    return found


def _score(called: Callable[..., Any], takes: Any, asked: dict[str, Any]) -> float | None:
    columns = asked.pop("columns")
    many = "completions" in takes
    own = {**columns, **asked}
    if many:
        own = {**columns, "answer": asked["answer"], "prompts": asked["prompt"], "completions": asked["completion"]}
    takes_all = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in takes.values())
    given = own if takes_all else {name: value for name, value in own.items() if name in takes}
    if many:
        given = {name: [value] for name, value in given.items()}
    score = called(**given)
    if many:
        (score,) = score
    return None if score is None else float(score)


def _say(answers: Any, **told: Any) -> None:
    answers.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
