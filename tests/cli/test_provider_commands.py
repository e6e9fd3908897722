"""`lorry provider`, `lorry volume`, and live offers in `lorry plan`, against small clouds behind real sockets."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import keyring
import pytest
import yaml
from keyring.backend import KeyringBackend

from cloud_server import served
from clouds import CLOUDS, Cloud
from lorry.cli.main import run
from lorry.secrets import found as secrets
from lorry.track.leases import Leases
from model_folders import save_model
from scripted import KEYS, SECRET
from subjects import ROWS, save_rows

Capture = pytest.CaptureFixture[str]


class Ring(KeyringBackend):
    """A keyring in memory."""

    priority = 1  # type: ignore[assignment]

    def __init__(self, fault: Exception | None = None) -> None:
        super().__init__()
        self.kept: dict[tuple[str, str], str] = {}
        self.fault = fault

    def set_password(self, service: str, username: str, password: str) -> None:
        if self.fault:
            raise self.fault
        self.kept[service, username] = password

    def get_password(self, service: str, username: str) -> str | None:
        return self.kept.get((service, username))

    def delete_password(self, service: str, username: str) -> None:
        self.kept.pop((service, username))


@pytest.fixture(autouse=True)
def ring(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ring]:
    for variable in (*KEYS.values(), "RUNPOD_API_URL", "VAST_URL", "LAMBDA_API_URL"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(secrets, "_found", secrets._Found())
    before, made = keyring.get_keyring(), Ring()
    keyring.set_keyring(made)
    yield made
    keyring.set_keyring(before)


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """RunPod, with its key at hand."""
    made = CLOUDS["runpod"]()
    with served(made) as url:
        monkeypatch.setenv("RUNPOD_API_URL", f"{url}/v2")
        monkeypatch.setenv("RUNPOD_API_KEY", SECRET)
        yield made


def piped(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))


def test_list_shows_what_each_can_and_where_its_key_is_from_and_no_key(cloud, capsys: Capture):
    assert run(["provider", "list", "--json"]) == 0
    told = capsys.readouterr().out
    rows = {row["name"]: row for row in json.loads(told)}
    assert rows["runpod"]["key"] == {
        "variable": "RUNPOD_API_KEY",
        "page": "https://console.runpod.io/user/settings",
        "from": "environment",
    }
    assert rows["vast"]["key"]["from"] is None
    assert rows["vast"]["capabilities"]["interruptible"]
    assert rows["lambda"]["capabilities"]["self_ending"] == "none"
    assert rows["ssh"]["key"] is None
    assert run(["provider", "list"]) == 0
    table = capsys.readouterr().out
    assert "from environment" in table
    assert "no VAST_API_KEY" in table
    assert SECRET not in told + table


def test_key_that_is_piped_in_is_kept_where_lorry_looks_for_it(ring: Ring, monkeypatch, capsys: Capture):
    piped(monkeypatch, f"  {SECRET}\n")
    assert run(["provider", "add", "vast"]) == 0
    assert ring.kept == {("lorry", "VAST_API_KEY"): SECRET}
    monkeypatch.setattr(secrets, "_found", secrets._Found())
    assert secrets.found("VAST_API_KEY") == (SECRET, "keyring")
    told = capsys.readouterr()
    assert "lorry provider test vast" in told.err
    assert SECRET not in told.out + told.err


@pytest.mark.parametrize("text", ["", "\n", "two words", "schlüssel", "x" * 5000, "a\x00b"])
def test_what_can_be_no_key_is_not_kept(ring: Ring, monkeypatch, capsys: Capture, text: str):
    piped(monkeypatch, text)
    assert run(["provider", "add", "runpod"]) == 2
    assert ring.kept == {}
    assert "error:" in capsys.readouterr().err


def test_computer_without_a_keyring_is_told_what_to_do_and_shows_no_key(ring: Ring, monkeypatch, capsys: Capture):
    ring.fault = RuntimeError(f"cannot keep {SECRET}")
    piped(monkeypatch, SECRET)
    assert run(["provider", "add", "runpod"]) == 2
    told = capsys.readouterr()
    assert "set RUNPOD_API_KEY in the environment instead" in told.err
    assert SECRET not in told.out + told.err


def test_provider_without_a_key_needs_none(capsys: Capture):
    assert run(["provider", "add", "ssh"]) == 2
    assert "needs no key" in capsys.readouterr().err


def test_test_tells_whose_key_it_is(cloud, capsys: Capture):
    assert run(["provider", "test", "runpod"]) == 0
    assert capsys.readouterr().out.startswith("runpod: an account with 0 SSH keys")


def test_test_tells_a_wrong_key(cloud, monkeypatch, capsys: Capture):
    monkeypatch.setenv("RUNPOD_API_KEY", "wrong-key-00")
    assert run(["provider", "test", "runpod"]) == 2
    told = capsys.readouterr().err
    assert "RunPod does not accept the key in RUNPOD_API_KEY" in told
    assert "hint: make a key at https://console.runpod.io" in told
    assert "wrong-key-00" not in told


def test_unknown_provider_is_told_with_the_nearest(capsys: Capture):
    assert run(["provider", "test", "runpot"]) == 2
    assert "did you mean `runpod`?" in capsys.readouterr().err
    assert run(["provider", "test", "vast:x"]) == 2


def test_volume_is_made_listed_and_deleted_and_written_down(cloud, capsys: Capture):
    assert run(["volume", "create", "models", "--place", "EU-RO-1", "--gb", "20", "--yes"]) == 0
    volume = capsys.readouterr().out.strip()
    (written,) = Leases.open().volumes()
    assert (written.id, written.gb, written.deleted_at, len(written.account)) == (volume, 20, None, 12)
    assert run(["volume", "list", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["provider"], row["name"], row["usd_per_month"]) == ("runpod", "models", pytest.approx(1.4))
    assert run(["volume", "delete", "models", "--yes"]) == 0
    assert cloud.volumes == {}
    assert Leases.open().volumes()[0].deleted_at is not None


def test_volume_is_neither_made_nor_deleted_where_nobody_agrees(cloud, monkeypatch, capsys: Capture):
    piped(monkeypatch, "")
    assert run(["volume", "create", "models", "--place", "EU-RO-1"]) == 3
    assert cloud.volumes == {}
    told = capsys.readouterr().err
    assert "--yes" in told
    assert "$3.50 a month" in told
    run(["volume", "create", "models", "--place", "EU-RO-1", "--yes"])
    assert run(["volume", "delete", "models"]) == 3
    assert len(cloud.volumes) == 1


def test_volume_of_a_provider_without_volumes_is_refused(capsys: Capture):
    assert run(["volume", "create", "m", "--place", "x", "--on", "vast", "--yes"]) == 2
    assert "these have: runpod" in capsys.readouterr().err


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    save_model(tmp_path / "tiny")
    save_rows(tmp_path / "rows.jsonl", ROWS)
    path = tmp_path / "recipe.yaml"
    said = {"model": {"id": "tiny"}, "data": {"train": "rows.jsonl"}, "train": {"steps": 20}}
    path.write_text(yaml.safe_dump(said), encoding="utf-8")
    return path


def test_plan_has_live_offers_of_a_provider_whose_key_is_at_hand(cloud, recipe, capsys: Capture):
    assert run(["plan", str(recipe), "--on", "runpod", "--all", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    live = [one for one in plan["offers"] if one["provider"] == "runpod"]
    assert {one["usd_per_hour"]["likely"] for one in live} == {0.74, 0.34, 1.79, 1.19}
    assert any(one["provider"] == "hf" for one in plan["offers"])
    assert plan["offers_from"] == {"now": ["runpod"], "notes": ["runpod: 4 offers as of now"]}


def test_plan_without_a_key_has_the_price_list_and_says_so(recipe, capsys: Capture):
    assert run(["plan", str(recipe), "-o", "compute.on=vast", "--gpu", "4090"]) == 0
    told = capsys.readouterr()
    assert "vast on demand, RTX 4090" in told.out
    assert "vast: prices of lorry's list, of 2026-10-01" in told.err
    assert "`lorry provider add vast`" in told.err


def test_plan_with_a_provider_that_refuses_the_key_has_the_price_list_and_says_why(
    cloud, recipe, monkeypatch, capsys: Capture
):
    monkeypatch.setenv("RUNPOD_API_KEY", "wrong-key-00")
    assert run(["plan", str(recipe), "--on", "runpod", "--gpu", "4090"]) == 0
    told = capsys.readouterr()
    assert "runpod secure, RTX 4090" in told.out
    assert "does not accept the key" in told.err


def test_plan_keeps_to_the_gpus_that_the_recipe_names(cloud, recipe, capsys: Capture):
    assert run(["plan", str(recipe), "--on", "runpod", "-o", "compute.gpu=[A100-80GB]", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert {one["gpu"] for one in plan["offers"] if one["provider"] == "runpod"} == {"A100 80GB PCIe"}


def test_plan_says_of_hosts_that_what_they_have_is_not_known_yet(recipe, capsys: Capture):
    assert run(["plan", str(recipe), "--on", "ssh:me@127.0.0.1:1"]) == 0
    assert "ssh: 1 to be had now, not estimated" in capsys.readouterr().err


def test_plan_whose_budget_does_not_pay_the_first_hour_is_refused(cloud, recipe, capsys: Capture):
    assert run(["plan", str(recipe), "--on", "runpod", "-o", "budget.usd=0.2"]) == 3
    assert (
        "less than the first hour of the cheapest offer: runpod community, RTX 4090, $0.34" in capsys.readouterr().err
    )


def test_plan_of_an_unknown_provider_or_gpu_says_which(recipe, capsys: Capture):
    assert run(["plan", str(recipe), "--on", "runpot"]) == 2
    assert "did you mean `runpod`?" in capsys.readouterr().err
    assert run(["plan", str(recipe), "--on", "local", "-o", "compute.gpu=[RTX 4091]"]) == 0
    assert run(["plan", str(recipe), "--on", "ssh:me@h", "-o", "compute.gpu=[RTX 4091]"]) == 2
    assert "no GPU that lorry has figures for" in capsys.readouterr().err


def test_plan_of_interruptible_machines_at_runpod_says_what_there_is_instead(
    cloud, recipe, monkeypatch, capsys: Capture
):
    asked = ["plan", str(recipe), "--on", "runpod", "-o", "compute.interruptible=only", "-o", "compute.gpu=[RTX 4090]"]
    assert run(asked) == 3
    told = capsys.readouterr().err
    assert (
        "runpod no longer rents interruptible machines; on demand the cheapest is runpod community, RTX 4090, at $0.34"
        in told
    )
    assert "`--on vast`" in told
    monkeypatch.delenv("RUNPOD_API_KEY")
    assert run(asked) == 3
    assert "runpod no longer rents interruptible machines" in capsys.readouterr().err


def test_plan_with_a_volume_elsewhere_is_refused_with_the_places(cloud, recipe, capsys: Capture):
    assert run(["volume", "create", "models", "--place", "EU-RO-1", "--yes"]) == 0
    asked = ["plan", str(recipe), "--on", "runpod", "-o", "compute.volume=models"]
    assert run([*asked, "-o", "compute.gpu=[A100-80GB]"]) == 3
    told = capsys.readouterr().err
    assert "the volume `models` lies in EU-RO-1" in told
    assert "machines: US-KS-2" in told
    assert run([*asked, "-o", "compute.gpu=[RTX 4090]"]) == 0
    assert run(["plan", str(recipe), "--on", "runpod", "-o", "compute.volume=model"]) == 2
    assert "there are: models" in capsys.readouterr().err
