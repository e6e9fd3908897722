"""How an answer that refuses is recognised: by what it says at its beginning."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

REFUSALS = (
    r"\b(?:I|we) (?:do not|don['’]t|did not|didn['’]t) (?:know|have (?:enough|any|sufficient|that|this)|find)\b",
    r"\b(?:I|we)(?: am| are|['’]m|['’]re) (?:not able|unable)\b",
    r"\b(?:I|we) (?:cannot|can['’]t|can not|could not|couldn['’]t|will not|won['’]t) "
    r"(?:\w+ )?(?:answer|determine|find|help|assist|provide|comply|complete)\b",
    r"\b(?:passages?|contexts?|documents?|sources?|texts?|excerpts?|information(?: given| provided)?|articles?)\b"
    r"[^.!?\n]{0,60}?"
    r"\b(?:do not|does not|don['’]t|doesn['’]t|did not|didn['’]t|do n[o']t)\b[^.!?\n]{0,30}?"
    r"\b(?:say|state|mention|contain|provide|answer|include|specify|give|tell|have|indicate|address|cover|discuss)\b",
    r"\b(?:none|neither) of the (?:\w+ )?(?:passages|documents|sources|texts|excerpts)\b",
    r"\b(?:not enough|insufficient|no(?: relevant)?|not sufficient) (?:information|context|evidence|answer)\b",
    r"\bcannot be (?:answered|determined|found|inferred)\b",
    r"\b(?:is not|are not|isn['’]t|aren['’]t|not) (?:mentioned|stated|given|specified|answered|answerable|addressed|"
    r"(?:\w+ )?in (?:the|these|any of the) (?:\w+ )?(?:passages?|contexts?|documents?|sources?|texts?|excerpts?))\b",
    r"\b(?:is|are) (?:unanswerable|unknown|unclear) (?:from|based on|given)\b",
    r"^\W*(?:unanswerable|no answer|not answerable|unknown|n/a)\W*$",
    r"^\W*(?:I['’]m |I am )?sorry\b",
)
"""Patterns of refusals in English, searched without regard to case."""
WITHIN = 200
"""Characters at an answer's beginning in which a refusal must stand."""


def refuses(text: str, patterns: Sequence[str], within: int = WITHIN) -> bool:
    """Whether an answer refuses: one of the patterns stands near its beginning."""
    return bool(_pattern(tuple(patterns)).search(text.strip()[:within]))


def checked(patterns: list[str]) -> list[str]:
    """The patterns. Raises ValueError for one that is no regular expression."""
    for one in patterns:
        try:
            re.compile(one)
        except re.error as error:
            raise ValueError(f"`{one}` is no regular expression: {error}") from error
    return patterns


@lru_cache(maxsize=16)
def _pattern(patterns: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{one})" for one in patterns) or r"(?!)", re.IGNORECASE)
