"""How far a rehearsal has come: which stage, since when, and what was said of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from lorry.plan.rehearsal.outcome import STAGES, Ending, Rehearsal, Stage
from lorry.plan.rehearsal.watching import Message

Watcher = Callable[[Stage | str], None]
"""Told the name of a stage as it begins, and the stage as it ends."""

_BY_PHASE = {
    "loading": "model",
    "training": "training",
    "answering": "training",
    "evaluating": "evaluation",
    "scoring": "generation",
}
"""What the trainer says it does, as a stage."""
_ALONE = ("checkpoint", "resume", "plain PEFT")
"""Stages in which the trainer's own phases do not count."""


class Progress:
    """Keeps the time of each stage; one ends as a later one begins, and what comes before that was left out."""

    def __init__(self, result: Rehearsal, watch: Watcher) -> None:
        self.stage = ""
        self.doing = ""
        """What the worker said last that it did."""
        self._result = result
        self._watch = watch
        self._since = time.monotonic()
        self._seconds: dict[str, float] = {}
        self._told: dict[str, str] = {}

    def enter(self, stage: str) -> None:
        """A stage begins; one that is over already does not begin again."""
        if self.stage and STAGES.index(stage) <= STAGES.index(self.stage):
            return
        self._count()
        self._end_before(stage)
        self.stage, self.doing = stage, ""
        self._watch(stage)

    def tell(self, text: str) -> None:
        """What is to be said of the stage."""
        self._told[self.stage] = text

    def take(self, message: Message) -> None:
        """What the worker says moves it on."""
        if "stage" in message:
            self.enter(message["stage"])
        elif "told" in message:
            self.tell(message["told"])
        elif "doing" in message:
            self.doing = message["doing"]
        elif self.stage not in _ALONE:
            self._take_of_trainer(message)

    def finish(self, ending: Ending = "passed") -> None:
        """The rehearsal is over, and so is the stage that it stood at."""
        self._count()
        if ending == "passed":
            self._end_before(None)
        elif self.stage:
            self._end_before(self.stage)
            self._end(self.stage, ending)

    def _take_of_trainer(self, message: Message) -> None:
        data = message.get("data", {})
        if "beat" in message:
            self.enter(_BY_PHASE[message["beat"][0]])
        elif message.get("kind") == "loaded":
            self.enter("training")
        elif message.get("kind") == "step":
            self._told["training"] = f"{message['step']} steps, loss {data['loss']:.4g}"
        elif message.get("kind") == "evaluated":
            self._told["evaluation"] = ", ".join(f"{name} {value:.4g}" for name, value in data.items())
        elif message.get("kind") == "scored":
            self._told["generation"] = _scores(data["scores"])
        elif message.get("kind") == "scoring":
            self.doing = f"it computed {data['part']}, {data['done']} of {data['total']}"

    def _count(self) -> None:
        now = time.monotonic()
        if self.stage:
            self._seconds[self.stage] = now - self._since
        self._since = now

    def _end_before(self, stage: str | None) -> None:
        """Ends all stages that come before one; those that were never entered were left out."""
        done = {one.name for one in self._result.stages}
        limit = STAGES.index(stage) if stage is not None else len(STAGES)
        for name in STAGES[:limit]:
            if name not in done:
                self._end(name, "passed" if name in self._seconds else "left out")

    def _end(self, name: str, ending: Ending) -> None:
        told = self._told.get(name, "no rows are held back" if ending == "left out" else "")
        made = Stage(name, ending, self._seconds.get(name, 0.0), told)
        self._result.stages.append(made)
        self._watch(made)


def _scores(splits: dict[str, dict[str, Any]]) -> str:
    """How many answers were made and by what they were scored."""
    names = dict.fromkeys(name for split in splits.values() for name in split["scores"])
    made = sum(split["generated"] for split in splits.values())
    return f"{made} answers; scored: {', '.join(names)}" if splits else "no rows are held back"
