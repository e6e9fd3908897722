"""The Dockerfile: nothing here can build it, but what it copies is there and what it names is what lorry uses."""

from __future__ import annotations

import re
from pathlib import Path

TOP = Path(__file__).parents[2]
TEXT = (TOP / "Dockerfile").read_text()


def test_files_that_it_copies_are_there():
    (line,) = re.findall(r"^COPY (.*)$", TEXT, re.MULTILINE)
    *sources, target = line.split()
    assert all((TOP / source).is_file() for source in sources)
    assert all(f"{target}{Path(source).name}" in TEXT for source in sources)


def test_torch_of_the_base_is_left_alone():
    assert "torch.txt" not in TEXT
    assert "--no-deps" in TEXT
