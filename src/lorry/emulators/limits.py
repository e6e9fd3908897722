"""How often an account may ask: windows of a minute, an hour and a day, told in headers with each answer."""

from __future__ import annotations

from collections.abc import Callable

WINDOWS = {"minute": (60, 1), "hour": (3600, 50), "day": (86_400, 800)}
"""Seconds, and how many times a minute's quota; RunPod's own example has 60, 3000 and 50,000."""


class Limits:
    """Counts requests in fixed windows."""

    def __init__(self, per_minute: Callable[[], int], now: Callable[[], float]) -> None:
        self._per_minute, self._now = per_minute, now
        self._counts: dict[str, tuple[int, int]] = {}

    def passed(self) -> str:
        """Counts a request; the window whose quota is used up, or an empty text."""
        full = ""
        for name, (seconds, _times) in WINDOWS.items():
            number, count = self._counts.get(name, (0, 0))
            current = int(self._now() // seconds)
            count = count + 1 if number == current else 1
            self._counts[name] = (current, count)
            full = full or (name if count > self._quota(name) else "")
        return full

    def wait(self, name: str) -> int:
        """Seconds until a window ends."""
        seconds = WINDOWS[name][0]
        return max(1, seconds - int(self._now() % seconds))

    def headers(self) -> dict[str, str]:
        """`RateLimit-Policy` and `RateLimit`, of the IETF's draft."""
        policy = ", ".join(f'"{name}";q={self._quota(name)};w={WINDOWS[name][0]}' for name in WINDOWS)
        left = ", ".join(f'"{name}";r={self._left(name)};t={self.wait(name)}' for name in WINDOWS)
        return {"RateLimit-Policy": policy, "RateLimit": left}

    def _quota(self, name: str) -> int:
        return self._per_minute() * WINDOWS[name][1]

    def _left(self, name: str) -> int:
        return max(0, self._quota(name) - self._counts.get(name, (0, 0))[1])
