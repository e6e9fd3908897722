"""Every method tells at evaluations what it says that it tells, and no more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest

import tiny_rollouts
import tiny_runs
from lorry import plugins
from lorry.trainer.methods._base import Method

WORDS = tiny_runs.WORDS * 3
ROWS: dict[str, list[dict[str, Any]]] = {
    "messages": tiny_runs.chat_rows(24),
    "text": [{"text": f"{word} {at} " * 4} for at, word in enumerate(WORDS)],
    "preference": [
        {"prompt": f"{word} {at}", "chosen": word, "rejected": f"{word} {at}"} for at, word in enumerate(WORDS)
    ],
    "labelled": [
        {"prompt": f"{word} {at}", "completion": word, "label": bool(at % 3)} for at, word in enumerate(WORDS)
    ],
}


@pytest.fixture(params=plugins.names("methods"))
def method(request: pytest.FixtureRequest) -> type[Method]:
    return cast("type[Method]", plugins.find("methods", request.param))


def test_evaluation_gives_what_the_method_says_that_it_gives(method: type[Method], tmp_path: Path) -> None:
    values = _recipe(tmp_path, method)
    made = cast("Method", plugins.make("methods", values["method"]))
    run = tiny_runs.train_here(values)
    given = [event.data.keys() - {"seconds"} for event in tiny_runs.events_of(run, "evaluated")]
    assert given == [made.gives.keys()] * 2
    assert made.watches in made.gives
    assert made.tells.items() <= made.gives.items()
    assert all(isinstance(higher, bool) for higher in made.gives.values())


def _recipe(folder: Path, method: type[Method]) -> dict[str, Any]:
    """Two steps, each evaluated, on rows that the method takes."""
    train = {"steps": 2, "eval_every": 1}
    if method.rolls_out:
        like = method.name if method.name in tiny_rollouts.METHODS else "ppo"
        values = tiny_rollouts.recipe(folder, like, train=train)
        return {**values, "method": {**values["method"], "name": method.name}}
    kind = next(kind for kind in ROWS if kind in method.accepts)
    values = tiny_runs.recipe(folder, train=train, evaluate={"rows": 0})
    tiny_runs.write_rows(folder / "rows.jsonl", ROWS[kind])
    return {**values, "method": {"name": method.name}}


def test_importing_all_methods_leaves_torch_out() -> None:
    script = (
        "import sys; from lorry import plugins; [plugins.find('methods', name) for name in plugins.names('methods')];"
        "import lorry.trainer.watched;"
        "sys.exit(bool({'torch', 'transformers', 'datasets'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
