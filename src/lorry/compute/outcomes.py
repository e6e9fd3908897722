"""What can come out of renting, setting up and training on a machine: one word for each, whoever the provider is."""

from __future__ import annotations

from enum import Enum

from lorry.errors import LorryError


class Outcome(Enum):
    """How a step of an attempt ended. `recovery.decide` says what follows; its value says it in words."""

    # Asking for a machine.
    NO_CAPACITY = "the offer is gone"
    NOT_ALLOWED = "the account may not rent this offer"
    BID_TOO_LOW = "the bid is below what the machine goes for now"
    BALANCE_EMPTY = "the account has no money left"
    KEY_REFUSED = "the provider does not accept the key"
    REQUEST_WRONG = "the provider does not understand the request"
    UNCERTAIN = "it is not known whether a machine was made"
    BUSY = "the provider asks to wait"
    API_DOWN = "the provider does not answer"

    # Until it trains.
    NEVER_READY = "the machine did not become ready in time"
    IMAGE_BROKEN = "the image cannot be started"
    WRONG_HOST_KEY = "another machine answers at the address"
    NOT_AS_SOLD = "the machine is not what was sold"
    TORCH_UNFIT = "the image's torch does not run on the machine's GPU"
    SETUP_FAILED = "lorry could not be installed on the machine"
    CLONE_FAILED = "the recipe's code could not be cloned"

    # While it trains.
    SSH_DOWN = "the machine is up and does not answer"
    AGENT_GONE = "the machine is up and nothing trains"
    PREEMPTED = "the machine was taken back"
    STOPPED = "the machine was stopped from outside"
    VANISHED = "the machine is gone"
    HOST_LOST = "the machine's host is lost"
    UNTRUSTED = "the machine sent what it must not send"

    # How training ended.
    FINISHED = "the run has finished"
    FAILED = "the run failed"
    STOPPED_BY_PERSON = "a person stopped the run"
    BUDGET = "the budget is used up"
    DEADLINE = "the machine's deadline has come"


class OutcomeError(LorryError):
    """An outcome that is not what was wanted; never shown to a person as it is where the run goes on."""

    def __init__(
        self, outcome: Outcome, message: str = "", *, hint: str = "", retry_after: float | None = None
    ) -> None:
        super().__init__(message or outcome.value, hint=hint)
        self.outcome = outcome
        self.retry_after = retry_after
        """Seconds to wait before asking again, where the provider says."""
