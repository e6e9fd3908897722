"""A reward model at hand, whoever made it: texts as tokens in, one number each out.

Three kinds of folders are understood: a run of `method: reward` or its adapter, which reads each row's last token; a model
with one score, such as TRL's RewardTrainer leaves; and a classifier, whose reward is the log-odds of one of its labels (of two
labels, the logit of the second less that of the first). The last two compute as Transformers does.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForSequenceClassification

from lorry.errors import ModelError
from lorry.evaluate.adapter_files import base_model, check_files, gives_rewards, is_whole_model
from lorry.evaluate.folder import read_json
from lorry.recipe.schema import ModelSettings, Recipe
from lorry.track.folder import RunFolder
from lorry.trainer import hardware
from lorry.trainer.architectures import is_proven
from lorry.trainer.model import LoadedModel, load
from lorry.trainer.precision import decide
from lorry.trainer.row_rewards import row_rewards
from lorry.trainer.saving import rng
from lorry.trainer.score_head import SCORE
from lorry.trainer.shared_base import over_base_of

Rows = Sequence[Sequence[int]]
Score = Callable[[Rows, int], list[float]]
_TWO = 2
_BEHIND_PADDING = frozenset({"roberta", "xlm-roberta", "camembert", "longformer", "mpnet", "xlm-roberta-xl"})
_NO_REWARDS = "train one with `method: reward`, or name a model that classifies texts"


@dataclass(frozen=True)
class RewardModel:
    """A loaded reward model, beside whatever else is loaded. It keeps its memory as long as it lives."""

    tokenizer_folder: Path
    """Where the tokenizer lies whose tokens it reads."""
    _score: Score
    most: int | None = None
    """Tokens of the longest row that it can read; None where it names no bound."""
    note: str = ""
    """Where its base model lies, where that could be in memory already."""

    @classmethod
    def open(
        cls,
        folder: Path,
        base: Path | None = None,
        *,
        settings: ModelSettings | None = None,
        label: str | None = None,
        beside: LoadedModel | None = None,
    ) -> RewardModel:
        """The reward model in a run's folder, an adapter's, or that of a whole model.

        `base` is the folder of the adapter's base model; by default the one that the run or the adapter names, if it is here.
        `settings` say how it is loaded (precision, quantisation, attention); by default as its run did, or as `auto`.
        `label` names a classifier's label, as its configuration calls it; one of two labels needs none. `beside` is a model
        that was loaded from the same base by the same settings: an adapter is put onto its weights, where that changes nothing
        for it. Raises ModelError for what is no reward model, is not whole, or has no such label. Draws of random numbers go
        on as if nothing was loaded.
        """
        if (folder / "resolved.json").is_file():
            made = read_json(folder / "resolved.json")
            base = base or Path(str(made.get("model_folder")))
            settings = settings or Recipe.model_validate(made["recipe"]).model
            folder = RunFolder(folder).adapter
        found = check_files(folder)
        if not gives_rewards(folder):
            raise ModelError("this is no reward model", place=str(folder), hint=_NO_REWARDS)
        if is_whole_model(folder):
            with _untouched():
                score = _of_whole(folder, settings or ModelSettings(id=str(folder)), label)
            return cls(folder, score, _positions(folder))
        base = base or Path(base_model(found) or "")
        if not (base / "config.json").is_file():
            raise ModelError("the base model of the reward model is not here", place=str(base), hint="name its folder")
        with _untouched():
            score, note = _of_adapter(folder, base, settings or ModelSettings(id=str(base)), beside)
        return cls(folder if _has_tokenizer(folder) else base, score, _positions(base), note)

    def score(self, rows: Rows, batch_size: int = 16) -> list[float]:
        """The reward of each row of tokens, a whole conversation each, in their order; at most so many at once.

        Rows that begin alike are computed together where the architecture allows it. Raises ValueError for an empty row.
        """
        return self._score(rows, batch_size)


def _has_tokenizer(folder: Path) -> bool:
    """Whether tokens can be read there; PEFT itself lays none beside an adapter, whose tokens are the base model's."""
    return (folder / "tokenizer.json").is_file()


def _positions(folder: Path) -> int | None:
    """Tokens that the model of a folder has positions for."""
    config = AutoConfig.from_pretrained(folder).get_text_config()
    most = getattr(config, "max_position_embeddings", None)
    if not isinstance(most, int) or most <= 0:
        return None
    # RoBERTa and its kin count positions from behind the padding's.
    return most - int(config.pad_token_id or 0) - 1 if config.model_type in _BEHIND_PADDING else most


@contextmanager
def _untouched() -> Generator[None]:
    """Puts generators and switches that loading sets back as they were: another model is trained in this process."""
    generators, tf32 = rng.capture(), (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32)
    try:
        yield
    finally:
        rng.restore(*generators)
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = tf32


def _of_adapter(folder: Path, base: Path, settings: ModelSettings, beside: LoadedModel | None) -> tuple[Score, str]:
    _must_have_head(folder)
    shared, note = None, ""
    if beside is not None:
        has_own_code = settings.trust_remote_code is not None
        shared, note = over_base_of(beside, folder, base, has_own_code=has_own_code)
    try:
        loaded = load(_recipe(settings, lora={}), base, adapter=folder, trainable=False, base=shared)
    except (RuntimeError, ValueError, KeyError) as error:
        told = f"the reward model's adapter does not fit {base}: {' '.join(str(error).split())[:300]}"
        raise ModelError(told, place=str(folder), hint="name the model that it was trained on") from error
    return lambda rows, size: row_rewards(loaded, rows, size), note


def _must_have_head(folder: Path) -> None:
    """Raises ModelError where the head is not there, which PEFT would begin anew, or is made of what is no number."""
    file = folder / "adapter_model.safetensors"
    if not file.is_file():
        return  # PEFT's older form, which is read by PEFT alone
    with safe_open(file, framework="pt") as tensors:
        heads = [name for name in tensors.keys() if SCORE in name.split(".")]  # noqa: SIM118 - it is no dictionary
        if not heads:
            raise ModelError("the adapter has no head that gives a number", place=str(file), hint=_NO_REWARDS)
        if not all(tensors.get_tensor(name).isfinite().all() for name in heads):
            raise ModelError("the reward model's head holds what is no number", place=str(file), hint=_NO_REWARDS)


def _of_whole(folder: Path, settings: ModelSettings, label: str | None) -> Score:
    config = AutoConfig.from_pretrained(folder, trust_remote_code=settings.trust_remote_code is not None)
    if int(config.num_labels or 0) > 1 or label is not None or not is_proven(config):
        return _Classifier.load(folder, config, settings, label).score
    pad = config.get_text_config().pad_token_id
    loaded = load(_recipe(settings, lora=None), folder, trainable=False)
    return lambda rows, size: row_rewards(loaded, [_without_end(row, pad) for row in rows], size)


def _recipe(settings: ModelSettings, lora: dict[str, Any] | None) -> Recipe:
    model = settings.model_copy(update={"adapter": None}).model_dump()
    return Recipe.model_validate({"model": model, "data": {"train": "-"}, "method": "reward", "lora": lora})


def _without_end(row: Sequence[int], pad: int | None) -> Sequence[int]:
    """A row up to its last token that is no padding, where Transformers reads; a row of nothing else is its first token."""
    end = len(row)
    while end > 1 and row[end - 1] == pad:
        end -= 1
    return row[:end]


@dataclass(frozen=True)
class _Classifier:
    """A whole model that scores or classifies, computed as Transformers does."""

    model: Any
    label: int
    pad: int | None
    """None where it reads the last token of one row at a time."""

    @classmethod
    def load(cls, folder: Path, config: Any, settings: ModelSettings, label: str | None) -> _Classifier:
        number, device = _numbered(config, label, folder), hardware.device()
        stored = str(config.dtype or torch.float32).removeprefix("torch.")
        precision = decide(settings.precision, stored, device=device.type, has_bf16=hardware.has_bf16(device))
        model = AutoModelForSequenceClassification.from_pretrained(
            folder,
            dtype=getattr(torch, precision.weights),
            trust_remote_code=settings.trust_remote_code is not None,
            device_map={"": device},
        )
        return cls(model.eval(), number, config.get_text_config().pad_token_id)

    @torch.inference_mode()
    def score(self, rows: Rows, batch_size: int) -> list[float]:
        """The reward of each row; rows of like length are computed together."""
        order = sorted(range(len(rows)), key=lambda at: -len(rows[at]))
        size, found = batch_size if self.pad is not None else 1, dict[int, float]()
        for first in range(0, len(order), size):
            places = order[first : first + size]
            logits = self._logits([rows[at] for at in places])
            others = torch.cat([logits[:, : self.label], logits[:, self.label + 1 :]], dim=1)
            against = others.logsumexp(dim=1) if others.shape[1] else 0.0
            found |= zip(places, (logits[:, self.label] - against).tolist(), strict=True)
        return [found[at] for at in range(len(rows))]

    def _logits(self, rows: Rows) -> torch.Tensor:
        """`(rows, labels)` in fp32."""
        if not all(rows):
            raise ValueError("a row without tokens has no reward")
        wide, pad = max(map(len, rows)), self.pad or 0
        ids = torch.tensor([[*row, *[pad] * (wide - len(row))] for row in rows], device=self.model.device)
        mask = torch.tensor([[1] * len(row) + [0] * (wide - len(row)) for row in rows], device=self.model.device)
        return self.model(input_ids=ids, attention_mask=mask).logits.float()


def _numbered(config: Any, label: str | None, folder: Path) -> int:
    """Which logit counts. Raises ModelError where nobody has said, or no label is called so."""
    names = {str(name): int(number) for number, name in config.id2label.items()}
    if label is not None and label in names:
        return names[label]
    if label is None and len(names) <= _TWO:
        return len(names) - 1
    told = f"has no label `{label}`" if label is not None else f"has {len(names)} labels"
    raise ModelError(f"the classifier {told}", place=str(folder), hint=f"name one of {', '.join(names)}")
