"""Credentials: whether a token is here where the Hub asks for one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar

from lorry.plan.checks._base import Check
from lorry.plan.findings import Explanation, Finding, refusal
from lorry.plan.subject import UnavailableError

if TYPE_CHECKING:
    from lorry.plan.subject import Subject


class CredentialsCheck(Check):
    """Whether the Hub's token is set, where the model or the data is gated. Its value is never shown."""

    explains: ClassVar[Mapping[str, Explanation]] = {
        "credentials.no-token": Explanation(
            "The Hub lets only known accounts read this repository, and no token is set here.",
            "The model or the data cannot be fetched.",
            "Set HF_TOKEN in the environment or `.env`, or run `hf auth login`.",
        ),
        "credentials.not-let-in": Explanation(
            "A token is set, and its account may not read this repository.",
            "The model or the data cannot be fetched.",
            "Ask for access on the repository's page with the account of this token.",
        ),
    }

    def run(self, subject: Subject) -> Iterable[Finding]:
        """Asks only where something was refused."""
        for part, place in (("source", "model.id"), ("prepared", "data.train")):
            try:
                getattr(subject, part)
            except UnavailableError as unavailable:
                if unavailable.part == part and _is_gated(unavailable):
                    yield _told(place)


def _is_gated(error: BaseException | None) -> bool:
    from huggingface_hub.errors import GatedRepoError

    while error is not None:
        if isinstance(error, GatedRepoError):
            return True
        error = error.__cause__
    return False


def _told(place: str) -> Finding:
    from huggingface_hub import get_token

    if get_token() is None:
        return refusal(
            "credentials.no-token",
            "the Hub asks for a token, and none is set here",
            remedy="set HF_TOKEN, or run `hf auth login`",
            place=place,
        )
    return refusal(
        "credentials.not-let-in",
        "a token is set, and its account was not let in",
        remedy="ask for access on the repository's page with the account of this token",
        place=place,
    )
