"""What a rehearsal came to: its stages with their times, what was found, and what it cannot know."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from lorry.plan.findings import Finding, exit_code
from lorry.recipe.schema import Recipe

STAGES = (
    "check",
    "tokenizer",
    "rows",
    "start",
    "metrics",
    "model",
    "training",
    "evaluation",
    "generation",
    "checkpoint",
    "resume",
    "plain PEFT",
)
"""In the order in which they are reached."""

Ending = Literal["passed", "failed", "left out"]


@dataclass(frozen=True)
class Stage:
    """One part of the way, and how it went."""

    name: str
    ending: Ending
    seconds: float
    told: str = ""
    """What was seen, or why it was left out."""


@dataclass
class Rehearsal:
    """A rehearsal, as far as it came; it is filled in while it goes on."""

    findings: list[Finding] = field(default_factory=list[Finding])
    """Of the checks, then of the rehearsal itself, whose codes begin with `rehearsal.`"""
    stages: list[Stage] = field(default_factory=list[Stage])
    changes: list[str] = field(default_factory=list[str])
    """How the rehearsed recipe differs from the true one."""
    unknown: list[str] = field(default_factory=list[str])
    """What only the true run can tell."""

    @property
    def passed(self) -> bool:
        """Whether every stage was reached and went well."""
        return [stage.name for stage in self.stages] == list(STAGES) and not self.failed

    @property
    def failed(self) -> Stage | None:
        """The stage at which it ended before its time."""
        return next((stage for stage in self.stages if stage.ending == "failed"), None)

    @property
    def exit_code(self) -> int:
        """0 where nothing is in the way of the run; 2 for wrong input; 3 where it failed, or this machine refuses."""
        return exit_code(self.findings)

    @property
    def seconds(self) -> float:
        """All stages together."""
        return sum(stage.seconds for stage in self.stages)

    def as_json(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "passed": self.passed,
            "exit_code": self.exit_code,
            "seconds": self.seconds,
            "stages": [asdict(stage) for stage in self.stages],
            "findings": [asdict(finding) for finding in self.findings],
            "changes": self.changes,
            "unknown": self.unknown,
        }


def unknown(recipe: Recipe) -> list[str]:
    """What a small copy with random weights on a processor cannot tell of this recipe."""
    told = [
        "memory and speed of the true model: `lorry check` and a GPU tell",
        "whether the true weights can be had and load",
        "what is learned: losses and scores of random weights mean nothing",
        "faults that only many steps show: divergence, leaks, full disks",
    ]
    gpu = [
        *(["FlashAttention"] if recipe.model.attention == "flash" else []),
        *(["fp16 and its loss scaling"] if recipe.model.precision == "fp16" else []),
        *(["the 8-bit optimizer"] if recipe.train.optimizer == "adamw_8bit" else []),
        *(["Liger's kernels"] if recipe.train.liger else []),
    ]
    if gpu:
        told.append(f"what runs only on a GPU: {', '.join(gpu)}")
    if recipe.model.adapter is not None:
        told.append("whether the earlier adapter goes on well")
    if recipe.track.tells_somebody:
        told.append("whether trackers and alerts take what they are told")
    return told
