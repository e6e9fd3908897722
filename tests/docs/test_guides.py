"""What the documents show works: plugins load, recipes are recipes, links and commands exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from lorry.cli.main import HELPS
from lorry.evaluate.metrics._base import Answer
from lorry.recipe.load import from_dict
from lorry.recipe.yaml_file import parse_value

TOP = Path(__file__).parents[2]
NAMES = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "recipes/data/README.md")
PAGES = [*(TOP / name for name in NAMES), *sorted((TOP / "docs").rglob("*.md"))]
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(TOP)))


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def test_the_metric_in_contributing_is_a_metric() -> None:
    (code,) = blocks(TOP / "CONTRIBUTING.md", "python")
    space: dict[str, Any] = {"__name__": "first_word"}
    exec(compile(code, "first_word.py", "exec"), space)  # noqa: S102 - our own page
    metric = space["FirstWord"](ignore_case=True)
    assert metric.score(Answer("LS -l", "ls -a")) == 1
    assert metric.score(Answer("", "ls -a")) == 0


@each_page
def test_recipes_in_the_pages_are_recipes(page: Path) -> None:
    for block in blocks(page, "yaml"):
        given = {"model": {"id": "some/model"}, "data": {"train": "rows.jsonl"}}
        shown = {key: value for key, value in parse_value(block, page.name).items() if key != "extends"}
        if "first_word" not in block:
            given |= {
                key: given.get(key, {}) | value if isinstance(value, dict) else value for key, value in shown.items()
            }
            from_dict(given, page.parent)


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)|src=\"([^\"]+)\"", page.read_text(encoding="utf-8"))
    local = [one or other for one, other in links if not (one or other).startswith(("http://", "https://"))]
    assert [link for link in local if not (page.parent / link).exists()] == []


@each_page
def test_commands_in_the_pages_exist(page: Path) -> None:
    named = set(re.findall(r"(?:^ {4}|`|bin/)lorry ([a-z]+)", page.read_text(encoding="utf-8"), re.MULTILINE))
    assert named <= set(HELPS)


def test_every_make_verb_in_the_pages_exists() -> None:
    verbs = set(re.findall(r"^([a-z-]+):", (TOP / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {verb for page in PAGES for verb in re.findall(r"`make ([a-z-]+)", page.read_text(encoding="utf-8"))}
    assert named <= verbs
