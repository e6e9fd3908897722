"""Every setting of every plugin is read by something: each is changed, and what the plugin says changes with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lorry import plugins
from lorry.data.render import Renderer
from lorry.data.rows import Origin, Row
from lorry.data.tokenizer import Tokenizer
from lorry.evaluate.metrics._base import Answer
from model_folders import save_model

HERE = Origin("rows.jsonl", 1)
ASKED = {"role": "user", "content": "Say red"}
SAID = {"role": "assistant", "content": "red"}
ANSWER = "red<|im_end|>"
CONVERSATION = "user\nSay red<|im_end|>\n<|im_start|>assistant\nred<|im_end|>\n"


@dataclass(frozen=True)
class Probe:
    """Two values of a plugin's setting, and what is seen with each."""

    kind: str
    plugin: str
    setting: str
    values: tuple[Any, Any]
    observe: Callable[[Any, Path], Any]
    gives: tuple[Any, Any]

    def __str__(self) -> str:
        return f"{self.plugin}.{self.setting}"


def score(prediction: str, truth: str = "red") -> Callable[[Any, Path], Any]:
    return lambda metric, _folder: metric.score(Answer(prediction, truth))


def trained_text(method: Any, folder: Path) -> str:
    tokenizer = Tokenizer.open(save_model(folder))
    (example,) = method.examples(Row(HERE, messages=[ASKED, SAID]), Renderer(tokenizer, 64))
    return tokenizer.decode(example.ids[example.trained].tolist(), skip_special_tokens=False)


def text(layout: Any, _folder: Path) -> str:
    return layout.read({"text": "this", "content": "that"}, HERE).text


PROBES = [
    Probe("methods", "sft", "train_on", ("assistant", "all"), trained_text, (ANSWER, CONVERSATION)),
    Probe("formats", "completion", "field", ("text", "content"), text, ("this", "that")),
    Probe("metrics", "exact_match", "strip", (True, False), score("red\n"), (1, 0)),
    Probe("metrics", "exact_match", "ignore_case", (True, False), score("Red"), (1, 0)),
    Probe("metrics", "exact_match", "collapse_whitespace", (True, False), score("a  b", "a b"), (1, 0)),
    Probe("metrics", "bash_valid", "timeout", (5, 1e-6), score("ls"), (1, 0)),
    Probe("metrics", "dangerous_command", "allow", ([], ["make-filesystem"]), score("mkfs.ext4 /dev/sda1"), (1, 0)),
    Probe("metrics", "shellcheck", "severity", ("error", "warning"), score("cd /tmp"), (1, 0)),
    Probe("metrics", "shellcheck", "timeout", (10, 1e-6), score("ls"), (1, None)),
    Probe("metrics", "shellcheck", "longest", (9, 1), score("ls"), (1, None)),
    Probe("metrics", "shellcheck", "exclude", ([], ["SC2164"]), score("cd /tmp"), (0, 1)),
]


def test_every_setting_has_a_probe():
    found = {
        (kind, name, setting)
        for kind in plugins.KINDS
        for name in plugins.names(kind)
        for setting in plugins.find(kind, name).model_fields
    }
    assert ("methods", "sft", "train_on") in found
    assert found - {(probe.kind, probe.plugin, probe.setting) for probe in PROBES} == set()


@pytest.mark.parametrize("probe", PROBES, ids=str)
def test_changed_setting_changes_what_the_plugin_says(probe: Probe, tmp_path: Path):
    made = [plugins.make(probe.kind, {"name": probe.plugin, probe.setting: value}) for value in probe.values]
    if probe.kind == "metrics" and (why := made[0].unavailable()):  # type: ignore[attr-defined]
        pytest.skip(why)
    first, second = (probe.observe(plugin, tmp_path / "model") for plugin in made)
    assert first != second
    assert (first, second) == probe.gives
