"""Credentials: whether a token is here where the Hub asks for one, and whether the Hub accepts it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar

from lorry.network import is_network, within
from lorry.plan.checks._base import Check
from lorry.plan.findings import Explanation, Finding, note, refusal
from lorry.plan.subject import UnavailableError
from lorry.recipe.sources import each, path_of
from lorry.secrets.found import export

if TYPE_CHECKING:
    from lorry.plan.subject import Subject

_PATIENCE = 5.0
"""Seconds that the Hub has to answer."""


class CredentialsCheck(Check):
    """Whether the Hub's token is set where it is needed, and accepted where it is used. Its value is never shown."""

    explains: ClassVar[Mapping[str, Explanation]] = {
        "credentials.no-token": Explanation(
            "The Hub lets only known accounts read this repository, and no token is set here.",
            "The model or the data cannot be fetched.",
            "Set HF_TOKEN in the environment or `.env`, or run `hf auth login`.",
        ),
        "credentials.refused": Explanation(
            "The Hub does not accept the token that is set.",
            "It is wrong, has expired or was taken back; with it even public models cannot be fetched.",
            "Make a new one at huggingface.co/settings/tokens and set HF_TOKEN, or unset it.",
        ),
        "credentials.accepted": Explanation("The Hub knows the token that is set, and whose it is."),
        "credentials.not-asked": Explanation("The Hub could not be asked whether it accepts the token that is set."),
        "credentials.not-let-in": Explanation(
            "A token is set, and its account may not read this repository.",
            "The model or the data cannot be fetched.",
            "Ask for access on the repository's page with the account of this token.",
        ),
    }

    def run(self, subject: Subject) -> Iterable[Finding]:
        """Asks the Hub whose token it is, where the Hub is used and a token is set; waits some seconds at most."""
        if _uses_hub(subject):
            yield from _asked()
        for part, place in (("source", "model.id"), ("prepared", "data.train")):
            try:
                getattr(subject, part)
            except UnavailableError as unavailable:
                if unavailable.part == part and _is_gated(unavailable):
                    yield _told(place)


def _uses_hub(subject: Subject) -> bool:
    data = subject.recipe.data
    named = [one for rows in (data.train, data.eval, data.test) for one in each(rows)]
    if any(path_of(one).startswith("hub:") for one in named):
        return True
    try:
        return subject.source.kind == "hub"
    except UnavailableError as unavailable:
        return _is_gated(unavailable)


def _asked() -> Iterable[Finding]:
    """Whether the Hub accepts the token; nothing where there is none, or the person has switched the network off."""
    from huggingface_hub import HfApi, constants, get_token
    from huggingface_hub.errors import HfHubHTTPError

    export("HF_TOKEN")
    token = get_token()
    if token is None or constants.HF_HUB_OFFLINE:
        return
    try:
        account = within(_PATIENCE, lambda: HfApi().whoami(token=token))
    except HfHubHTTPError as error:
        if error.response.status_code in (401, 403):
            yield refusal(
                "credentials.refused",
                "the Hub does not accept the token that is set: it is wrong, has expired, or was taken back",
                remedy="make a new one at https://huggingface.co/settings/tokens and set HF_TOKEN",
            )
        else:
            yield note(
                "credentials.not-asked", f"the Hub did not say whose token is set ({error.response.status_code})"
            )
    except Exception as error:
        if not is_network(error):
            raise
        yield note("credentials.not-asked", "the Hub cannot be asked whether it accepts the token")
    else:
        yield note("credentials.accepted", f"the Hub knows the token that is set: {account.get('name', 'an account')}")


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
