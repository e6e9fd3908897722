"""Rewards that a model gives: it is loaded beside the one that is trained, and reads each conversation with its answer.

It reads them as it was trained to: in its own tokens, by its own chat template, the answer with whatever ends a turn there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lorry.data.render import Renderer
from lorry.data.rows import Message, Origin, Row
from lorry.data.tokenizer import Tokenizer
from lorry.errors import DataError
from lorry.recipe.paths import from_home
from lorry.recipe.schema import ModelSettings
from lorry.trainer.reward_model import RewardModel
from lorry.trainer.rewards._base import Completion, Fault, Place, Scorer
from lorry.trainer.sources.locate import locate

_WHOLE = 1 << 20
"""Tokens that no conversation reaches: what the model cannot read, it says."""


def adapter_scorer(adapter: str, base_model: str | None, place: Place, batch_size: int) -> Scorer:
    """A reward model's adapter on its base model: by default the one that is trained here.

    Raises ModelError where the two do not fit.
    """
    folder = Path(place.base, from_home(adapter))
    own = place.recipe.model.model_copy(update={"adapter": None})  # an earlier adapter is the policy's
    settings = own
    if base_model is not None:
        settings = ModelSettings(id=base_model, precision=own.precision, quantization=own.quantization)
    base = place.model_folder if base_model is None else locate(settings, place.base).folder
    is_own = base.resolve() == place.model_folder.resolve()
    beside = place.policy if is_own else None
    model = RewardModel.open(folder, base, settings=own if is_own else settings, beside=beside)
    if model.note:
        place.say(model.note)
    return _Scores(model, batch_size)


def classifier_scorer(model: str, output: str | None, place: Place, batch_size: int) -> Scorer:
    """A whole sequence-classification model. Raises ModelError where it is none, or has no such label."""
    near = Path(place.base, from_home(model))
    settings = ModelSettings(id=str(near) if near.is_dir() else model)
    folder = locate(settings, place.base).folder
    return _Scores(RewardModel.open(folder, settings=settings, label=output), batch_size)


@dataclass
class _Scores:
    model: RewardModel
    batch_size: int

    def scores(self, completions: Sequence[Completion]) -> list[float | Fault | None]:
        """All together; where that fails, as for want of memory, one by one, and each that fails is a fault."""
        rows = [self._readable(self._row(one)) for one in completions]
        found: list[float | Fault | None] = [row if isinstance(row, Fault) else None for row in rows]
        whole = [(at, row) for at, row in enumerate(rows) if not isinstance(row, Fault)]
        try:
            scored = self.model.score([row for _, row in whole], self.batch_size) if whole else []
        except (RuntimeError, ValueError, IndexError, MemoryError):
            scored = [self._alone(row) for _, row in whole]
        for (at, _), score in zip(whole, scored, strict=True):
            found[at] = score
        return found

    def _readable(self, row: list[int] | Fault) -> list[int] | Fault:
        """A row that the model has positions for: on a GPU a longer one would be the end of the process."""
        most = self.model.most
        if isinstance(row, Fault) or most is None or len(row) <= most:
            return row
        return Fault(f"has {len(row):,} tokens, of which the reward model reads {most:,}")

    def _alone(self, row: Sequence[int]) -> float | Fault:
        try:
            return self.model.score([row], 1)[0]
        except (RuntimeError, ValueError, IndexError, MemoryError) as error:
            return Fault(f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no memory'}")

    def _row(self, one: Completion) -> list[int] | Fault:
        """The conversation with its answer in the model's own tokens."""
        answer: Message = {"role": "assistant", "content": one.text}
        if not self._tokenizer.has_template:
            return self._tokenizer.encode(f"{one.prompt}\n{one.text}", add_special_tokens=True)
        try:
            row = Row(Origin(one.origin, 0), messages=[*one.messages, answer])
            return Renderer(self._tokenizer, _WHOLE).chat(row).ids.tolist()
        except DataError as error:
            return Fault(error.message)

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return Tokenizer.open(self.model.tokenizer_folder)

    def close(self) -> None:
        """Its memory goes with it."""
