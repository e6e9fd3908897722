"""A reward model that `method: reward` has trained, or that PEFT loads: an adapter with a head that gives one number."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from lorry.trainer.rewards._base import Place, Reward, Scorer


class AdapterReward(Reward):
    """The reward of a reward model's adapter: what a run with `method: reward` delivered."""

    files: ClassVar[tuple[str, ...]] = ("adapter",)
    models: ClassVar[tuple[str, ...]] = ("base_model",)
    runs: ClassVar[tuple[str, ...]] = ("adapter",)
    adapter: str
    """A run with `method: reward` (its id, its experiment's name, or `last`), or a folder, relative to the recipe."""
    base_model: str | None = None
    """Its base model, where that is not the one that is trained here: a folder or a Hub id."""
    batch_size: int = Field(default=16, ge=1)
    """Answers scored at once."""

    @property
    def label(self) -> str:
        """One of a kind: `reward_model`."""
        return "reward_model"

    @property
    def at_once(self) -> int:
        """Several batches, which are of like length then."""
        return 8 * self.batch_size

    def open(self, place: Place) -> Scorer:
        """Loads it beside the model that is trained. Raises ModelError where the two do not fit."""
        from lorry.trainer.rewards._models import adapter_scorer

        return adapter_scorer(self.adapter, self.base_model, place, self.batch_size)
