"""`lorry doctor`, as it is typed."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from lorry.cli.main import run


def test_doctor_shows_what_is_installed_and_ends_well(capsys: pytest.CaptureFixture[str]):
    assert run(["doctor"]) == 0
    captured = capsys.readouterr()
    assert "transformers" in captured.out
    assert "Hugging Face" in captured.out
    assert "this machine" in captured.err


def test_doctor_as_json_has_facts_and_problems(capsys: pytest.CaptureFixture[str]):
    assert run(["doctor", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["facts"]["machine"]["memory"]
    assert isinstance(told["problems"], list)


def test_doctor_imports_no_torch():
    code = (
        "import sys\nfrom lorry.cli.main import run\nrun(['doctor'])\n"
        "assert not {'torch', 'transformers', 'datasets'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
