"""Every setting of every plugin is read by something: each is changed, and what the plugin says changes with it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import conversion_probes as conversions
import metric_probes as metrics
import provider_probes as market
import rollout_probes as rollouts
from lorry import plugins
from lorry.data.examples import Example, Kind
from lorry.data.render import Renderer
from lorry.data.rows import Origin, Row
from lorry.data.tokenizer import Tokenizer
from lorry.evaluate.metrics._base import Ratio
from lorry.track.sinks._base import RunFacts
from lorry.trainer.forest import plant
from metric_probes import score, scores
from model_folders import save_model
from tracked import wandb_runs
from webhook import refusing_server

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
    given: dict[str, Any] = field(default_factory=dict[str, Any])
    """Other settings that this one needs to matter."""

    def __str__(self) -> str:
        return f"{self.plugin}.{self.setting}"


def trained_text(method: Any, folder: Path) -> str:
    tokenizer = Tokenizer.open(save_model(folder))
    (example,) = method.examples(Row(HERE, messages=[ASKED, SAID]), Renderer(tokenizer, 64))
    return tokenizer.decode(example.ids[example.trained].tolist(), skip_special_tokens=False)


def trained_of_a_pair(method: Any, folder: Path) -> str:
    tokenizer = Tokenizer.open(save_model(folder))
    row = Row(HERE, messages=[ASKED, SAID], rejected=[ASKED, {**SAID, "content": "blue"}], asked=1)
    chosen, _ = method.examples(row, Renderer(tokenizer, 64))
    return tokenizer.decode(chosen.ids[chosen.trained].tolist(), skip_special_tokens=False)


class Said:
    """A policy that gives each token of the first answer 1/e, each of the second 1/e^2, where its reference gives e^-1.5."""

    def log_probs(self, batch: Any) -> Any:
        """By row."""
        import torch

        return torch.tensor([-1.0, -2.0])[torch.from_numpy(batch.rows)]

    def reference_log_probs(self, batch: Any) -> Any:
        """The same for all."""
        import torch

        return torch.full((len(batch.rows),), -1.5)

    def rewards(self, batch: Any) -> Any:
        """Of each answer, the worse one's lower by 1."""
        import torch

        return torch.tensor([2.0, 1.0])[: len(batch.ends)]


def loss_of(method: Any, _folder: Path) -> float:
    """The loss of two answers to one prompt, the better one of two tokens, the worse one of three."""
    kinds = (Kind.GOOD, Kind.BAD) if method.name == "kto" else (Kind.CHOSEN, Kind.REJECTED)
    rows = [np.arange(3 + tokens, dtype=np.int32) for tokens in (2, 3)]
    batch = plant([Example(ids, ids >= 3, kind=kind) for ids, kind in zip(rows, kinds, strict=True)])
    return round(float(method.loss(Said(), batch, method.counts(batch)).loss), 4)


def text(layout: Any, _folder: Path) -> str:
    return layout.read({"text": "this", "content": "that"}, HERE).text


def asked(layout: Any, _folder: Path) -> str:
    """What a row asks that has an instruction with an input, and whatever answers and labels there are."""
    row = {"instruction": "Spell", "input": "red", "output": "r", "label": True, "rejected": "x"}
    pair = {"chosen": "r"} if layout.gives == "preference" else {}
    return layout.read({**row, **pair}, HERE).messages[0]["content"]


def bare(layout: Any, _folder: Path) -> str:
    """The same without an input."""
    return layout.read({"instruction": "Spell", "output": "r"}, HERE).messages[0]["content"]


PROMPT = {"prompt": "{system}{instruction}{input}"}
KIND = {**PROMPT, "system": "Be kind"}


def told_wandb(field_: str) -> Callable[[Any, Path], Any]:
    """A field of the run as W&B is told it."""

    def look(sink: Any, folder: Path) -> Any:
        sink.open(_run(folder), {}).close()
        value = getattr(wandb_runs(folder)[-1], field_)
        return value if isinstance(value, str) else list(value)

    return look


def asks_wandb(sink: Any, folder: Path) -> bool:
    """Whether W&B's server, here one that lets nobody in, is asked for the run. W&B reads its address once a process."""
    script = (
        "import sys; from pathlib import Path; from lorry import plugins; from lorry.track.sinks._base import RunFacts\n"
        "sink = plugins.make('sinks', {'name': 'wandb', 'mode': sys.argv[1]})\n"
        "sink.open(RunFacts('run', Path(sys.argv[2]), {}), {}).close()"
    )
    folder.mkdir(exist_ok=True)
    with refusing_server() as server:
        environment = {**os.environ, "WANDB_BASE_URL": server.address, "WANDB_API_KEY": "a" * 40}
        command = [sys.executable, "-c", script, sink.mode, str(folder)]
        subprocess.run(command, env=environment, capture_output=True, check=False)
        return bool(server.asked)


def _run(folder: Path) -> RunFacts:
    folder.mkdir(exist_ok=True)
    return RunFacts("tiny-20260103-143052", folder, {})


ENGINES = ("transformers", "vllm")
ONE = {"rewards": ["exact_match"]}
TWICE = [{"name": "metric", "metric": "exact_match", "weight": 2}]
FUNCTION = {"file": "one.py", "function": "f"}
SLOW = {"file": "slow.py", "function": "f"}
SEES = {"file": "sees.py", "function": "f"}
LATE = "one: took longer than 0.05 seconds"
ANY_CASE = {"name": "exact_match", "ignore_case": True}
REWARD_MODEL = {"adapter": "adapter"}
ADVANTAGE = rollouts.credited("advantage")


def of_rollouts(method: str) -> list[Probe]:
    """Probes of what all methods have in common that learn from the model's own answers."""
    return [
        Probe("methods", method, "rewards", (["exact_match"], TWICE), rollouts.judged(), (1.0, 2.0)),
        Probe(
            "methods", method, "engine", ENGINES, rollouts.ending, ("finished", "failed"), {**ONE, "max_new_tokens": 4}
        ),
        Probe("methods", method, "max_new_tokens", (8, 60), rollouts.prompts, (1, 0), ONE),
        Probe("methods", method, "temperature", (1.0, 2.0), rollouts.drawn(0.3), (1, 0), ONE),
        Probe("methods", method, "top_p", (1.0, 0.5), rollouts.drawn(0.1), (0, 1), ONE),
        Probe("methods", method, "top_k", (0, 1), rollouts.drawn(0.1), (0, 1), ONE),
    ]


ALL, NONE = Ratio(2, 2), Ratio(0, 2)
KNOWN = {"columns": {"known": False}}
ONE_CITES = (None, Ratio(1, 1))
SUPPORTS = ([1, 1, 1], [1, 1, 0])
NO_START = "the reward function cannot be used: took longer than 0.05 seconds"


def of_edits(rate: str) -> list[Probe]:
    """Probes of what both error rates have in common: one of three letters, or the one word."""
    one = {"cer": 0.333, "wer": 1.0}[rate]
    length = {"cer": 3, "wer": 1}[rate]
    return [
        Probe("metrics", rate, "unicode", ("NFKC", "NFC"), scores("\uff52ed"), ([0], [one])),
        Probe("metrics", rate, "ignore_case", (True, False), scores("Red"), ([0], [one])),
        Probe("metrics", rate, "ignore_punctuation", (True, False), scores("red!"), ([0], [one])),
        Probe("metrics", rate, "average", ("corpus", "rows"), score("red"), (Ratio(0, length), 0.0)),
    ]


def of_ppo(method: str) -> list[Probe]:
    """Probes of PPO, whatever it is called. The price of two tokens, moved by a nat each, is 0.05; then comes the reward."""
    first = rollouts.credited("return")
    price = rollouts.credited("kl_weight")
    return [
        *of_rollouts(method),
        Probe("methods", method, "epochs", (1, 2), lambda made, _folder: made.passes, (1, 2), ONE),
        Probe("methods", method, "clip_range", (0.2, 0.1), rollouts.loss, (-0.168, -0.068), ONE),
        Probe("methods", method, "value_clip", (0.2, 0.4), rollouts.loss, (-0.168, -0.182), ONE),
        Probe("methods", method, "value_weight", (0.1, 1.0), rollouts.loss, (-0.168, 0.12), ONE),
        Probe("methods", method, "gamma", (1.0, 0.4), first, ([0.8525, -0.0975], [0.311, -0.069]), ONE),
        Probe("methods", method, "gae_lambda", (1.0, 0.0), first, ([0.9, -0.1], [-0.05, -0.05]), ONE),
        Probe("methods", method, "kl_weight", (0.0, 0.05), first, ([0.95, 0.0], [0.8525, -0.0975]), ONE),
        Probe("methods", method, "target_kl", (None, 1.0), price, (0.05, 0.07), {**ONE, "kl_horizon": 1}),
        Probe("methods", method, "kl_horizon", (1, 2), price, (0.07, 0.06), {**ONE, "target_kl": 1.0}),
    ]


OFFLINE = {"mode": "offline"}
URLS = ("https://one.example/v2", "https://two.example/v2")
VAST_URLS = ("https://one.example", "https://two.example")
LAMBDA_URLS = ("https://one.example/api/v1", "https://two.example/api/v1")
HOSTS = ("one.example", "two.example")
EQUAL = {"eq": True}

PROBES = [
    # Both answers are gone through by hand: see `loss_of`.
    Probe("methods", "dpo", "beta", (0.4, 1.0), loss_of, (0.3133, 0.0789)),
    Probe("methods", "dpo", "loss_type", ("sigmoid", "hinge"), loss_of, (0.4741, 0.5), {"beta": 0.2}),
    Probe("methods", "dpo", "label_smoothing", (0.0, 0.25), loss_of, (0.0789, 0.7039), {"beta": 1.0}),
    Probe("methods", "orpo", "beta", (0.0, 1.0), loss_of, (1.0, 1.2382)),
    Probe("methods", "orpo", "learn", ("all", "answer"), trained_of_a_pair, (CONVERSATION, ANSWER)),
    Probe("methods", "simpo", "beta", (1.0, 2.0), loss_of, (0.3133, 0.1269), {"margin": 0.0}),
    Probe("methods", "simpo", "margin", (0.0, 1.0), loss_of, (0.3133, 0.6931), {"beta": 1.0}),
    Probe("methods", "reward", "center", (0.0, 0.5), loss_of, (0.3133, 4.8133)),
    Probe("methods", "kto", "beta", (1.0, 2.0), loss_of, (0.2257, 0.0833)),
    Probe("methods", "kto", "good_weight", (1.0, 2.0), loss_of, (0.2257, 0.3602), {"beta": 1.0}),
    Probe("methods", "kto", "bad_weight", (1.0, 2.0), loss_of, (0.2257, 0.3169), {"beta": 1.0}),
    *(
        Probe("methods", name, "cache_reference", (False, True), lambda made, _folder: made.asks_once, (False, True))
        for name in ("dpo", "kto")
    ),
    Probe("methods", "sft", "train_on", ("assistant", "all"), trained_text, (ANSWER, CONVERSATION)),
    *of_rollouts("grpo"),
    Probe("methods", "grpo", "group_size", (2, 3), lambda made, _folder: made.group, (2, 3), ONE),
    Probe("methods", "grpo", "epochs", (1, 2), lambda made, _folder: made.passes, (1, 2), ONE),
    Probe("methods", "grpo", "clip_range", (0.2, 0.1), rollouts.loss, (-0.2, -0.1), ONE),
    Probe("methods", "grpo", "clip_range_high", (None, 0.28), rollouts.loss, (-0.2, -0.24), ONE),
    Probe("methods", "grpo", "beta", (0.0, 1.0), rollouts.loss, (-0.2, 0.146), ONE),
    Probe("methods", "grpo", "scale_rewards", (True, False), ADVANTAGE, ([0.707, -0.707], [0.5, -0.5]), ONE),
    Probe("methods", "grpo", "mask_truncated", (False, True), rollouts.credited("counted"), ([], [1.0, 0.0]), ONE),
    *(Probe("converters", *probe) for probe in conversions.PROBES),
    *of_ppo("ppo"),
    *of_ppo("rlhf"),
    Probe("rewards", "metric", "metric", ("exact_match", ANY_CASE), rollouts.judged("Red"), (0.0, 1.0)),
    Probe("rewards", "metric", "weight", (1, 2), rollouts.judged(), (1.0, 2.0), {"metric": "exact_match"}),
    Probe("rewards", "python", "file", ("one.py", "two.py"), rollouts.judged(), (1.0, 2.0), FUNCTION),
    Probe("rewards", "python", "function", ("f", "g"), rollouts.judged(), (1.0, 2.0), FUNCTION),
    Probe("rewards", "python", "weight", (1, 2), rollouts.judged(), (1.0, 2.0), FUNCTION),
    Probe("rewards", "python", "timeout", (30, 0.05), rollouts.judged(), (1.0, LATE), SLOW),
    Probe("rewards", "python", "secrets", ([], ["LORRY_PROBE_TOKEN"]), rollouts.with_secret, (0.0, 1.0), SEES),
    Probe("rewards", "python", "start_timeout", (60, 0.05), rollouts.judged(), (1.0, "RecipeError"), SLOW),
    Probe("rewards", "classifier", "model", ("two", "four"), rollouts.judged(), (1.0, "ModelError")),
    Probe(
        "rewards", "classifier", "output", ("LABEL_1", "LABEL_3"), rollouts.judged(), (-3.095, 1.901), {"model": "four"}
    ),
    Probe("rewards", "classifier", "weight", (1, 2), rollouts.judged(), (1.0, 2.0), {"model": "two"}),
    Probe("rewards", "classifier", "batch_size", (1, 2), rollouts.signs_of_life, (2, 1), {"model": "two"}),
    Probe("rewards", "adapter", "adapter", ("adapter", "nowhere"), rollouts.works, ("works", "ModelError")),
    Probe(
        "rewards", "adapter", "base_model", ("model", "nowhere"), rollouts.works, ("works", "ModelError"), REWARD_MODEL
    ),
    Probe("rewards", "adapter", "weight", (1, 2), rollouts.share_of_plain, (1.0, 2.0), REWARD_MODEL),
    Probe("rewards", "adapter", "batch_size", (1, 2), rollouts.signs_of_life, (2, 1), REWARD_MODEL),
    Probe("formats", "completion", "field", ("text", "content"), text, ("this", "that")),
    Probe("formats", "alpaca", "separator", ("\n\n", " "), asked, ("Spell\n\nred", "Spell red")),
    Probe("formats", "alpaca_preference", "separator", ("\n\n", " "), asked, ("Spell\n\nred", "Spell red")),
    Probe("formats", "labelled", "separator", ("\n\n", " "), asked, ("Spell\n\nred", "Spell red")),
    Probe("formats", "alpaca", "prompt", (None, "<{instruction}>"), asked, ("Spell\n\nred", "<Spell>")),
    Probe("formats", "alpaca", "prompt_without_input", (None, "<{instruction}>"), bare, ("Spell", "<Spell>"), PROMPT),
    Probe("formats", "alpaca", "system", ("", "Be kind"), bare, ("Spell", "Be kindSpell"), PROMPT),
    Probe(
        "formats", "alpaca", "system_format", ("{system}", "({system})"), bare, ("Be kindSpell", "(Be kind)Spell"), KIND
    ),
    Probe("metrics", "exact_match", "strip", (True, False), score("red\n"), (1, 0)),
    Probe("metrics", "exact_match", "ignore_case", (True, False), score("Red"), (1, 0)),
    Probe("metrics", "exact_match", "collapse_whitespace", (True, False), score("a  b", "a b"), (1, 0)),
    Probe("metrics", "bash_valid", "timeout", (5, 1e-6), score("ls"), (1, 0)),
    Probe("metrics", "dangerous_command", "allow", ([], ["make-filesystem"]), score("mkfs.ext4 /dev/sda1"), (1, 0)),
    Probe("metrics", "shellcheck", "severity", ("error", "warning"), score("cd /tmp"), (1, 0)),
    Probe("metrics", "shellcheck", "timeout", (10, 1e-6), score("ls"), (1, None)),
    Probe("metrics", "shellcheck", "longest", (9, 1), score("ls"), (1, None)),
    Probe("metrics", "shellcheck", "exclude", ([], ["SC2164"]), score("cd /tmp"), (0, 1)),
    *of_edits("cer"),
    *of_edits("wer"),
    Probe("metrics", "cer", "collapse_whitespace", (True, False), scores("red "), ([0], [0.333])),
    Probe("metrics", "rouge_l", "beta", (1, 2), scores("a b", "a b c d"), ([0.667], [0.556])),
    Probe("metrics", "length", "of", ("words", "characters"), score("red"), (1, 3)),
    Probe("metrics", "json_valid", "json_schema", ({}, {"type": "array"}), score("{}"), (1, 0)),
    Probe("metrics", "json_valid", "allow_fenced", (False, True), score("```\n{}\n```"), (0, 1)),
    Probe("metrics", "field_f1", "fields", ([], ["a"]), score('{"a": 1}', '{"a": 1, "b": 2}'), (Ratio(2, 3), ALL)),
    Probe("metrics", "field_f1", "ignore_case", (True, False), score('["X"]', '["x"]'), (ALL, NONE)),
    Probe("metrics", "field_f1", "numbers", (True, False), score('["1.0"]', "[1]"), (ALL, NONE)),
    Probe("metrics", "field_f1", "ordered", (False, True), score("[2]", "[1, 2]"), (Ratio(2, 3), Ratio(0, 3))),
    Probe("metrics", "field_f1", "allow_fenced", (True, False), score("```\n[1]\n```", "[1]"), (ALL, Ratio(0, 1))),
    Probe("metrics", "refusal_correct", "column", ("", "!known"), score("No.", **KNOWN), (1, 0)),
    Probe("metrics", "refusal_correct", "patterns", (["red"], ["blue"]), score("red", "no"), (0, 1)),
    Probe("metrics", "refusal_correct", "within", (9, 99), score(f"{'x' * 9} I don't know"), (1, 0)),
    Probe(
        "metrics", "citation_coverage", "column", ("passages", "texts"), score("Red [1].", **metrics.CITED), ONE_CITES
    ),
    Probe("metrics", "citation_coverage", "support", (0.5, 1), scores("Red cats [1].", **metrics.GIVEN), SUPPORTS),
    Probe("metrics", "citation_coverage", "refusals", (["red"], []), score("Red [1].", **metrics.GIVEN), ONE_CITES),
    Probe("metrics", "python", "file", ("one.py", "two.py"), metrics.by_function, (1, 2), FUNCTION),
    Probe("metrics", "python", "function", ("f", "g"), metrics.by_function, (1, 2), FUNCTION),
    Probe("metrics", "python", "better", ("lower", "neither"), metrics.direction, (False, None), FUNCTION),
    Probe("metrics", "python", "most", (1, 0.5), metrics.by_function, (1, "gave 1, and `most` says 0.5"), FUNCTION),
    Probe("metrics", "python", "timeout", (30, 0.05), metrics.by_function, (1, LATE.removeprefix("one: ")), SLOW),
    Probe("metrics", "python", "secrets", ([], ["LORRY_PROBE_TOKEN"]), metrics.with_secret, (0, 1), SEES),
    Probe("metrics", "python", "start_timeout", (60, 0.05), metrics.by_function, (1, NO_START), SLOW),
    Probe("sinks", "wandb", "project", ("lorry", "other"), told_wandb("project"), ("lorry", "other"), OFFLINE),
    Probe("sinks", "wandb", "entity", (None, "team"), told_wandb("entity"), ("", "team"), OFFLINE),
    Probe("sinks", "wandb", "tags", ([], ["a"]), told_wandb("tags"), ([], ["a"]), OFFLINE),
    Probe("providers", "runpod", "url", URLS, market.host, HOSTS),
    Probe("providers", "runpod", "cloud", ("secure", "community"), market.tiers, ({"secure"}, {"community"})),
    Probe("providers", "runpod", "data_centers", ([], ["EU-RO-1"]), market.places, ([""] * 4, ["EU-RO-1"] * 2)),
    Probe("providers", "runpod", "container_gb", (20, 30), market.disk, (20, 30)),
    Probe("providers", "runpod", "vcpus", (4, 8), market.processors, (["cpu5c/4"], ["cpu5c/8"])),
    Probe("providers", "vast", "url", VAST_URLS, market.host, HOSTS),
    Probe("providers", "vast", "verified", (True, False), market.filtered("verified"), (EQUAL, None)),
    Probe(
        "providers", "vast", "reliability", (0.9, 0.5), market.filtered("reliability2"), ({"gte": 0.9}, {"gte": 0.5})
    ),
    Probe("providers", "vast", "countries", ([], ["SE"]), market.filtered("geolocation"), (None, {"in": ["SE"]})),
    Probe("providers", "lambda", "url", LAMBDA_URLS, market.host, HOSTS),
    Probe("providers", "lambda", "regions", ([], ["eu-1"]), market.places, (["us-east-1"], [])),
    Probe("providers", "ssh", "hosts", (["a@b"], ["c@d"]), market.pool, ([("a@b", 0)], [("c@d", 0)])),
    Probe("providers", "ssh", "usd_per_hour", (0, 2), market.pool, ([("a@b", 0)], [("a@b", 2)]), {"hosts": ["a@b"]}),
    Probe("sinks", "wandb", "mode", ("offline", "online"), asks_wandb, (False, True)),
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
    made = [
        plugins.make(probe.kind, {"name": probe.plugin, **probe.given, probe.setting: value}) for value in probe.values
    ]
    if probe.kind == "metrics" and not made[0].files and (why := made[0].unavailable()):  # type: ignore[attr-defined]
        pytest.skip(why)
    first, second = (probe.observe(plugin, tmp_path / "model") for plugin in made)
    assert first != second
    assert (first, second) == probe.gives
