from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", FOLDER / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_is_current(generate: ModuleType) -> None:
    written = {file.name: file.read_text(encoding="utf-8") for file in (FOLDER / "reference").glob("*.md")}
    assert written == generate.pages(), "the code has moved on: `make docs`"


def test_the_reference_has_every_setting_in_words_of_yaml(generate: ModuleType) -> None:
    page = generate.pages()["recipe.md"]
    assert "| `rank` | whole number from 1 to 4096 | `16` |" in page
    source = "[a source](#a-source-of-rows)"
    assert f"| `train` | text or {source} or list of text or {source} | required |" in page
    assert "| `drop_system` | `true` or `false` | `false` |" in page
    assert "annotation=" not in page
    assert "<" not in page.partition("-->")[2]
