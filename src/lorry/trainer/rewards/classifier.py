"""Any sequence-classification model as a reward: its one number, or the log-odds of one of its labels."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from lorry.trainer.rewards._base import Place, Reward, Scorer


class ClassifierReward(Reward):
    """The output of a sequence-classification model."""

    models: ClassVar[tuple[str, ...]] = ("model",)
    model: str
    """A folder, relative to the recipe, or a Hub id."""
    output: str | None = None
    """The label whose log-odds count, where the model has more than two; of two it is the second."""
    batch_size: int = Field(default=16, ge=1)
    """Answers scored at once."""

    @property
    def label(self) -> str:
        """The model's own name."""
        return self.model.rstrip("/").rsplit("/", 1)[-1]

    @property
    def at_once(self) -> int:
        """Several batches, which are of like length then."""
        return 8 * self.batch_size

    def open(self, place: Place) -> Scorer:
        """Loads it with its own tokenizer. Raises ModelError where it is none."""
        from lorry.trainer.rewards._models import classifier_scorer

        return classifier_scorer(self.model, self.output, place, self.batch_size)
