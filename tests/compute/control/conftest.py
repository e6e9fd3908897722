"""A provider whose machines stand in a file, for tests of what becomes of a machine without one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lorry import plugins


@pytest.fixture
def shed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The provider with nothing in it, and its key."""
    monkeypatch.setitem(plugins.KINDS, "providers", "sheds")
    plugins.names.cache_clear()
    monkeypatch.setenv("SHED_API_KEY", "let-me-into-the-shed")
    made: Any = plugins.make("providers", {"name": "shed", "file": str(tmp_path / "shed.json")})
    made.put()
    yield made
    plugins.names.cache_clear()
