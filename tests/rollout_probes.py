"""What the settings of methods and rewards change that judge a model's own answers; all numbers can be gone through by hand."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny_runs
from lorry.data.examples import Example
from lorry.data.render import Renderer
from lorry.data.rows import Origin, Row
from lorry.data.tokenizer import Tokenizer
from lorry.errors import LorryError
from lorry.evaluate.drawing import choose
from lorry.recipe.schema import Recipe
from lorry.track.events import read
from lorry.trainer.forest import plant
from lorry.trainer.methods._rollouts import Answered, FromRollouts
from lorry.trainer.rewards._base import Completion, Fault, Place, Reward
from lorry.trainer.rollouts.jury import Jury
from model_folders import save_model, save_tokenizer

ASKED = {"role": "user", "content": "Say red"}


def ending(method: FromRollouts, folder: Path) -> str:
    """How a run of one step ends that trains all weights: vLLM takes adapters alone, whether it is here or not."""
    train = {"steps": 1, "micro_batch": 8}
    values = tiny_runs.recipe(folder, train=train, lora=None, data={"eval_split": 0})
    run = tiny_runs.train_here({**values, "method": {"name": method.name, **method.model_dump()}})
    return list(read(run.folder.events))[-1].kind


def prompts(method: FromRollouts, folder: Path) -> int:
    """Prompts of a short row that are left at `max_length` 64."""
    row = Row(Origin("rows.jsonl", 1), [ASKED], asked=1)
    (found,) = method.examples_of([row], Renderer(Tokenizer.open(save_model(folder)), 64))
    return len(found)  # type: ignore[arg-type]


def drawn(number: float) -> Callable[[Any, Path], int]:
    """The token that a number draws of two with logits 0 and 1, that is, with probabilities 0.27 and 0.73."""

    def look(method: FromRollouts, _folder: Path) -> int:
        import torch

        return int(choose(torch.tensor([[0.0, 1.0]]), torch.tensor([number]), method.sampling))

    return look


class Now:
    """A policy that gives each token probability 1, and whose value head expects 0.5 of each."""

    def log_probs(self, batch: Any) -> Any:
        """By token that is trained on."""
        import torch

        return torch.zeros(len(batch.rows))

    def log_probs_and_values(self, batch: Any) -> Any:
        """The same, with what is expected."""
        import torch

        return torch.zeros(len(batch.rows)), torch.full((len(batch.rows),), 0.5)


def loss(method: FromRollouts, _folder: Path) -> float:
    """That of a good and a bad token whose probabilities have moved apart by a factor of e^0.5 each."""
    good = {"advantage": 1.0, "before": -0.5, "reference": math.log(2), "value": 0.0, "return": 1.0}
    bad = {**good, "advantage": -1.0, "before": 0.5}
    made = [
        Example(
            np.arange(4, dtype=np.int32) + at,
            np.arange(4) == 3,
            known={name: np.asarray([value], np.float32) for name, value in known.items()},
        )
        for at, known in enumerate((good, bad))
    ]
    batch = plant(made)
    return round(float(method.loss(Now(), batch, method.counts(batch)).loss), 4)  # type: ignore[arg-type]


def credited(name: str) -> Callable[[Any, Path], Any]:
    """What the first token is credited with: of two answers to one prompt, worth 1 and 0, the second of them cut off.

    Each of their two tokens is likelier than with the reference by a factor of e.
    """

    def look(method: FromRollouts, _folder: Path) -> Any:
        two = [np.zeros(2), np.zeros(2)]
        answered = Answered([0, 0], [2, 2], [True, False], np.asarray([1.0, 0.0]), two, [one - 1 for one in two], two)
        credit = method.credit(answered, {})
        if name in credit.carried:
            return round(credit.carried[name], 4)
        found = [one[name][0] for one in credit.known if name in one]
        return [round(float(value), 4) for value in found]

    return look


def judged(text: str = "red") -> Callable[[Any, Path], Any]:
    """What is given, weighted, for an answer to a row whose truth is `red`; or what went wrong."""

    def look(judging: Any, folder: Path) -> Any:
        try:
            found = _judge(judging, folder, text)
        except LorryError as error:
            return type(error).__name__
        return round(found, 3) if isinstance(found, float) else found

    return look


def with_secret(reward: Any, folder: Path) -> Any:
    """What is given where the environment holds a secret."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LORRY_PROBE_TOKEN", "secret")
        return judged()(reward, folder)


def works(reward: Any, folder: Path) -> str:
    """Whether a reward can judge at all, or what is wrong."""
    found = judged()(reward, folder)
    return found if isinstance(found, str) else "works"


def share_of_plain(reward: Any, folder: Path) -> float:
    """What it gives, as a share of what it would with weight 1."""
    return round(_judge(reward, folder) / _judge(reward.model_copy(update={"weight": 1.0}), folder), 3)


def _judge(judging: Any, folder: Path, text: str = "red") -> Any:
    place = Place(Recipe.model_validate(tiny_runs.recipe(_folder_of(folder))), folder, folder / "model")
    if isinstance(judging, FromRollouts):
        jury = Jury.open(judging.rewards, place)
    else:
        jury = Jury({"one": (judging, judging.open(place))})
    found = jury.judge([Completion(text, [ASKED], "red")])
    jury.close()
    return found.faults[0].split(" (")[0] if found.faults else float(found.totals[0])


def signs_of_life(reward: Reward, _folder: Path) -> int:
    """How often judging sixteen answers is seen to go on."""
    jury, seen = Jury({"one": (reward, _Silent())}), list[None]()
    jury.beat = lambda: seen.append(None)
    jury.judge([Completion("red", [ASKED])] * 16)
    return len(seen)


class _Silent:
    def scores(self, completions: Any) -> list[float | Fault | None]:
        return [None for _ in completions]

    def close(self) -> None: ...


def _folder_of(folder: Path) -> Path:
    """The folder with functions, a classifier of two labels and one of four, and a reward model's adapter."""
    if not (folder / "model").exists():
        folder.mkdir(exist_ok=True)
        (folder / "one.py").write_text("def f(completion): return 1\ndef g(completion): return 2\n", encoding="utf-8")
        (folder / "two.py").write_text("def f(completion): return 2\n", encoding="utf-8")
        slow = "import time\ntime.sleep(0.3)\ndef f(completion):\n    time.sleep(0.3)\n    return 1\n"
        (folder / "slow.py").write_text(slow, encoding="utf-8")
        sees = "import os\ndef f(completion): return float('LORRY_PROBE_TOKEN' in os.environ)\n"
        (folder / "sees.py").write_text(sees, encoding="utf-8")
        _classifier(folder / "two", [0.0, 1.0])
        _classifier(folder / "four", [0.0, 0.0, 0.0, 3.0])
        _adapter(folder)
    return folder


def _classifier(folder: Path, biases: list[float]) -> None:
    """A classifier that says the same of every text."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    model = BertForSequenceClassification(BertConfig(vocab_size=300, num_labels=len(biases), **sizes))
    with torch.no_grad():
        model.classifier.weight.zero_()
        model.classifier.bias.copy_(torch.tensor(biases))
    model.save_pretrained(folder)
    save_tokenizer(folder)


def _adapter(folder: Path) -> None:
    """A reward model's adapter, trained for a step; made once for all probes."""
    made = folder.parents[1] / "reward-adapter"
    if not made.exists():
        values = tiny_runs.recipe(folder, train={"steps": 1})
        tiny_runs.write_rows(
            folder / "rows.jsonl", [{"prompt": f"{at}", "chosen": "red", "rejected": "blue"} for at in range(24)]
        )
        run = tiny_runs.train_here({**values, "method": "reward"})
        shutil.copytree(run.folder.adapter, made)
    tiny_runs.recipe(folder)
    shutil.copytree(made, folder / "adapter")
