"""What `lorry check` says of the Hub's token, by a Hub on loopback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from lorry import plugins
from lorry.plan.checks._base import Check
from lorry.plan.findings import Finding
from lorry.plan.subject import Subject
from lorry.trainer.sources.locate import Source
from subjects import recipe
from webhook import answering_server

TOKEN = "hf_" + "a" * 34


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    from huggingface_hub import close_session

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    close_session()
    yield
    close_session()


def found(folder: Path, kind: str = "hub", **data: str) -> list[Finding]:
    check = plugins.make("checks", "credentials")
    assert isinstance(check, Check)
    given = Subject(recipe(data=data), folder, source=Source("tiny", kind, folder), prepared=None)  # type: ignore[arg-type]
    return list(check.run(given))


def asked(
    folder: Path, monkeypatch: pytest.MonkeyPatch, status: int, answer: object = {}, **given: str
) -> list[Finding]:
    with answering_server(status, json.dumps(answer or {}).encode()) as address:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
        monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", address)
        return found(folder, **given)


def test_token_that_the_hub_knows_is_told_by_its_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (finding,) = asked(tmp_path, monkeypatch, 200, {"name": "ada", "type": "user"})
    assert (finding.code, finding.severity) == ("credentials.accepted", "note")
    assert finding.message.endswith(": ada")


def test_token_that_the_hub_refuses_refuses_the_run_and_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (finding,) = asked(tmp_path, monkeypatch, 401, {"error": "Invalid credentials"})
    assert (finding.code, finding.refusal) == ("credentials.refused", True)
    assert TOKEN not in str(finding)


def test_hub_that_is_ill_or_away_is_only_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert [one.code for one in asked(tmp_path, monkeypatch, 503)] == ["credentials.not-asked"]
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert [(one.code, one.severity) for one in found(tmp_path)] == [("credentials.not-asked", "note")]


def test_data_of_the_hub_uses_the_token_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert asked(tmp_path, monkeypatch, 200, {"name": "ada"}, kind="folder", train="hub:owner/rows")


def test_nobody_is_asked_where_nothing_comes_from_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert asked(tmp_path, monkeypatch, 401, kind="folder") == []


def test_nobody_is_asked_without_a_token_or_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert asked(tmp_path, monkeypatch, 401) == []
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_TOKEN")
    assert asked(tmp_path, monkeypatch, 401) == []
