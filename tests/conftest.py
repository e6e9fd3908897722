"""What every test may use: a home of its own, and the shared real data where it is at hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# huggingface_hub reads these once, when it is first imported; a test module may do that before any fixture runs.
os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
# No test asks the keyring of whoever runs it.
os.environ["PYTHON_KEYRING_BACKEND"] = "keyring.backends.null.Keyring"


@pytest.fixture(autouse=True)
def lorry_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "lorry-home"
    monkeypatch.setenv("LORRY_HOME", str(home))
    return home


@pytest.fixture(scope="session")
def shared_data() -> Path:
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the shared data sets are not beside this checkout")
    return folder
