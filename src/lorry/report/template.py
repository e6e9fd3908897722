"""Pages from templates: every text is cleaned and escaped, and the style sheet stands in the page."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from lorry.visible import clean


def render(name: str, **values: Any) -> str:
    """A page from the template of this name, which lies beside this file; only what it calls `safe` is taken as markup."""
    return _template(name).render(css=_text("page.css"), **values)


@cache
def _template(name: str) -> Template:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, finalize=_harmless, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_text(name))


def _text(name: str) -> str:
    return files("lorry.report").joinpath(name).read_text(encoding="utf-8")


def _harmless(value: Any) -> Any:
    """What an expression of the template gives, without control characters; markup of our own stays as it is."""
    return clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value
