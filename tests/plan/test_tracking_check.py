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
from webhook import refusing_server, webhook


def found(folder: Path, **track: Any) -> list[Finding]:
    check = plugins.make("checks", "tracking")
    assert isinstance(check, Check)
    return list(check.run(Subject(recipe(track=track), folder)))


def test_recipe_that_tells_nobody_has_nothing_wrong(tmp_path: Path):
    assert found(tmp_path) == []


def test_addresses_that_can_be_used_are_let_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PHONE", "ntfy://some-topic")
    with webhook() as hook:
        assert found(tmp_path, alerts={"to": ["$PHONE", hook.address]}, sinks=["tensorboard"]) == []
        assert hook.messages == []


def test_webhook_where_nobody_is_there_is_warned_of_and_a_variable_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with webhook() as hook:
        gone = hook.address
    monkeypatch.setenv("HOOK", f"{gone}/s3cret-path")
    literal, named = found(tmp_path, alerts={"to": [gone, "$HOOK"]})
    assert (literal.code, literal.severity, literal.place) == ("tracking.unreachable", "warning", "track.alerts.to")
    assert "127.0.0.1" in literal.message
    assert named.message.startswith("alerts: $HOOK does not answer from here")
    assert "s3cret" not in str(named)


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
    with webhook() as hook:
        host = hook.address.removeprefix("json://").removesuffix("/lorry")
        monkeypatch.setenv("WANDB_BASE_URL", f"http://{host}")
        (tmp_path / ".netrc").write_text(f"machine {host} login user password x\n")
        assert found(tmp_path, sinks=["wandb"]) == []


def test_key_that_wandb_does_not_accept_refuses_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    with refusing_server() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.address)
        (finding,) = found(tmp_path, sinks=["wandb"])
    assert (finding.code, finding.refusal, server.asked) == ("tracking.key-refused", True, ["/graphql"])
    assert "kkkk" not in str(finding)


def test_wandb_that_cannot_be_reached_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    (finding,) = found(tmp_path, sinks=["wandb"])
    assert (finding.code, finding.severity) == ("tracking.unreachable", "warning")


def test_package_that_is_missing_is_said_with_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(plugins.find("sinks", "tensorboard"), "packages", ("no_such_package",))
    (finding,) = found(tmp_path, sinks=["tensorboard"])
    assert finding.message == "tensorboard: no_such_package is not installed"
    assert finding.remedy == "pip install 'lorry[tensorboard]'"


def test_progress_that_nobody_is_told_is_noted(tmp_path: Path):
    (finding,) = found(tmp_path, alerts={"progress_hours": 2})
    assert finding.code == "tracking.nobody"
