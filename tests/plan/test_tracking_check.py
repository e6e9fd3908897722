"""What `lorry check` says of trackers and addresses of alerts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lorry import plugins
from lorry.plan.checks._base import Check
from lorry.plan.findings import Finding
from lorry.plan.subject import Subject
from subjects import recipe


def found(folder: Path, **track: Any) -> list[Finding]:
    check = plugins.make("checks", "tracking")
    assert isinstance(check, Check)
    return list(check.run(Subject(recipe(track=track), folder)))


def test_recipe_that_tells_nobody_has_nothing_wrong(tmp_path: Path):
    assert found(tmp_path) == []


def test_addresses_that_can_be_used_are_let_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PHONE", "ntfy://some-topic")
    assert found(tmp_path, alerts={"to": ["$PHONE", "json://localhost/lorry"]}, sinks=["tensorboard"]) == []


def test_variable_that_is_not_set_refuses_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("PHONE", raising=False)
    (finding,) = found(tmp_path, alerts={"to": ["$PHONE"]})
    assert (finding.code, finding.refusal, finding.message) == ("tracking.address", True, "$PHONE is not set")


def test_variable_with_something_else_is_said_and_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PHONE", "a-s3cret")
    (finding,) = found(tmp_path, alerts={"to": ["$PHONE"]})
    assert "no address of this form" in finding.message
    assert "s3cret" not in str(finding)


def test_wandb_online_needs_a_key_and_offline_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NETRC", raising=False)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    (finding,) = found(tmp_path, sinks=["wandb"])
    assert (finding.code, "wandb login" in finding.remedy) == ("tracking.sink", True)
    assert found(tmp_path, sinks=[{"name": "wandb", "mode": "offline"}]) == []
    (tmp_path / ".netrc").write_text("machine api.wandb.ai login user password x\n")
    assert found(tmp_path, sinks=["wandb"]) == []


def test_package_that_is_missing_is_said_with_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(plugins.find("sinks", "tensorboard"), "packages", ("no_such_package",))
    (finding,) = found(tmp_path, sinks=["tensorboard"])
    assert finding.message == "tensorboard: no_such_package is not installed"
    assert finding.remedy == "pip install 'lorry[tensorboard]'"


def test_progress_that_nobody_is_told_is_noted(tmp_path: Path):
    (finding,) = found(tmp_path, alerts={"progress_hours": 2})
    assert finding.code == "tracking.nobody"
