"""What methods have in common that learn from the model's own answers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field

from lorry.data.examples import Example, Kind
from lorry.data.rows import Row
from lorry.errors import DataError
from lorry.evaluate.drawing import Sampling
from lorry.recipe.rewards import as_reward
from lorry.trainer.methods._base import Method, Whole

if TYPE_CHECKING:
    from lorry.data.render import Renderer
    from lorry.trainer.forest import Forest

Floats = NDArray[np.float64]


RewardSpec = Annotated[dict[str, Any], BeforeValidator(as_reward)]


@dataclass(frozen=True)
class Answered:
    """A rollout as it is credited: `n` answers, judged. What the method does not ask for is empty."""

    groups: Sequence[int]
    """The prompt that each answers."""
    lengths: Sequence[int]
    """Tokens of each."""
    ended: Sequence[bool]
    """Whether each came to its end by itself."""
    rewards: Floats
    """`(n,)`, all rewards weighted and added up."""
    before: Sequence[Floats] = ()
    """Log-probability of each token, `(tokens,)`, when it was drawn."""
    reference: Sequence[Floats] = ()
    """The same by the model that training began with."""
    values: Sequence[Floats] = ()
    """What the value head expected before each token."""


@dataclass(frozen=True)
class Credit:
    """What is known of each token before it is trained on."""

    known: list[dict[str, NDArray[np.float32]]]
    """One an answer; by name, `(tokens,)`."""
    told: Mapping[str, float] = field(default_factory=dict[str, float])
    """Means that are worth a curve."""
    carried: Mapping[str, float] = field(default_factory=dict[str, float])
    """What the next rollout has to know of this one."""


class FromRollouts(Method):
    """A method that learns from the model's own answers."""

    accepts: ClassVar[frozenset[str]] = frozenset({"prompt", "messages"})
    can_vanish: ClassVar[bool] = True
    rolls_out: ClassVar[bool] = True
    tells: ClassVar[Mapping[str, bool]] = {"reward": True, "answer_tokens": False, "ended": True}
    watches: ClassVar[str] = "reward"
    rewards: list[RewardSpec] = Field(min_length=1)
    """What answers are judged by: a metric (`bash_valid`), a function (`rewards.py:brevity`), or any of `lorry rewards` with
    its settings, each with a `weight`."""
    engine: Literal["transformers", "vllm"] = "transformers"
    """What makes the answers; `vllm`, where it is installed, is made for GPUs, and takes 40 % of one meanwhile."""
    max_new_tokens: int = Field(default=256, ge=1)
    """Tokens of an answer at most; with its prompt it stays within `data.max_length`."""
    temperature: float = Field(default=1.0, gt=0)
    """How evenly tokens are drawn."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Tokens are drawn from the likeliest that have this probability together."""
    top_k: int = Field(default=0, ge=0)
    """Tokens are drawn from so many of the likeliest; 0 for all."""

    @property
    def gives(self) -> Mapping[str, bool]:
        """The reward and how answers are, and each reward where there are several. Raises InputError for a wrong one."""
        from lorry.trainer.rollouts.jury import rewards_of

        each = rewards_of(self.rewards)
        parts = {f"reward_{name}": reward.weight >= 0 for name, reward in each.items()} if len(each) > 1 else {}
        return {**self.tells, **parts}

    @property
    def sampling(self) -> Sampling:
        """How the tokens of answers are drawn."""
        return Sampling(self.temperature, self.top_p, self.top_k)

    @property
    def keeps_before(self) -> bool:
        """Whether `credit` is given the log-probabilities that tokens were drawn with."""
        return self.passes > 1

    def examples_of(self, rows: Sequence[Row], renderer: Renderer) -> Iterator[list[Example] | DataError]:
        """The prompt of each row; none for one that leaves no room for an answer of `max_new_tokens`."""
        most = renderer.max_length - self.max_new_tokens
        for row in rows:
            try:
                ids = renderer.prompt((row.messages or [])[: row.asked or None], row.tools)
            except DataError as error:
                yield error
                continue
            prompt = Example(np.asarray(ids, np.int32), np.zeros(len(ids), np.bool_), kind=Kind.PROMPT)
            yield [prompt] if 0 < len(ids) <= most else []

    def too_long(self, max_length: int) -> tuple[str, str]:
        """Its prompt is."""
        why = f"the prompt leaves no room for an answer of {self.max_new_tokens:,} tokens within max_length {max_length:,}"
        return why, "raise `data.max_length`, lower `method.max_new_tokens`, or shorten what is asked"

    def counts(self, batch: Forest) -> Whole:
        """Tokens of answers, and answers."""
        return {"tokens": batch.trained_tokens, "rows": len(batch.kinds)}

    @abstractmethod
    def credit(self, answered: Answered, carried: Mapping[str, float]) -> Credit:
        """What each token of a rollout is worth. `carried` is what the rollout before left."""
