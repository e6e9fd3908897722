"""`lorry explain`, as it is typed."""

from __future__ import annotations

import json

import pytest

from lorry.cli.main import run
from lorry.plan.explained import explanations

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize("code", ["targets.missing", "[targets.missing]"])
def test_code_is_explained_as_findings_show_it(code: str, capsys: Capture):
    assert run(["explain", code]) == 0
    told = capsys.readouterr().out
    assert told.startswith("targets.missing  `lora.target_modules` names a module that the model has not.")
    assert "what to do: Take a name from the list" in told


def test_without_a_code_all_are_listed(capsys: Capture):
    assert run(["explain"]) == 0
    listed = capsys.readouterr().out
    assert all(code in listed for code in explanations())


def test_unknown_code_gets_the_nearest(capsys: Capture):
    assert run(["explain", "target.mising"]) == 2
    assert "did you mean `targets.missing`?" in capsys.readouterr().err


def test_code_that_is_like_none_is_told_where_to_look(capsys: Capture):
    assert run(["explain", "xyzzy"]) == 2
    assert "`lorry explain` lists them" in capsys.readouterr().err


def test_json_has_one_code_or_all(capsys: Capture):
    assert run(["explain", "disk.full", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {"code", "means", "why", "remedy"}
    assert run(["explain", "--json"]) == 0
    assert [one["code"] for one in json.loads(capsys.readouterr().out)] == list(explanations())
