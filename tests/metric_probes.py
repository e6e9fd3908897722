"""What the settings of metrics change, seen from what they say of one answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lorry.evaluate.grading import grade
from lorry.evaluate.metrics._base import Answer, value_of

CITED = {"columns": {"texts": ["red"]}}
GIVEN = {"columns": {"passages": ["red"]}}

_FILES = {
    "one.py": "def f():\n    return 1\ndef g():\n    return 2\n",
    "two.py": "def f():\n    return 2\n",
    "slow.py": "import time\ntime.sleep(0.2)\ndef f():\n    time.sleep(0.2)\n    return 1\n",
    "sees.py": "import os\ndef f():\n    return 'LORRY_PROBE_TOKEN' in os.environ\n",
}


def score(prediction: str, truth: str = "red", **row: Any) -> Callable[[Any, Path], Any]:
    """The main score of one answer."""
    return lambda metric, _folder: metric.score(Answer(prediction, truth, **row))


def scores(prediction: str, truth: str = "red", **row: Any) -> Callable[[Any, Path], list[float | None]]:
    """All of its scores, as numbers."""

    def look(metric: Any, _folder: Path) -> list[float | None]:
        found = grade({metric.label: metric}, [Answer(prediction, truth, **row)]).scores
        numbers = [value_of(one) for (one,) in found.values()]
        return [None if one is None else round(one, 3) for one in numbers]

    return look


def by_function(metric: Any, folder: Path) -> Any:
    """What a function of one's own gives, or why it gives nothing."""
    folder.mkdir(exist_ok=True)
    for name, text in _FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    here = metric.model_copy(update={"file": str(folder / metric.file)})
    found = grade({here.label: here}, [Answer("red", "red")])
    (one,) = found.scores[here.label]
    return found.faults[0].partition("answers: ")[2] if found.faults else one


def with_secret(metric: Any, folder: Path) -> Any:
    """What it gives where the environment holds a secret."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LORRY_PROBE_TOKEN", "secret")
        return by_function(metric, folder)


def direction(metric: Any, _folder: Path) -> bool | None:
    """Which way its score is better."""
    return metric.about[metric.label].higher_is_better
