"""What `data.chat_template` may hold: a file's name, Jinja itself, or the name of a template that lorry brings."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from lorry.recipe.section import Name, nameable

BUILT_IN = ("chatml", "plain")
"""Templates of lorry's own."""


def is_jinja(text: str) -> bool:
    """Whether this is a template itself, rather than its file's name."""
    return "{{" in text or "{%" in text


def is_file(text: str) -> bool:
    """Whether this names a file."""
    return text not in BUILT_IN and not is_jinja(text)


def _file_or_jinja(text: str) -> str:
    return text if is_jinja(text) else nameable(text)


Template = Annotated[Name, AfterValidator(_file_or_jinja)]
