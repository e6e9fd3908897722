"""Before a rental: the price and the question, and whatever is refused before anything is rented."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import keyring
import pytest
import yaml
from keyring.backends.null import Keyring

import borrowed
import sshd
import tiny_runs
from cloud_server import served
from clouds import CLOUDS, Cloud, problem
from lorry.cli.main import run
from lorry.compute import ssh
from lorry.secrets import found as secrets
from lorry.track.caps import Cap, Caps, write
from lorry.track.folder import home
from lorry.track.leases import Leases
from lorry.track.store import Store
from renting import lease
from scripted import KEYS, SECRET

KNOWN = "lorry-00000000-earlier"
"""A lease of another day."""
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def nothing_is_rented(lorry_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for variable in (*KEYS.values(), "RUNPOD_API_URL", "VAST_URL", "LAMBDA_API_URL"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(secrets, "_found", secrets._Found())
    keyring.set_keyring(Keyring())
    yield
    assert not (lorry_home / "runs").exists()
    assert [row.name for row in Leases.open().since() if row.name != KNOWN] == []


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """RunPod with its key at hand; nothing may be made there."""
    made = CLOUDS["runpod"]()
    made.routes = [route for route in made.routes if route[0].pattern != "POST /v2/pods"]
    made.on("POST /v2/pods", lambda **_: problem(500, "nothing may be rented"))
    with served(made) as url:
        monkeypatch.setenv("RUNPOD_API_URL", f"{url}/v2")
        monkeypatch.setenv("RUNPOD_API_KEY", SECRET)
        yield made


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(tiny_runs.recipe(tmp_path)), encoding="utf-8")
    return str(path)


def answering(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("lorry.cli.output.can_ask", lambda: True)
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))


@pytest.fixture
def refused(recipe: str, capsys: Capture):
    """What `lorry run` says when it refuses, and its exit code."""

    def attempt(*words: str, on: str = "runpod") -> tuple[int, str]:
        code = run(["run", recipe, "--on", on, *words])
        return code, capsys.readouterr().err

    return attempt


def test_price_is_said_and_asked_before_the_first_rental(cloud, refused, monkeypatch):
    answering(monkeypatch, "no\n")
    code, told = refused("-o", "compute.gpu=[RTX 4090]", "-o", "budget.usd=2")
    assert code == 0
    assert "runpod community, RTX 4090 at $0.34 an hour, about $0." in told
    assert "at most $2.00 (" in told
    assert "the machine holds to that by itself too); start? [yes]" in told
    assert "nothing was rented" in told


def test_nobody_to_ask_is_refused_with_the_price_and_the_hint(cloud, refused):
    code, told = refused("-o", "compute.gpu=[RTX 4090]")
    assert code == 3
    assert "nobody is here to be asked: runpod community, RTX 4090 at $0.34 an hour" in told
    assert "hint: say so: `--yes`" in told


def test_dry_run_shows_live_offers_and_asks_nothing(cloud, recipe, capsys: Capture):
    assert run(["run", recipe, "--on", "runpod", "--dry-run"]) == 0
    assert "runpod community, RTX 4090" in capsys.readouterr().out


def test_no_key_says_which_and_where_to_get_it(refused):
    code, told = refused("--yes")
    assert code == 2
    assert "RUNPOD_API_KEY" in told
    assert "https://console.runpod.io/user/settings" in told


def test_wrong_key_says_which_and_where_to_get_it(cloud, refused, monkeypatch):
    monkeypatch.setenv("RUNPOD_API_KEY", "wrong-key-00")
    code, told = refused("--yes")
    assert code == 2
    assert "RunPod does not accept the key in RUNPOD_API_KEY" in told
    assert "https://console.runpod.io/user/settings" in told
    assert "wrong-key-00" not in told


def test_unknown_gpu_says_the_nearest(cloud, refused):
    code, told = refused("--yes", "-o", "compute.gpu=[RTX 4091]")
    assert code == 2
    assert "RTX 4091" in told
    assert "RTX 4090" in told


def test_budget_below_the_first_hour_is_refused_with_the_sum(cloud, refused):
    code, told = refused("--yes", "-o", "budget.usd=0.2")
    assert code == 3
    assert "less than the first hour of the cheapest offer: runpod community, RTX 4090, $0.34" in told


def test_cap_that_leaves_nothing_is_refused(cloud, refused, capsys: Capture):
    assert run(["costs", "cap", "--day", "0.001"]) == 0
    code, told = refused("--yes", "-o", "compute.gpu=[RTX 4090]")
    assert code == 3
    assert "raise the limit" in told


def test_cap_of_one_provider_leaves_the_others(cloud, refused, monkeypatch):
    write(home(), Caps(accounts={"vast": Cap(usd=0.0)}))
    with served(CLOUDS["vast"]()) as url:
        monkeypatch.setenv("VAST_URL", url)
        monkeypatch.setenv("VAST_API_KEY", SECRET)
        answering(monkeypatch, "no\n")
        code, told = refused("--on", "vast", "-o", "compute.gpu=[RTX 4090]")
    assert (code, "nothing was rented" in told) == (0, True)
    assert "runpod community, RTX 4090 at $0.34 an hour" in told


def test_volume_elsewhere_is_refused_with_the_places(cloud, refused, capsys: Capture):
    assert run(["volume", "create", "models", "--place", "EU-RO-1", "--gb", "20", "--yes"]) == 0
    code, told = refused("--yes", "-o", "compute.volume=models", "-o", "compute.gpu=[A100-80GB]")
    assert code == 3
    assert "the volume `models` lies in EU-RO-1" in told
    assert "machines: US-KS-2" in told


def test_volume_that_is_not_there_is_refused(cloud, refused):
    code, told = refused("--yes", "-o", "compute.volume=models")
    assert code == 2
    assert "there is no volume `models`" in told


def test_interruptible_only_at_runpod_says_what_there_is_instead(cloud, refused):
    code, told = refused("--yes", "-o", "compute.interruptible=only", "-o", "compute.gpu=[RTX 4090]")
    assert code == 3
    assert "runpod no longer rents interruptible machines" in told
    assert "`--on vast`" in told


def test_unknown_provider_says_the_nearest(refused):
    code, told = refused("--yes", on="runpot")
    assert code == 2
    assert "did you mean `runpod`?" in told


def test_code_that_is_no_repository_is_refused_before_anybody_is_asked(refused):
    code, told = refused("--yes", "-o", "compute.code=my-repository")
    assert code == 2
    assert "compute.code: `my-repository` is no `GIT_URL@COMMIT`" in told


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("volume", "copies are to be kept on a volume, and there is none"),
        ("elsewhere", "`elsewhere` is no place for copies"),
        ("file:///proc/nowhere", "the place for copies does not take them"),
        ("gopher://there/x", "gopher"),
    ],
)
def test_place_for_copies_that_cannot_be_used_is_refused_before_anybody_is_asked(refused, place: str, says: str):
    code, told = refused("--yes", "-o", f"compute.copies={place}")
    assert code == 2
    assert says in told


def test_home_disk_without_room_for_the_adapter_is_refused(cloud, refused, monkeypatch):
    monkeypatch.setattr("lorry.plan.checks.disk.room", lambda _folder: 1000)
    code, told = refused("--yes")
    assert code in (2, 3)
    assert "disk" in told


def test_nothing_that_fits_and_no_wait_is_refused(cloud, refused):
    code, told = refused("--yes", "-o", "compute.gpu=[H100]")
    assert code == 3
    assert "compute.wait_hours" in told


def test_wait_for_a_machine_is_asked_about_with_its_limit(cloud, refused, monkeypatch):
    answering(monkeypatch, "no\n")
    code, told = refused("-o", "compute.gpu=[H100]", "-o", "compute.wait_hours=2", "-o", "budget.usd=5")
    assert code == 0
    assert "this waits for up to 2 hours and rents what comes, for $5.00 at most; start? [yes]" in told


def test_machine_that_cannot_end_itself_is_said_before(recipe, monkeypatch, capsys: Capture):
    made = CLOUDS["lambda"]()
    with served(made) as url:
        monkeypatch.setenv("LAMBDA_API_URL", f"{url}/api/v1")
        monkeypatch.setenv("LAMBDA_API_KEY", SECRET)
        answering(monkeypatch, "no\n")
        assert run(["run", recipe, "--on", "lambda"]) == 0
    told = capsys.readouterr().err
    assert "only while this computer runs: a machine of lambda cannot end itself" in told


def test_earlier_run_that_may_still_cost_is_named_first(cloud, refused, recipe, monkeypatch, lorry_home: Path):
    detached = tiny_runs.begin(yaml.safe_load(Path(recipe).read_text()) | {"compute": {"on": ["runpod"]}})
    Store.open().update(detached.id, status="running", pid=99_999_999, pid_started=1.0)
    code, told = refused()
    assert code == 3
    assert f"`lorry attach {detached.id}` takes it up, this starts a new one" in told
    (lorry_home / "runs").rename(lorry_home / "checked")


@sshd.needed()
def test_host_that_answers_with_another_key_is_refused_until_it_is_forgotten(tmp_path, refused, capsys: Capture):
    with borrowed.host(tmp_path) as machine:
        other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJqk1lJDpCe4w6Qk2J8CqZgMZ8WnYQYkmm1bVZbV0cUO"
        Leases.open().add(lease(KNOWN, provider="ssh", machine_id=machine.name, host_key=other))
        code, told = refused("--yes", on=f"ssh:{machine.name}")
        assert code == 3
        assert "answers with another host key than before" in told
        assert f"`lorry provider forget ssh:{machine.name}`" in told
        assert run(["provider", "forget", f"ssh:{machine.name}"]) == 0
        assert Leases.open().get(KNOWN).host_key == ""


@sshd.needed()
def test_host_that_does_not_know_lorrys_key_says_what_to_add(tmp_path, refused):
    other = ssh.installation_key(tmp_path / "other")
    with sshd.running(tmp_path / "sshd", other.public) as server:
        code, told = refused("--yes", on=f"ssh:{server.address.user}@127.0.0.1:{server.port}")
    assert code == 2
    assert "does not accept lorry's key" in told
    assert ssh.installation_key(home()).public.split()[1] in told


def test_host_that_is_not_there_is_refused_at_once(refused):
    code, told = refused("--yes", on=f"ssh:{os.environ.get('USER', 'root')}@127.0.0.1:1")
    assert code == 2
    assert "127.0.0.1:1" in told
