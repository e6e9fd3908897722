"""Keys and tokens in the rows: what the model might repeat to anybody."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from lorry.plan.checks._base import Check
from lorry.plan.findings import Finding, warning
from lorry.plan.rows import whole

if TYPE_CHECKING:
    from lorry.plan.subject import Subject

_SHOWN = 5
_PATTERNS = {
    "AWS access key": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "GitHub token": r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{82})\b",
    "GitLab token": r"\bglpat-[A-Za-z0-9_-]{20}\b",
    "Hugging Face token": r"\bhf_[A-Za-z]{34}\b",
    "OpenAI or Anthropic key": r"\bsk-(?:proj-|ant-)?[A-Za-z0-9_-]{32,}",
    "Slack token": r"\bxox[abprs]-[0-9A-Za-z-]{20,}",
    "Google API key": r"\bAIza[0-9A-Za-z_-]{35}",
    "Stripe key": r"\b[rs]k_live_[0-9A-Za-z]{24,}",
    "private key": r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----\s*[A-Za-z0-9+/=]{20}",
}
"""The published forms of the vendors' keys; each begins with letters that ordinary text does not have."""
_ANY = re.compile("|".join(f"(?P<p{number}>{pattern})" for number, pattern in enumerate(_PATTERNS.values())))
_NAMES = list(_PATTERNS)


class SecretsCheck(Check):
    """Keys and tokens in the training rows, by their published forms; they are never shown whole."""

    def run(self, subject: Subject) -> Iterable[Finding]:
        """Screens all tokens of the training rows."""
        shown: list[str] = []
        rows = 0
        for text, origin in whole(subject.prepared.train, subject.tokenizer):
            found = _ANY.search(text)
            rows += found is not None
            if found and len(shown) < _SHOWN:
                shown.append(f"{origin}: {_name(found)} {found[0][:6]}…")
        if rows:
            yield warning(
                "data.secrets",
                f"{rows:,} training rows hold what looks like a key or token",
                evidence="\n".join(shown),
                remedy="remove them, and replace keys that are still valid: a model repeats what it has learnt",
                place="data.train",
            )


def _name(found: re.Match[str]) -> str:
    return _NAMES[int((found.lastgroup or "p0")[1:])]
