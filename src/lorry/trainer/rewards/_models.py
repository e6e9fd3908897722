"""Rewards that a model gives: it is loaded beside the one that is trained, and reads prompt and answer."""

from __future__ import annotations

from lorry.trainer.rewards._base import Place, Scorer


def adapter_scorer(adapter: str, base_model: str | None, place: Place, batch_size: int) -> Scorer:
    """A reward model's adapter on its base model."""
    raise NotImplementedError


def classifier_scorer(model: str, output: str | None, place: Place, batch_size: int) -> Scorer:
    """A whole sequence-classification model."""
    raise NotImplementedError
