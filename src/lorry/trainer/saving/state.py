"""Where training stands, apart from tensors: what a checkpoint's `state.json` says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from lorry.recipe.changes import decided_otherwise
from lorry.trainer.ladder import Rung
from lorry.trainer.stopping import WINDOW


@dataclass(frozen=True)
class Skip:
    """Training rows that are left out from a step on, because the loss diverged there."""

    from_step: int
    rows: tuple[int, ...]


@dataclass(frozen=True)
class State:
    """Where training stands after `step` optimizer steps. The order of rows follows from the step alone."""

    step: int = 0
    tokens: int = 0
    """Tokens of all rows trained on so far."""
    seconds: float = 0.0
    """Spent in steps, evaluations and saving so far, over all attempts."""
    scores: dict[int, dict[str, float]] = field(default_factory=dict[int, dict[str, float]])
    """What the evaluations gave, by step: `loss`, what the method tells, and metrics of answers."""
    recent: tuple[float, ...] = ()
    """Losses of the last steps, of which the running median is taken."""
    skipped: tuple[Skip, ...] = ()
    short: int = 0
    """Units by which the steps so far fell short of full ones: the last step of an epoch, of a run made longer since."""

    def series(self, name: str) -> dict[int, float]:
        """One score by step, where it was made."""
        return {step: scores[name] for step, scores in self.scores.items() if name in scores}

    def after_step(self, loss: float | None, tokens: int, seconds: float, short: int = 0) -> State:
        """The state after one more optimizer step; None for the loss of one without rows."""
        return replace(
            self,
            step=self.step + 1,
            tokens=self.tokens + tokens,
            seconds=self.seconds + seconds,
            recent=self.recent if loss is None else (*self.recent, loss)[-WINDOW:],
            short=short,
        )

    def evaluated(self, scores: dict[str, float], seconds: float) -> State:
        """The state after the evaluation of this step."""
        return replace(self, scores={**self.scores, self.step: scores}, seconds=self.seconds + seconds)

    def left_out(self, step: int) -> frozenset[int]:
        """Rows that a step must not train on."""
        return frozenset(row for skip in self.skipped if step >= skip.from_step for row in skip.rows)

    def as_json(self) -> dict[str, Any]:
        """For `state.json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> State:
        """What `as_json` gave. Raises KeyError, TypeError or ValueError for anything else."""
        return cls(
            step=int(found["step"]),
            tokens=int(found["tokens"]),
            seconds=float(found["seconds"]),
            scores={
                int(step): {name: float(score) for name, score in dict(scores).items()}
                for step, scores in dict(found["scores"]).items()
            },
            recent=tuple(float(loss) for loss in found["recent"]),
            skipped=tuple(Skip(int(one["from_step"]), tuple(map(int, one["rows"]))) for one in found["skipped"]),
            short=int(found["short"]),
        )


@dataclass(frozen=True)
class Origin:
    """What a training belongs to, so that it is continued with nothing else."""

    run: str
    settings: dict[str, Any]
    """Those that decide what is learned (see `recipe/changes.py`)."""
    rows: dict[str, str]
    """Hashes of what is trained on and what is evaluated, in tokens."""
    attempt: int
    rung: Rung
    made_with: dict[str, Any]
    """Versions, device and threads: with the same ones a continued run is the same to the bit."""
    brought: dict[str, str] = field(default_factory=dict[str, str])
    """Fingerprints of what it reads besides (see `saving/brought.py`)."""


NEEDED = ("origin", "rung", "made_with", "rng", "optimizer", "scaler", *(one.name for one in fields(State)))
"""What `state.json` of a checkpoint that is continued has to tell."""


def made_otherwise(origin: Mapping[str, Any], settings: Mapping[str, Any], rows: Mapping[str, str]) -> str:
    """Why a checkpoint of this origin does not belong to a run with these settings and rows; empty where it does."""
    changed = decided_otherwise(origin.get("settings", {}), settings)
    if changed:
        return "\n".join(["the checkpoint was made with other settings:", *changed])
    others = [name for name, digest in rows.items() if origin.get("rows", {}).get(name) != digest]
    return f"the checkpoint was made with other rows to {' and '.join(others)} on" if others else ""
