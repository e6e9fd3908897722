"""What follows from an outcome: pure tables, so that every pair can be tested without a machine.

`decide(outcome, history) -> Action`. Where nothing is known to help, the run ends, with the machine given back first.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal

from lorry.compute.outcomes import Outcome

Interruptible = Literal["never", "prefer", "only"]


class Phase(Enum):
    """How far an attempt had come."""

    ASKING = "asking for a machine"
    PREPARING = "making the machine ready"
    TRAINING = "training"


class Action(Enum):
    """What is done; its value says it in words."""

    NEXT_OFFER = "the next offer is tried"
    PAUSE = "the provider is asked again after a pause"
    RECONCILE = "the provider is asked whether there is a machine of this name"
    KEEP_WAITING = "the machine is waited for"
    START_AGENT = "training is started on the machine again"
    NEXT_ATTEMPT = "the run goes on from its newest checkpoint on another machine"
    FETCH = "what it made is fetched, and the machine is given back"
    END_RUN = "the run ends"


@dataclass(frozen=True)
class History:
    """What came before, as far as decisions need it."""

    phase: Phase
    repeats: int = 0
    """How often the same outcome came before without an optimizer step in between."""
    fruitless: int = 0
    """Attempts in a row that made no optimizer step, the one that has just ended included."""


FRUITLESS = 5
"""Attempts in a row without a step after which the run ends: money goes into machines, and nothing comes of it."""

_ANY = (Phase.ASKING, Phase.PREPARING, Phase.TRAINING)
_ON_MACHINE = (Phase.PREPARING, Phase.TRAINING)


@dataclass(frozen=True)
class _Rule:
    action: Action
    times: int | None = None
    """How often it is tried without a step in between; None for as often as it comes."""
    then: Action = Action.END_RUN


def _table(*rules: tuple[Outcome, tuple[Phase, ...], _Rule]) -> dict[tuple[Outcome, Phase], _Rule]:
    return {(outcome, phase): rule for outcome, phases, rule in rules for phase in phases}


_RULES = _table(
    # Nothing was rented: another offer may do.
    (Outcome.NO_CAPACITY, _ANY, _Rule(Action.NEXT_OFFER)),
    (Outcome.NOT_ALLOWED, _ANY, _Rule(Action.NEXT_OFFER)),
    (Outcome.BID_TOO_LOW, _ANY, _Rule(Action.NEXT_OFFER)),
    (Outcome.UNCERTAIN, _ANY, _Rule(Action.RECONCILE)),
    # No offer of this provider would do.
    (Outcome.BALANCE_EMPTY, _ANY, _Rule(Action.END_RUN)),
    (Outcome.REQUEST_WRONG, _ANY, _Rule(Action.END_RUN)),
    # A key that is refused while a machine trains does not stop it; its end will be asked for again.
    (Outcome.KEY_REFUSED, (Phase.ASKING,), _Rule(Action.END_RUN)),
    (Outcome.KEY_REFUSED, _ON_MACHINE, _Rule(Action.KEEP_WAITING)),
    # Who is always busy has nothing to rent.
    (Outcome.BUSY, (Phase.ASKING,), _Rule(Action.PAUSE, 20, Action.NEXT_OFFER)),
    (Outcome.BUSY, _ON_MACHINE, _Rule(Action.KEEP_WAITING)),
    (Outcome.API_DOWN, (Phase.ASKING,), _Rule(Action.PAUSE, 20)),
    (Outcome.API_DOWN, _ON_MACHINE, _Rule(Action.KEEP_WAITING)),
    # The machine does not come to training.
    (Outcome.NEVER_READY, _ANY, _Rule(Action.NEXT_OFFER)),
    (Outcome.WRONG_HOST_KEY, (Phase.ASKING, Phase.PREPARING), _Rule(Action.NEXT_OFFER, 1)),
    (Outcome.WRONG_HOST_KEY, (Phase.TRAINING,), _Rule(Action.NEXT_ATTEMPT, 1)),
    (Outcome.NOT_AS_SOLD, _ANY, _Rule(Action.NEXT_OFFER)),
    (Outcome.SETUP_FAILED, _ANY, _Rule(Action.NEXT_OFFER, 1)),
    # Every machine has the same image and the same code.
    (Outcome.IMAGE_BROKEN, _ANY, _Rule(Action.END_RUN)),
    (Outcome.TORCH_UNFIT, _ANY, _Rule(Action.END_RUN)),
    (Outcome.CLONE_FAILED, _ANY, _Rule(Action.END_RUN)),
    # It trains, or did.
    # One that lets nobody in for long, before it trains, is of no use; one that trains goes on by itself.
    (Outcome.SSH_DOWN, (Phase.ASKING, Phase.TRAINING), _Rule(Action.KEEP_WAITING)),
    (Outcome.SSH_DOWN, (Phase.PREPARING,), _Rule(Action.KEEP_WAITING, 50, Action.NEXT_OFFER)),
    (Outcome.AGENT_GONE, _ANY, _Rule(Action.START_AGENT, 2, Action.NEXT_ATTEMPT)),
    (Outcome.PREEMPTED, _ANY, _Rule(Action.NEXT_ATTEMPT)),
    (Outcome.STOPPED, _ANY, _Rule(Action.NEXT_ATTEMPT)),
    (Outcome.VANISHED, _ANY, _Rule(Action.NEXT_ATTEMPT)),
    (Outcome.HOST_LOST, _ANY, _Rule(Action.NEXT_ATTEMPT)),
    (Outcome.UNTRUSTED, _ANY, _Rule(Action.NEXT_ATTEMPT, 1)),
    # It is over, as it says itself.
    (Outcome.FINISHED, _ANY, _Rule(Action.FETCH)),
    (Outcome.FAILED, _ANY, _Rule(Action.FETCH)),
    (Outcome.STOPPED_BY_PERSON, _ANY, _Rule(Action.FETCH)),
    (Outcome.BUDGET, _ANY, _Rule(Action.FETCH)),
    (Outcome.DEADLINE, _ANY, _Rule(Action.FETCH)),
)

_NEW_MACHINE = (Action.NEXT_OFFER, Action.NEXT_ATTEMPT)


def decide(outcome: Outcome, history: History) -> Action:
    """What follows from an outcome in its phase, after what came before."""
    rule = _RULES[outcome, history.phase]
    action = rule.action if rule.times is None or history.repeats < rule.times else rule.then
    is_spent = history.phase is not Phase.ASKING and history.fruitless >= FRUITLESS
    return Action.END_RUN if action in _NEW_MACHINE and is_spent else action


def kind_of_machine(asked: Interruptible, preempted: int, most: int) -> Interruptible | None:
    """Which machines the next attempt may take after so many preemptions; None where no kind is left."""
    if asked == "never" or preempted < max(1, most):
        return asked
    return "never" if asked == "prefer" else None


REMEDIES: dict[Outcome, str] = {
    Outcome.BALANCE_EMPTY: "add money to the account; `lorry resume {run}` goes on from the last checkpoint",
    Outcome.KEY_REFUSED: "`lorry provider test {provider}` tells more; `lorry provider add {provider}` takes a new key",
    Outcome.IMAGE_BROKEN: "name another image in `compute.image`; `lorry logs {run}` shows what the machine printed",
    Outcome.TORCH_UNFIT: "name an image with a newer torch in `compute.image`, or another GPU in `compute.gpu`",
    Outcome.CLONE_FAILED: "check the address and the commit in `compute.code`, and that the machine may read it",
    Outcome.REQUEST_WRONG: "check `compute` in the recipe against what the provider says",
    Outcome.NO_CAPACITY: "set `compute.wait_hours`, allow more GPUs in `compute.gpu`, or name another provider in `compute.on`",
    Outcome.SETUP_FAILED: "`lorry logs {run}` shows what failed; another image may help: `compute.image`",
    Outcome.UNTRUSTED: "the machine's image or host cannot be trusted: take another",
    Outcome.WRONG_HOST_KEY: "take another provider or data centre, and tell the provider",
}
"""What a person can do about an outcome that ended a run."""
