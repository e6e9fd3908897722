"""An emulated RunPod for modules that rent there, and somebody who does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hired import Person, cloud
from lorry.emulators.launch import Emulator


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with cloud(tmp_path_factory.mktemp("hired")) as emulator:
        yield emulator


@pytest.fixture
def person(tmp_path: Path, lorry_home: Path, emulated: Emulator) -> Iterator[Person]:
    """Somebody who leaves no machine behind."""
    found = Person(tmp_path, lorry_home, emulated.variables)
    yield found
    found.end()
    emulated.control.disarm()
    emulated.control.wait(lambda _: not emulated.control.left(), seconds=20)
