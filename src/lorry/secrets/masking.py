"""The one filter that keeps secrets out of everything that is written or shown.

What is masked: the value of every variable whose name is a secret's, everything that `lorry.secrets` found, and whatever
has the published form of a vendor's key. Values below eight characters, plain numbers and existing paths are no secrets to
the filter: masking them would blank out what has nothing to do with them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, cast

from lorry.secrets.found import known
from lorry.secrets.key_forms import wide
from lorry.secrets.values import disguises, worth_masking

MASK = "***"


def mask(text: str) -> str:
    """The text without secrets: THE filter. Text that was JSON, or JSON lines, still is."""
    masked = _masked(text, _disguises(known()))
    return masked if masked == text else _still_json(text, masked)


def mask_values(value: Any) -> Any:
    """A value of JSON kinds without secrets: strings and keys are masked, numbers stay. Others become their text."""
    return _masked_tree(value, _disguises(known()))


def mask_bytes(text: bytes) -> bytes:
    """As `mask`, for what a process printed; bytes that are no UTF-8 stay as they are."""
    return mask(text.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")


class StreamMask:
    """Masks what comes in pieces: whole lines go on, the rest waits, so that no secret slips through in two halves.

    A private key waits for its last line. What has no end of line within 64 KiB goes on but for its last 8 KiB.
    """

    _LONGEST = 64 * 1024
    _OVERLAP = 8 * 1024

    def __init__(self) -> None:
        self._held = b""

    def feed(self, piece: bytes) -> bytes:
        """What can be written now, masked; empty while a line is not whole."""
        self._held += piece
        end = self._end()
        ready, self._held = self._held[:end], self._held[end:]
        return mask_bytes(ready)

    def close(self) -> bytes:
        """What is left at the end."""
        ready, self._held = self._held, b""
        return mask_bytes(ready)

    def _end(self) -> int:
        end = max(self._held.rfind(b"\n"), self._held.rfind(b"\r")) + 1
        key = self._held.rfind(b"-----BEGIN ")
        has_end = key >= 0 and self._held.find(b"-----END ", key, end) >= 0  # on a line that is whole
        is_open = key >= 0 and b"PRIVATE KEY" in self._held[key:] and not has_end
        end = min(end, key) if is_open else end
        return end if end or len(self._held) <= self._LONGEST else self._cut(len(self._held) - self._OVERLAP)

    def _cut(self, at: int) -> int:
        """The nearest place at or before `at` that lies in no secret; the end where there is none."""
        text = self._held.decode("latin-1")  # a character a byte, so that places are the same
        for start, end in sorted(_places(text), reverse=True):
            at = start if start < at < end else at
        return at or len(text)


def _places(text: str) -> Iterator[tuple[int, int]]:
    """Where secrets begin and end."""
    for secret in _disguises(known()):
        start = text.find(secret)
        while start >= 0:
            yield start, start + len(secret)
            start = text.find(secret, start + 1)
    for _, pattern in wide():
        yield from (found.span() for found in pattern.finditer(text))


def _masked(text: str, secrets: tuple[str, ...]) -> str:
    for secret in secrets:
        if secret in text:
            text = text.replace(secret, MASK)
    for beginning, pattern in wide():
        if beginning in text:
            text = pattern.sub(rf"\g<kept>{MASK}", text)
    return text


def _masked_tree(value: Any, secrets: tuple[str, ...]) -> Any:
    if isinstance(value, str):
        return _masked(value, secrets)
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, Mapping):
        items = cast("Mapping[Any, Any]", value).items()
        return {_masked_key(key, secrets): _masked_tree(item, secrets) for key, item in items}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_masked_tree(item, secrets) for item in cast("list[Any]", value)]
    return _masked(str(value), secrets)


def _masked_key(key: Any, secrets: tuple[str, ...]) -> Any:
    """Names of fields are lorry's own; a weak password that happens to be one must not take the field away."""
    if not isinstance(key, str):
        return key
    return _masked(key, () if key.isidentifier() and key.islower() else secrets)


def _still_json(text: str, masked: str) -> str:
    """The masked text; where a secret of quotes or commas tore JSON apart, the JSON with its strings masked."""
    if text.lstrip()[:1] not in {"{", "["} or _is_json(masked):
        return masked
    if _is_json(text):
        return json.dumps(mask_values(json.loads(text)), ensure_ascii=False) + "\n" * text.endswith("\n")
    lines = text.split("\n")
    all_json = len(lines) > 1 and all(not line or _is_json(line) for line in lines)
    return "\n".join(map(mask, lines)) if all_json else masked


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


@lru_cache(maxsize=16)
def _disguises(values: tuple[str, ...]) -> tuple[str, ...]:
    """All known values in each of their disguises, the longest first."""
    forms = {form for value in values if worth_masking(value) for form in disguises(value)}
    return tuple(sorted(forms, key=lambda form: (-len(form), form)))
