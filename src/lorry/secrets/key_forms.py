"""The published forms of vendors' keys: one table for what is masked, and for what is looked for in rows.

A form is found only where it begins a word: a hash, a path or an identifier that merely contains its first letters
stays.
"""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple


class Form(NamedTuple):
    """One kind of key."""

    name: str
    beginnings: tuple[str, ...]
    """Letters that a key of this kind begins with, or that stand before it."""
    rest: str
    """What follows, with room for keys that are older, newer or cut: better a word too many masked than a key shown."""
    exact: str = ""
    """The whole form as the vendor makes it, for screening rows; empty where rows have too much that looks like it."""
    keeps_beginning: bool = False
    """Whether the beginning is no part of the secret."""


_GAP = r"(?:\s|\\[nrt])"  # in JSON a line ends with the two characters `\n`
_PEM_HEADER = r"(?:Proc-Type|DEK-Info|Comment): [^\n\"\\]*"
_HAS_DIGIT = r"(?=[A-Za-z._~+/-]*[0-9])"
FORMS = (
    Form("AWS access key", ("AKIA", "ASIA"), r"[0-9A-Z]{16}\b", r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    Form(
        "GitHub token",
        ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
        r"[A-Za-z0-9_]{20,}",
        r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{82})\b",
    ),
    Form("GitLab token", ("glpat-",), r"[A-Za-z0-9_.-]{20,}", r"\bglpat-[A-Za-z0-9_-]{20}\b"),
    Form("Hugging Face token", ("hf_",), r"[A-Za-z0-9]{20,}", r"\bhf_[A-Za-z]{34}\b"),
    Form(
        "OpenAI or Anthropic key",
        ("sk-",),
        rf"{_HAS_DIGIT}(?:(?:proj|ant|svcacct|admin|or)-[A-Za-z0-9_-]{{16,}}|[A-Za-z0-9]{{16,}}|[A-Za-z0-9_-]{{32,}})",
        r"\bsk-(?:proj-|ant-)?[A-Za-z0-9_-]{32,}",
    ),
    Form(
        "Slack token",
        ("xoxa-", "xoxb-", "xoxe-", "xoxp-", "xoxr-", "xoxs-"),
        r"[0-9A-Za-z-]{10,}",
        r"\bxox[abprs]-[0-9A-Za-z-]{20,}",
    ),
    Form("Google API key", ("AIza",), r"[0-9A-Za-z_-]{35}", r"\bAIza[0-9A-Za-z_-]{35}"),
    Form("Stripe key", ("sk_live_", "rk_live_"), r"[0-9A-Za-z]{16,}", r"\b[rs]k_live_[0-9A-Za-z]{24,}"),
    Form(
        "private key",
        ("-----BEGIN ",),
        # A key that was cut has no last line.
        rf"(?:[A-Z]+ )*PRIVATE KEY-----(?:{_GAP}*(?:{_PEM_HEADER}|[A-Za-z0-9+/=]{{20,}}+))*"
        rf"(?:{_GAP}*[A-Za-z0-9+/=]*{_GAP}*-----END (?:[A-Z]+ )*PRIVATE KEY-----)?",
        r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----\s*[A-Za-z0-9+/=]{20}",
    ),
    Form("RunPod key", ("rpa_",), r"[A-Za-z0-9]{16,}"),
    Form("Weights & Biases key", ("wandb_v1_",), r"[A-Za-z0-9_-]{20,}"),
    Form("PyPI token", ("pypi-AgE",), r"[A-Za-z0-9_-]{20,}"),
    Form("JSON web token", ("eyJ",), r"[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"),
    Form("Slack webhook", ("hooks.slack.com/services/",), r"[A-Za-z0-9_/-]{16,}", keeps_beginning=True),
    Form("Discord webhook", ("/api/webhooks/",), r"[0-9]{5,}/[A-Za-z0-9_-]{16,}", keeps_beginning=True),
    Form("Telegram bot token", (":AA",), r"[A-Za-z0-9_-]{30,}", keeps_beginning=True),
    Form("bearer token", ("earer ",), rf"{_HAS_DIGIT}[A-Za-z0-9._~+/-]{{16,}}=*", keeps_beginning=True),
    Form(
        "basic authorization",
        tuple(f"uthorization{between}{word} " for between in (": ", "': '", '": "') for word in ("Basic", "basic")),
        r"[A-Za-z0-9+/]{8,}=*",
        keeps_beginning=True,
    ),
    Form("signature of a URL", ("Signature=",), r"[A-Za-z0-9_~%.-]{16,}", keeps_beginning=True),
    Form("password in a URL", ("://",), r"""[^/@\s"'\\<>?#]+(?=@)""", keeps_beginning=True),
)
EXACT = {form.name: form.exact for form in FORMS if form.exact}
"""For screening rows, by name."""


def _wide(form: Form, beginning: str) -> re.Pattern[str]:
    """What is masked. The letters come first and what stands before them is looked at after: that searches fast."""
    letters = re.escape(beginning)
    if form.keeps_beginning:
        return re.compile(f"(?P<kept>{letters}){form.rest}")
    # Also after an escape: in JSON text, a key that begins a line follows the letter of `\n`.
    escapes = (r"\\[bfnrt]", r"\\u[0-9a-fA-F]{4}", r"%[0-9A-Fa-f]{2}")
    begins_a_word = "|".join((f"(?<![A-Za-z0-9_]{letters})", *(f"(?<={escape}{letters})" for escape in escapes)))
    return re.compile(f"(?P<kept>){letters}(?:{begins_a_word}){form.rest}")


@cache
def wide() -> tuple[tuple[str, re.Pattern[str]], ...]:
    """Each beginning with the pattern of its form; text without the beginning need not be searched."""
    return tuple((beginning, _wide(form, beginning)) for form in FORMS for beginning in form.beginnings)


SECRET_NAME = re.compile(
    r"token(?!s|iz)|secret|passw(?:or)?d|passphrase|(?:api|access|private|account|signing)[-_]?key|credential|webhook"
    r"|[-_](?:key|pat|pw|auth)$",
    re.IGNORECASE,
)
"""What variables and options that hold secrets are called."""
_NOT_THE_SECRET = re.compile(
    r"[-_](?:path|file|dir|folder|name|user|limit|count|length|type|ttl|expir\w*|timeout)$", re.IGNORECASE
)


def names_a_secret(name: str) -> bool:
    """Whether a variable or an option of this name holds a secret, and not where it lies or how long it lasts."""
    return bool(SECRET_NAME.search(name)) and not _NOT_THE_SECRET.search(name)
