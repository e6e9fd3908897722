"""What follows from which outcome: every pair, as a person would write the table."""

from __future__ import annotations

import pytest

from lorry.compute.outcomes import Outcome
from lorry.compute.recovery import FRUITLESS, REMEDIES, Action, History, Phase, decide, kind_of_machine

A, P, T = Phase.ASKING, Phase.PREPARING, Phase.TRAINING

TABLE: dict[Outcome, tuple[Action, Action, Action]] = {
    # outcome: while asking, while preparing, while training
    Outcome.NO_CAPACITY: (Action.NEXT_OFFER, Action.NEXT_OFFER, Action.NEXT_OFFER),
    Outcome.NOT_ALLOWED: (Action.NEXT_OFFER, Action.NEXT_OFFER, Action.NEXT_OFFER),
    Outcome.BID_TOO_LOW: (Action.NEXT_OFFER, Action.NEXT_OFFER, Action.NEXT_OFFER),
    Outcome.BALANCE_EMPTY: (Action.END_RUN, Action.END_RUN, Action.END_RUN),
    Outcome.KEY_REFUSED: (Action.END_RUN, Action.KEEP_WAITING, Action.KEEP_WAITING),
    Outcome.REQUEST_WRONG: (Action.END_RUN, Action.END_RUN, Action.END_RUN),
    Outcome.UNCERTAIN: (Action.RECONCILE, Action.RECONCILE, Action.RECONCILE),
    Outcome.BUSY: (Action.PAUSE, Action.KEEP_WAITING, Action.KEEP_WAITING),
    Outcome.API_DOWN: (Action.PAUSE, Action.KEEP_WAITING, Action.KEEP_WAITING),
    Outcome.NEVER_READY: (Action.NEXT_OFFER, Action.NEXT_OFFER, Action.NEXT_OFFER),
    Outcome.IMAGE_BROKEN: (Action.END_RUN, Action.END_RUN, Action.END_RUN),
    Outcome.WRONG_HOST_KEY: (Action.NEXT_OFFER, Action.NEXT_OFFER, Action.NEXT_ATTEMPT),
    Outcome.NOT_AS_SOLD: (Action.NEXT_OFFER, Action.NEXT_OFFER, Action.NEXT_OFFER),
    Outcome.TORCH_UNFIT: (Action.END_RUN, Action.END_RUN, Action.END_RUN),
    Outcome.SETUP_FAILED: (Action.NEXT_OFFER, Action.NEXT_OFFER, Action.NEXT_OFFER),
    Outcome.CLONE_FAILED: (Action.END_RUN, Action.END_RUN, Action.END_RUN),
    Outcome.SSH_DOWN: (Action.KEEP_WAITING, Action.KEEP_WAITING, Action.KEEP_WAITING),
    Outcome.AGENT_GONE: (Action.START_AGENT, Action.START_AGENT, Action.START_AGENT),
    Outcome.PREEMPTED: (Action.NEXT_ATTEMPT, Action.NEXT_ATTEMPT, Action.NEXT_ATTEMPT),
    Outcome.STOPPED: (Action.NEXT_ATTEMPT, Action.NEXT_ATTEMPT, Action.NEXT_ATTEMPT),
    Outcome.VANISHED: (Action.NEXT_ATTEMPT, Action.NEXT_ATTEMPT, Action.NEXT_ATTEMPT),
    Outcome.HOST_LOST: (Action.NEXT_ATTEMPT, Action.NEXT_ATTEMPT, Action.NEXT_ATTEMPT),
    Outcome.UNTRUSTED: (Action.NEXT_ATTEMPT, Action.NEXT_ATTEMPT, Action.NEXT_ATTEMPT),
    Outcome.FINISHED: (Action.FETCH, Action.FETCH, Action.FETCH),
    Outcome.FAILED: (Action.FETCH, Action.FETCH, Action.FETCH),
    Outcome.STOPPED_BY_PERSON: (Action.FETCH, Action.FETCH, Action.FETCH),
    Outcome.BUDGET: (Action.FETCH, Action.FETCH, Action.FETCH),
    Outcome.DEADLINE: (Action.FETCH, Action.FETCH, Action.FETCH),
}
PAIRS = [(outcome, phase, TABLE[outcome][at]) for outcome in TABLE for at, phase in enumerate((A, P, T))]
TRIED_AGAIN = [
    (Outcome.API_DOWN, A, 20, Action.END_RUN),
    (Outcome.BUSY, A, 20, Action.NEXT_OFFER),
    (Outcome.WRONG_HOST_KEY, P, 1, Action.END_RUN),
    (Outcome.WRONG_HOST_KEY, T, 1, Action.END_RUN),
    (Outcome.SETUP_FAILED, P, 1, Action.END_RUN),
    (Outcome.AGENT_GONE, T, 2, Action.NEXT_ATTEMPT),
    (Outcome.UNTRUSTED, T, 1, Action.END_RUN),
    (Outcome.SSH_DOWN, P, 50, Action.NEXT_OFFER),
]


def test_every_outcome_is_in_the_table():
    assert set(TABLE) == set(Outcome)


@pytest.mark.parametrize(("outcome", "phase", "action"), PAIRS, ids=lambda value: getattr(value, "name", None))
def test_first_time(outcome: Outcome, phase: Phase, action: Action):
    assert decide(outcome, History(phase)) is action


@pytest.mark.parametrize(("outcome", "phase", "times", "then"), TRIED_AGAIN)
def test_what_does_not_help_is_not_tried_for_ever(outcome: Outcome, phase: Phase, times: int, then: Action):
    first = decide(outcome, History(phase))
    assert decide(outcome, History(phase, repeats=times - 1)) is first
    assert decide(outcome, History(phase, repeats=times)) is then


@pytest.mark.parametrize("outcome", list(Outcome))
@pytest.mark.parametrize("phase", [P, T])
def test_machines_without_a_step_come_to_an_end(outcome: Outcome, phase: Phase):
    spent = decide(outcome, History(phase, fruitless=FRUITLESS))
    assert spent not in (Action.NEXT_OFFER, Action.NEXT_ATTEMPT)


def test_offers_that_are_gone_cost_nothing_and_are_passed_for_ever():
    assert decide(Outcome.NO_CAPACITY, History(A, repeats=1000, fruitless=FRUITLESS)) is Action.NEXT_OFFER


@pytest.mark.parametrize(
    ("asked", "preempted", "kind"),
    [
        ("never", 9, "never"),
        ("prefer", 2, "prefer"),
        ("prefer", 3, "never"),
        ("only", 2, "only"),
        ("only", 3, None),
    ],
)
def test_after_some_preemptions_the_rest_is_trained_on_demand(asked, preempted, kind):
    assert kind_of_machine(asked, preempted, 3) == kind


def test_what_ends_a_run_tells_what_can_be_done():
    ending = {outcome for outcome, _phase, action in PAIRS if action is Action.END_RUN}
    ending |= {outcome for outcome, _phase, _times, then in TRIED_AGAIN if then is Action.END_RUN} - {Outcome.API_DOWN}
    assert ending <= set(REMEDIES)
