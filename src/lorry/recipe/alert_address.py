"""Where alerts go: names of variables that hold addresses, and addresses that are no secret themselves."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

_VARIABLE = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)|\$\{([A-Za-z_][A-Za-z0-9_]*)\}")

_PLAIN_SCHEMES = frozenset({"json", "jsons", "xml", "xmls", "form", "forms"})
"""Webhooks that need no account; an address of any other service carries its key."""

_LIKE_A_KEY = re.compile(r"(?=.*\d)(?=.*[A-Za-z])[\w.~=-]{16,}")
"""A part of a path that is long and mixed, as the keys in the webhook addresses of chat services are."""

_REMEDY = "put it into the environment or .env, as NAME={}..., and write `$NAME`"


def checked(address: str) -> str:
    """The address, if it may stand in a file. Raises ValueError, which does not repeat it, for one that holds a key."""
    if variable(address) is not None:
        return address
    if address.startswith("$"):
        raise ValueError("a variable's name has letters, digits and underscores: `$SLACK_ALERTS`")
    scheme, separator, _ = address.partition("://")
    if not separator:
        raise ValueError(
            "must be `$NAME` of a variable that holds an address of Apprise, or an address like `jsons://host/path`"
        )
    scheme = scheme.lower()
    if scheme not in _PLAIN_SCHEMES:
        raise ValueError(f"an address of this kind holds a key, which no file should: {_REMEDY.format('SCHEME://')}")
    if _holds_a_key(address):
        raise ValueError(
            f"the address holds what looks like a key, which no file should: {_REMEDY.format(scheme + '://')}"
        )
    return address


def variable(address: str) -> str | None:
    """The name in `$NAME` or `${NAME}`; None for a literal address."""
    found = _VARIABLE.fullmatch(address)
    return (found[1] or found[2]) if found else None


def _holds_a_key(address: str) -> bool:
    """Whether there is a user, a query or a fragment, or a part of the path that looks like a key."""
    try:
        parts = urlsplit(address)
        host = parts.hostname
    except ValueError:
        return True
    if not host or "@" in parts.netloc or parts.query or parts.fragment:
        return True
    return any(_LIKE_A_KEY.fullmatch(part) for part in parts.path.split("/"))
