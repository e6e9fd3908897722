"""What a reward is: it looks at a model's own answers, and gives each a number."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from pydantic import Field

from lorry.data.rows import Message
from lorry.plugins import Plugin

if TYPE_CHECKING:
    from lorry.recipe.schema import Recipe
    from lorry.trainer.model import LoadedModel


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer that a model made to a row's prompt."""

    text: str
    """Without special tokens."""
    messages: list[Message]
    """The turns before it."""
    truth: str = ""
    """What is right, where the row says so."""
    columns: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What else the row holds."""
    origin: str = ""
    """`file:line` of the row."""

    @property
    def prompt(self) -> str:
        """What was asked last."""
        content = self.messages[-1].get("content") if self.messages else None
        return content if isinstance(content, str) else ""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why there is no score for an answer."""

    told: str


_MOST = 1e9
"""A reward beyond this is taken for a mistake: sums and squares of it would be no numbers any more."""


def as_score(value: float) -> float | Fault:
    """A score, if it can be learnt from; NaN and infinities cannot, nor what is too large."""
    if abs(value) <= _MOST:
        return float(value)
    return Fault(f"gave {value}, which is no number to learn from")


class Scorer(Protocol):
    """A reward at work."""

    def scores(self, completions: Sequence[Completion]) -> list[float | Fault | None]:
        """One for each answer, in order; None where the reward has nothing to say of it."""
        ...

    def close(self) -> None:
        """Gives back what it holds."""
        ...


@dataclass(frozen=True)
class Place:
    """Where rewards are opened."""

    recipe: Recipe
    base: Path
    """Where the recipe's relative paths start from."""
    model_folder: Path
    """Where the base model of the run lies."""
    policy: LoadedModel | None = None
    """The model that is trained, where it is loaded."""
    say: Callable[[str], object] = lambda _note: None
    """Is told what a person should know."""


class Reward(Plugin):
    """A way to judge answers. Importing a reward's file must not import torch."""

    files: ClassVar[tuple[str, ...]] = ()
    """Settings that name a file or folder, relative to the recipe."""
    models: ClassVar[tuple[str, ...]] = ()
    """Settings that name a model: a folder, relative to the recipe, or a Hub id."""
    runs: ClassVar[tuple[str, ...]] = ()
    """Those of `files` that may as well name a run, as `model.adapter` may: its adapter is meant then."""
    weight: float = Field(default=1.0)
    """What its scores are multiplied by before all rewards are added up; below 0 for what is unwanted."""

    @property
    @abstractmethod
    def label(self) -> str:
        """What it is called in curves, and in a row's `rewards`."""

    @property
    def needs_truth(self) -> bool:
        """Whether it means nothing for a row that does not say what is right."""
        return False

    @property
    def at_once(self) -> int:
        """Answers that are judged between two signs of life."""
        return 1

    def unavailable(self, base: Path | None = None) -> str | None:
        """Why it cannot work on this machine, with what to install; None when it can. Files that it names start from `base`."""
        del base
        return None

    @abstractmethod
    def open(self, place: Place) -> Scorer:
        """Gets to work. Raises LorryError where something is missing or does not fit."""
