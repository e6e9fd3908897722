"""A whole run, and runs that fail, with secrets wherever one can put them; then every byte below lorry's home is searched."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml

from lorry.cli.main import run as lorry
from lorry.secrets.found import known
from tiny_runs import chat_rows, recipe, write_rows

HUB = "hf_" + "aBcDeFgHiJ" * 3 + "wxyz"
TRACKER = "0123456789abcdef0123456789abcdef01234567"
PASSWORD = 'corr"ect/horse+b\\attery'
UNSET = "ghp_" + "a1B2c3" * 6
SECRETS = {"HF_TOKEN": HUB, "WANDB_API_KEY": TRACKER, "SMTP_PASSWORD": PASSWORD}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)


def written(folder: Path) -> dict[str, str]:
    """Which files hold which secret, in any form."""
    from lorry.secrets.values import disguises

    forms = {form.encode() for value in (*SECRETS.values(), UNSET) for form in disguises(value)}
    assert set(SECRETS.values()) <= set(known())
    found: dict[str, str] = {}
    for file in folder.rglob("*"):
        if file.is_file():
            content = file.read_bytes() + str(file).encode()
            found |= {str(file): form.decode() for form in forms if form in content}
    return found


def write_recipe(folder: Path, **sections: object) -> Path:
    path = folder / "recipe.yaml"
    notes = f"# my token {HUB}\n# clone https://ann:{UNSET}@github.com/x\n# {json.dumps(PASSWORD)}\n"
    path.write_text(notes + yaml.safe_dump(recipe(folder, **sections)), encoding="utf-8")  # type: ignore[arg-type]
    return path


def test_whole_run_writes_no_secret(
    environment: None,
    tmp_path: Path,
    lorry_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
):
    path = write_recipe(tmp_path, train={"steps": 2})
    command = ["run", str(path), "-o", "train.steps=2"]
    monkeypatch.setattr(sys, "argv", ["lorry", *command, f"--hf-token={HUB}", TRACKER, UNSET])
    assert lorry(command) == 0
    assert (next(lorry_home.glob("runs/*")) / "report.html").is_file()
    assert written(lorry_home) == {}
    said = capfd.readouterr()
    assert not [value for value in (*SECRETS.values(), UNSET) if value in said.out + said.err]


def test_error_that_quotes_a_row_with_a_secret_shows_none(
    environment: None, tmp_path: Path, lorry_home: Path, capfd: pytest.CaptureFixture[str]
):
    path = write_recipe(tmp_path)
    bad = {"messages": [{"role": HUB, "content": PASSWORD}], PASSWORD: UNSET}
    write_rows(tmp_path / "rows.jsonl", [*chat_rows(24), bad])
    assert lorry(["run", str(path)]) == 2
    said = capfd.readouterr()
    assert "rows.jsonl:25" in said.err
    assert not [value for value in (*SECRETS.values(), UNSET) if value in said.out + said.err]
    assert written(lorry_home) == {}


def test_fault_with_a_secret_in_its_message_leaves_a_clean_traceback(
    environment: None,
    tmp_path: Path,
    lorry_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
):
    def broken(*_: object) -> None:
        raise ZeroDivisionError(f"GET https://u:{PASSWORD}@hub/?t={TRACKER} said no to {HUB}\n{UNSET}")

    monkeypatch.setattr("lorry.job.train_as_planned", broken)
    assert lorry(["run", str(write_recipe(tmp_path)), "--debug"]) == 1
    assert list((lorry_home / "logs").iterdir())
    assert written(lorry_home) == {}
    said = capfd.readouterr().err
    assert "said no to ***" in said
    assert not [value for value in (*SECRETS.values(), UNSET) if value in said]


def test_training_that_dies_with_a_secret_in_its_message_leaves_none(
    environment: None, tmp_path: Path, lorry_home: Path, monkeypatch: pytest.MonkeyPatch
):
    from tiny_runs import events_of, train_here

    def broken(*_: object) -> None:
        raise RuntimeError(f"401 for {HUB}:\n{UNSET} {PASSWORD} {PASSWORD!r}")

    monkeypatch.setattr("lorry.trainer.process._train_and_score", broken)
    (failed,) = events_of(train_here(recipe(tmp_path)), "failed")
    assert failed.data["error"].startswith("RuntimeError: 401 for ***:\n*** ***")
    assert written(lorry_home) == {}


def test_rows_in_the_cache_are_the_persons_own_data_and_stay_as_they_are(
    environment: None, tmp_path: Path, lorry_home: Path
):
    from tiny_runs import begin

    path = recipe(tmp_path)
    rows = chat_rows(24)
    for row in rows:
        row["messages"][1]["content"] += f" {UNSET}"
    write_rows(tmp_path / "rows.jsonl", rows)
    begin(path)
    assert all("cache/rows" in file for file in written(lorry_home))
