"""The rewards: whether each can work, and whether rows have what they need. Nothing of a person's file is run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, cast

from lorry.errors import InputError
from lorry.plan.checks._base import Check
from lorry.plan.findings import Explanation, Finding, error, from_error, note, refusal, warning
from lorry.plan.python_files import flaws
from lorry.plan.rows import conversations
from lorry.plan.subject import UnavailableError
from lorry.plugins import make
from lorry.recipe.paths import in_clone, is_run_name
from lorry.trainer.methods._rollouts import FromRollouts
from lorry.trainer.rewards.adapter import AdapterReward
from lorry.trainer.rewards.metric import MetricReward
from lorry.trainer.rewards.python import PythonReward
from lorry.trainer.rollouts.jury import counts, rewards_of

if TYPE_CHECKING:
    from lorry.plan.subject import Subject
    from lorry.trainer.rewards._base import Reward

_CODES = {
    "file": "rewards.file",
    "syntax": "rewards.syntax",
    "function": "rewards.function",
    "in-clone": "rewards.in-clone",
}
"""By what is wrong with a function's file."""
_PLACE = "method.rewards"
_SHOWN = 5


class RewardsCheck(Check):
    """Whether every reward of the recipe can judge answers, and every row is judged."""

    explains: ClassVar[Mapping[str, Explanation]] = {
        "rewards.unknown": Explanation(
            "A reward, its metric or one of its settings is not known.",
            "The run would end when its rewards are opened.",
            "Take a name from `lorry rewards` or `lorry metrics`.",
        ),
        "rewards.file": Explanation(
            "A Python file that holds a reward is not there, or cannot be read.",
            "No answer could be judged.",
            "Name the file relative to the recipe.",
        ),
        "rewards.in-clone": Explanation(
            "The file of a reward is not here, and is taken from the repository that `compute.code` clones.",
            "It was not looked at: a fault in it shows on the machine.",
            "Put a copy beside the recipe to have it checked; that copy is then used.",
        ),
        "rewards.syntax": Explanation(
            "A Python file that holds a reward has a syntax error.",
            "It could not be imported.",
            "Correct the line that the finding names.",
        ),
        "rewards.function": Explanation(
            "The file has no function of the reward's name, or an `async` one.",
            "Rewards are called as plain functions, and give a number.",
            "Name one of the functions that the finding lists; write `def` in place of `async def`.",
        ),
        "rewards.unavailable": Explanation(
            "A metric that is a reward cannot work on this machine.",
            "No answer could be judged by it.",
            "Install what the finding names, or take another reward.",
        ),
        "rewards.same-name": Explanation(
            "Two rewards would be called the same, so the later ones get a number.",
            "Curves, and `rewards` in rows, know them by these names.",
            "Nothing, or take care to use these names.",
        ),
        "rewards.no-truth": Explanation(
            "A reward compares answers with what is right, and rows do not say it.",
            "Every answer to such a row is wrong for it.",
            "Give the rows an `answer`, or name in their `rewards` those that need none.",
        ),
        "rewards.row-without": Explanation(
            "Rows name rewards in their column `rewards`, and none of the recipe's is among them.",
            "All answers to such a row are worth 0: nothing is learnt from them.",
            "Use the names that the finding lists.",
        ),
    }

    def run(self, subject: Subject) -> Iterable[Finding]:
        """Reads files and rows."""
        method = subject.method
        if not isinstance(method, FromRollouts):
            return
        sound = True
        for number, spec in enumerate(method.rewards):
            try:
                yield from _of(cast("Reward", make("rewards", spec)), f"{_PLACE}[{number}]", subject)
            except InputError as cause:
                yield from_error("rewards.unknown", cause)
                sound = False
        if sound:
            named = rewards_of(method.rewards)
            yield from _names(named)
            yield from _rows(named, subject)


def _of(reward: Reward, place: str, subject: Subject) -> Iterable[Finding]:
    """What one reward lacks."""
    if isinstance(reward, MetricReward):
        lacks = reward.unavailable(subject.base)
        if lacks and subject.recipe.compute.is_here:
            message = f"the metric `{reward.label}` cannot work here, so it can judge nothing"
            yield refusal("rewards.unavailable", message, remedy=lacks, place=place)
    elif isinstance(reward, AdapterReward):
        named = reward.adapter
        cloned = "" if is_run_name(named, [subject.base]) else in_clone(named, subject.base, subject.recipe)
        if cloned:
            message = f"`{cloned}` is not here: it is taken from the repository of compute.code, and was not looked at"
            yield note("rewards.in-clone", message, place=place)
    elif isinstance(reward, PythonReward):
        for flaw in flaws(reward.file, reward.function, subject.base, subject.recipe):
            if flaw.kind == "in-clone":
                yield note("rewards.in-clone", flaw.message, place=place)
            else:
                yield error(_CODES[flaw.kind], flaw.message, remedy=flaw.remedy, place=flaw.at or place)


def _names(named: Mapping[str, Reward]) -> Iterable[Finding]:
    labels = [reward.label for reward in named.values()]
    for label in dict.fromkeys(labels):
        if labels.count(label) > 1:
            given = ", ".join(f"`{name}`" for name, reward in named.items() if reward.label == label)
            yield note(
                "rewards.same-name", f"{labels.count(label)} rewards are called `{label}`: {given}", place=_PLACE
            )


def _rows(named: Mapping[str, Reward], subject: Subject) -> Iterable[Finding]:
    """What rows do not say, or say of rewards that there are not."""
    untrue: dict[str, list[str]] = {name: [] for name, reward in named.items() if reward.needs_truth}
    without: list[str] = []
    rows = 0
    for task in _tasks(subject):
        rows += 1
        columns: dict[str, Any] = task.get("columns") or {}
        if not any(counts(name, columns) for name in named):
            without.append(task["origin"])
        for name, places in untrue.items():
            if not task["truth"] and counts(name, columns):
                places.append(task["origin"])
    for name, places in untrue.items():
        message = f"`{name}` compares with what is right, and {len(places):,} of {rows:,} rows do not say it"
        remedy = 'give the rows an `answer`, or a `rewards: ["..."]` without it'
        yield from _told("rewards.no-truth", message, remedy, places, rows)
    message = f"{len(without):,} of {rows:,} rows name none of the recipe's rewards: nothing judges the answers to them"
    remedy = f"the recipe's rewards are called {', '.join(f'`{name}`' for name in named)}"
    yield from _told("rewards.row-without", message, remedy, without, rows)


def _told(code: str, message: str, remedy: str, places: list[str], rows: int) -> Iterable[Finding]:
    """A warning about some rows, an error about all of them."""
    if places:
        say = error if len(places) == rows else warning
        yield say(code, message, remedy=remedy, evidence=", ".join(places[:_SHOWN]), place=places[0])


def _tasks(subject: Subject) -> Iterator[dict[str, Any]]:
    """The training rows; none where they cannot be rendered, which other checks tell."""
    try:
        prepared = subject.prepared
    except UnavailableError:
        return
    yield from map(json.loads, conversations(prepared, "train"))
