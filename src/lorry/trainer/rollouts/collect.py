"""Collecting rollouts: the model answers a step's prompts, rewards judge the answers, and the method credits their tokens.

A rollout depends on the step, the weights and the seed alone, so one that was cut off is made again. Steps that go on with one
that weights have changed under cannot make it again: a checkpoint between them holds it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lorry.data.examples import Example, ExampleSet
from lorry.data.prepare import Task
from lorry.data.tokenizer import Tokenizer
from lorry.evaluate.drawing import Draws
from lorry.evaluate.generation import Limits, Lowered, answer_tokens, without_end
from lorry.trainer.channel import Reporter
from lorry.trainer.forest import plant
from lorry.trainer.ladder import Rung
from lorry.trainer.methods._rollouts import Answered, FromRollouts
from lorry.trainer.order import Order
from lorry.trainer.policy import Policy
from lorry.trainer.rewards._base import Completion
from lorry.trainer.rollouts.jury import Judged, Jury
from lorry.trainer.rollouts.rollout import Rollout
from lorry.trainer.rollouts.vllm_engine import VllmEngine

_SHOWN, _CHARACTERS = 2, 400
"""Answers of each rollout that are told, and characters of each."""

Floats = NDArray[np.float64]


@dataclass
class Asker:
    """Has a model answer tasks, and judges what it said."""

    policy: Policy
    tokenizer: Tokenizer
    jury: Jury
    method: FromRollouts
    engine: VllmEngine | None = None
    """What makes the answers in place of Transformers."""
    lowered: Lowered = field(default=lambda _size, _error: None)

    def answers(
        self, prompts: Sequence[Sequence[int]], at_once: int, beat: Callable[[], None], draws: Draws | None = None
    ) -> list[list[int]]:
        """Tokens of each answer; greedy without `draws`."""
        if self.engine is not None:
            beat()
            return self.engine.answers(self.policy.loaded, prompts, self.method.max_new_tokens, draws, beat)
        limits = Limits(self.method.max_new_tokens, at_once, draws, self.lowered)
        made, _ = answer_tokens(self.policy.loaded, self.tokenizer, prompts, limits, lambda _done, _all: beat())
        return made

    def completions(self, tasks: Sequence[Task], answers: Sequence[list[int]]) -> list[Completion]:
        """Answers as rewards see them."""
        return [
            Completion(
                text=self.tokenizer.decode(without_end(answer, self.tokenizer)),
                messages=task.messages,
                truth=task.truth,
                columns=task.columns,
                origin=task.origin,
            )
            for task, answer in zip(tasks, answers, strict=True)
        ]

    def has_ended(self, answer: Sequence[int]) -> bool:
        """Whether an answer came to its end by itself."""
        return bool(answer) and answer[-1] in self.tokenizer.end_ids


@dataclass(frozen=True)
class _Answers:
    """The answers of a rollout, judged, before anything of their tokens is known."""

    made: Rollout
    ended: list[bool]
    judged: Judged


@dataclass
class Rollouts:
    """The rollouts of one training: the one that is being trained on, and how the next one is made."""

    asker: Asker
    examples: ExampleSet
    tasks: Mapping[int, Task]
    """By the index of their prompt."""
    events: Reporter
    seed: int
    beat: Callable[[str], None] = field(default=lambda _phase: None)
    """Told what is being done: `answering`, or `training`, where answers are measured."""
    _answers: _Answers | None = None
    """Of the rollout that is being made: where memory runs out as they are measured, they are neither made nor judged again."""
    _kept: tuple[Mapping[str, float], Rollout | None] = field(default=({}, None))
    """What the rollout before left for the next one, and the present one; changed as one, for a signal may read it."""

    def parts(
        self, step: int, order: Order, rung: Rung, left_out: frozenset[int]
    ) -> list[tuple[list[int], list[Example]]]:
        """The micro-batches of a step: rows and their answers, those to one prompt side by side, so that they share it."""
        rollout = self._at(step, order, rung, left_out)
        size = self.asker.method.group
        groups = [range(at, at + size) for at in range(0, len(rollout.rows), size)]
        groups.sort(key=lambda group: sum(len(rollout.ids[at]) for at in group))
        taken = [at for group in groups for at in group if rollout.rows[at] not in left_out]
        return [
            ([rollout.rows[at] for at in part], [rollout.example(at) for at in part])
            for part in (taken[at : at + rung.micro_batch] for at in range(0, len(taken), rung.micro_batch))
        ]

    @property
    def told(self) -> Mapping[str, float]:
        """What the present rollout tells."""
        _, rollout = self._kept
        return rollout.told if rollout else {}

    def heaviest(self, answers: int, most: int | None = None) -> list[Example]:
        """So many answers, as long as they may get, to the longest prompt; or within `most` tokens. What they say is filler."""
        method, longest = self.asker.method, int(self.examples.lengths.argmax())
        prompt = self.examples[longest].ids[: None if most is None else most // 2]
        length = method.max_new_tokens if most is None else most - len(prompt)
        vocabulary = self.asker.policy.forward.vocabulary
        fillers = [(np.arange(length) * (at + 7) + at) % vocabulary for at in range(answers)]
        ids = [np.concatenate([prompt, filler]).astype(np.int32) for filler in fillers]
        nothing = [np.zeros(length) for _ in fillers]
        answered = Answered(
            groups=[0] * answers,
            lengths=[length] * answers,
            ended=[True] * answers,
            rewards=np.zeros(answers),
            before=nothing if method.keeps_before else (),
            reference=nothing if method.needs_reference else (),
            values=nothing if method.has_value_head else (),
        )
        made = Rollout(0, [longest] * answers, ids, [len(prompt)] * answers, method.credit(answered, {}).known)
        return [made.example(at) for at in range(answers)]

    def standing(self, step: int, order: Order) -> tuple[Rollout | None, Mapping[str, float]]:
        """What a checkpoint of a step holds: the rollout that the next step goes on with, and what is left for later ones."""
        before, rollout = self._kept
        if rollout is None or rollout.first > step:
            return None, before
        goes_on = order.begins(step + 1) == rollout.first
        return (rollout if goes_on else None), rollout.carried

    def begin_anew(self) -> None:
        """Forgets the present rollout: what is left out of it was judged beside the rest."""
        self._kept, self._answers = (self._kept[0], None), None

    def put_back(self, rollout: Rollout | None, carried: Mapping[str, float]) -> None:
        """Goes on from what `standing` gave."""
        self._kept, self._answers = (carried, rollout), None

    def _at(self, step: int, order: Order, rung: Rung, left_out: frozenset[int]) -> Rollout:
        before, rollout = self._kept
        first = order.begins(step)
        if rollout is None or rollout.first != first:
            before = rollout.carried if rollout is not None and rollout.first < first else before
            rows = [row for part in order.micro_batches(step) for row in part if row not in left_out]
            rollout = self._made(first, rows, rung, before)
            self._kept, self._answers = (before, rollout), None
        return rollout

    def _made(self, first: int, rows: Sequence[int], rung: Rung, carried: Mapping[str, float]) -> Rollout:
        method = self.asker.method
        if not rows:
            return Rollout(first, [], [], [], carried=carried)
        answers = self._answered(first, [row for row in rows for _ in range(method.group)], rung)
        made, judged = answers.made, answers.judged
        answered = Answered(
            groups=[place // method.group for place in range(len(made.rows))],
            lengths=made.answered,
            ended=answers.ended,
            rewards=judged.totals,
            **self._measured(made, rung),
        )
        credit = method.credit(answered, carried)
        told = {
            **judged.means(),
            "deviation": float(judged.totals.std()),
            "answer_tokens": float(np.mean(made.answered)),
            "ended": float(np.mean(answers.ended)),
            **credit.told,
        }
        self._tell(first, made, judged.totals.tolist(), told)
        for fault in judged.faults:
            self.events.append("warning", step=first, message=f"a reward failed at some answers: {fault}")
        return Rollout(first, made.rows, made.ids, made.asked, credit.known, told, credit.carried)

    def _answered(self, first: int, rows: list[int], rung: Rung) -> _Answers:
        """The answers to these rows' prompts, made and judged unless that is done: weights have not changed since."""
        found = self._answers
        if found is not None and (found.made.first, found.made.rows) == (first, rows):
            return found

        def beat() -> None:
            self.beat("answering")

        prompts = [self.examples[row].ids.tolist() for row in rows]
        draws = Draws(self.asker.method.sampling, [(self.seed, first, place) for place in range(len(rows))])
        answers = self.asker.answers(prompts, rung.generation_batch, beat, draws)
        self.asker.jury.beat = beat
        judged = self.asker.jury.judge(self.asker.completions([self.tasks[row] for row in rows], answers))
        ids = [np.asarray([*prompt, *answer], np.int32) for prompt, answer in zip(prompts, answers, strict=True)]
        made = Rollout(first, rows, ids, [len(prompt) for prompt in prompts])
        self._answers = _Answers(made, [self.asker.has_ended(answer) for answer in answers], judged)
        return self._answers

    def _measured(self, made: Rollout, rung: Rung) -> dict[str, Any]:
        """What the method asks of each token, before weights change; so many answers at once as a step computes.

        That takes less than training on them: memory that runs out here leads down the ladder as it does in a step.
        """
        method, policy = self.asker.method, self.asker.policy
        found: dict[str, list[Floats]] = {}
        if not (method.keeps_before or method.needs_reference or method.has_value_head):
            return {}
        for at in range(0, len(made.rows), rung.micro_batch):
            self.beat("training")
            examples = [made.example(place) for place in range(at, min(at + rung.micro_batch, len(made.rows)))]
            batch = plant(examples, share=policy.forward.shares and not policy.loaded.drops)
            parts: dict[str, torch.Tensor] = {}
            with torch.no_grad(), policy.loaded.computing(), policy.loaded.answering():
                if method.has_value_head:
                    parts["before"], parts["values"] = policy.log_probs_and_values(batch)
                elif method.keeps_before:
                    parts["before"] = policy.log_probs(batch)
                if method.needs_reference:
                    parts["reference"] = policy.reference_log_probs(batch)
            ends = np.cumsum([len(one.ids) - asked for one, asked in zip(examples, made.asked[at:], strict=False)])
            for name, values in parts.items():
                found.setdefault(name, []).extend(np.split(values.double().cpu().numpy(), ends[:-1]))
        return found

    def _tell(self, step: int, made: Rollout, rewards: Sequence[float], told: Mapping[str, float]) -> None:
        """Some answers, the best and the worst, as a person would want to see them."""
        order = sorted(range(len(rewards)), key=lambda at: -rewards[at])
        tokenizer = self.asker.tokenizer
        samples = [
            {
                "origin": self.tasks[made.rows[at]].origin,
                "reward": rewards[at],
                "answer": tokenizer.decode(made.ids[at][made.asked[at] :].tolist())[:_CHARACTERS],
            }
            for at in dict.fromkeys([*order[: _SHOWN // 2], *order[-(_SHOWN // 2) :]])
        ]
        self.events.append("rollout", step=step, answers=len(rewards), samples=samples, **told)
