"""`lorry run cpt.yaml sft.yaml dpo.yaml`: each goes on from the adapter of the one before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.numpy import load_file

import borrowed
import sshd
import tiny_runs
from lorry import resuming
from lorry.cli.main import run
from lorry.compute.control.at_home import ask
from lorry.errors import StoppedError
from lorry.recipe.load import load
from lorry.track.events import Event, read
from lorry.track.folder import RunFolder
from lorry.track.leases import Leases
from lorry.track.run import Run
from lorry.track.store import Store

Capture = pytest.CaptureFixture[str]

TEXTS = [{"text": f"{word} {at} " * 8} for at, word in enumerate(tiny_runs.WORDS * 3)]
PAIRS = [
    {"prompt": f"{word} {at}", "chosen": word, "rejected": f"{word} {word} {other}"}
    for at, (word, other) in enumerate(zip(tiny_runs.WORDS * 3, tiny_runs.WORDS[1:] * 4, strict=False))
]
ROWS = {"cpt": TEXTS, "sft": tiny_runs.chat_rows(24), "dpo": PAIRS}


def chain(folder: Path, *methods: str, adapter: str = "last", **sections: Any) -> list[str]:
    """Recipes named as their methods; each but the first continues `adapter`."""
    paths: list[str] = []
    for number, method in enumerate(methods):
        values = tiny_runs.recipe(folder, **{"train": {"steps": 3, "learning_rate": 0.01, "save_every": 1}, **sections})
        rows = tiny_runs.write_rows(folder / f"{method}.jsonl", ROWS[method])
        values |= {"name": method, "method": method, "data": {**values["data"], "train": str(rows)}}
        if number:
            values["model"] = {**values["model"], "adapter": adapter}
        path = folder / f"{method}.yaml"
        path.write_text(yaml.safe_dump(values), encoding="utf-8")
        paths.append(str(path))
    return paths


def runs() -> dict[str, Run]:
    """By experiment; of each the newest."""
    rows = sorted(Store.open().list(), key=lambda row: row.created_at)
    return {row.name: Run(RunFolder(row.folder)) for row in rows}


def facts(run: Run) -> dict[str, Any]:
    return json.loads(run.folder.resolved.read_text(encoding="utf-8"))


def notes(run: Run) -> list[str]:
    return [event.data["message"] for event in read(run.folder.events) if event.kind == "note"]


def edit(path: str, **sections: Any) -> None:
    values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    for name, section in sections.items():
        values[name] = {**values.get(name, {}), **section}
    Path(path).write_text(yaml.safe_dump(values), encoding="utf-8")


def moved(one: Run, other: Run) -> float:
    """The largest difference of any weight of two adapters."""
    before, after = (load_file(each.adapter / "adapter_model.safetensors") for each in (one, other))
    assert before.keys() == after.keys()
    return max(float(abs(before[name] - after[name]).max()) for name in before)


def test_each_goes_on_from_the_weights_of_the_one_before(tmp_path: Path, capsys: Capture):
    paths = chain(tmp_path, "cpt", "sft", "dpo")
    # A rate so small that nothing moves: what is delivered is what was begun with.
    for path in paths[1:]:
        edit(path, train={"learning_rate": 1e-12})
    assert run(["run", *paths]) == 0
    made = runs()
    assert list(made) == ["cpt", "sft", "dpo"]
    cpt, sft, dpo = made.values()
    assert (
        max(float(abs(value).max()) for value in load_file(cpt.adapter / "adapter_model.safetensors").values()) > 1e-3
    )
    assert moved(cpt, sft) < 1e-6
    assert moved(sft, dpo) < 1e-6
    assert facts(sft)["continues"] == {"named": "last", "run": cpt.id, "adapter": str(cpt.adapter)}
    assert facts(sft)["recipe"]["model"]["adapter"] == str(cpt.adapter)
    assert json.loads(sft.folder.provenance.read_text())["continues"] == facts(sft)["continues"]
    assert json.loads(cpt.folder.provenance.read_text())["continues"] is None
    assert f"continues the adapter of `{sft.id}`" in notes(dpo)
    assert "`dpo` continues the adapter that `sft` will make: planned as with a fresh one of rank 4" in (
        capsys.readouterr().err
    )


@pytest.mark.slow
def test_name_of_an_earlier_one_skips_what_lies_between(tmp_path: Path):
    paths = chain(tmp_path, "cpt", "sft", "dpo", adapter="cpt")
    assert run(["run", *paths]) == 0
    made = runs()
    assert facts(made["dpo"])["continues"]["run"] == made["cpt"].id


@pytest.mark.slow
def test_smoke_runs_continue_each_other(tmp_path: Path):
    assert run(["run", *chain(tmp_path, "cpt", "sft"), "--smoke"]) == 0
    made = runs()
    assert facts(made["sft-smoke"])["continues"]["run"] == made["cpt-smoke"].id


def test_one_that_fails_keeps_those_from_beginning_that_continue_it_and_no_others(tmp_path: Path, capsys: Capture):
    paths = chain(tmp_path, "cpt", "sft", "dpo")
    edit(paths[0], train={"learning_rate": 1e30})
    edit(paths[2], model={"adapter": None})
    assert run(["run", *paths]) == 1
    assert [(row.name, row.status) for row in reversed(Store.open().list())] == [("cpt", "failed"), ("dpo", "finished")]
    told = capsys.readouterr().err
    assert "`sft` does not begin: it continues the adapter of `cpt`, which was not finished" in told


def test_chain_in_which_something_is_wrong_does_not_begin(tmp_path: Path, capsys: Capture):
    paths = chain(tmp_path, "cpt", "sft")
    edit(paths[1], lora={"rank": 8})
    assert run(["run", *paths]) == 2
    assert "set lora.rank to 4" in capsys.readouterr().err
    assert runs() == {}


def test_earlier_recipe_that_trains_all_weights_makes_no_adapter(tmp_path: Path, capsys: Capture):
    paths = chain(tmp_path, "cpt", "sft")
    values = yaml.safe_load(Path(paths[0]).read_text(encoding="utf-8"))
    Path(paths[0]).write_text(yaml.safe_dump({**values, "lora": None}), encoding="utf-8")
    assert run(["run", *paths]) == 2
    assert "`cpt` trains all weights" in capsys.readouterr().err


def test_dry_run_plans_what_is_not_there_yet(tmp_path: Path, capsys: Capture):
    assert run(["run", *chain(tmp_path, "cpt", "sft", "dpo"), "--dry-run"]) == 0
    told = capsys.readouterr()
    assert told.out.count("Memory    this computer") == 3
    assert "planned as with a fresh one of rank 4" in told.err
    assert runs() == {}


@pytest.mark.parametrize("command", [["check"], ["plan"], ["run"], ["run", "--dry-run"]])
def test_last_without_any_run_is_told_with_its_place(tmp_path: Path, capsys: Capture, command: list[str]):
    path = chain(tmp_path, "cpt", "sft")[1]
    assert run([*command, path]) == 2
    said = capsys.readouterr()
    told = said.out + said.err
    assert "model.adapter" in told
    assert "there is no run yet to continue from" in told
    assert "lorry run EARLIER THIS" in told
    assert runs() == {}


@pytest.mark.slow
def test_run_by_name_is_continued_and_written_down_once(tmp_path: Path):
    paths = chain(tmp_path, "cpt", "sft", adapter="cpt")
    assert run(["run", paths[0]]) == 0
    assert run(["run", paths[1]]) == 0
    made = runs()
    assert facts(made["sft"])["continues"] == {
        "named": "cpt",
        "run": made["cpt"].id,
        "adapter": str(made["cpt"].adapter),
    }


@pytest.mark.slow
def test_interrupted_run_of_a_recipe_that_says_last_is_still_that_recipes(tmp_path: Path):
    paths = chain(tmp_path, "cpt", "sft")
    assert run(["run", *paths]) == 0
    sft = runs()["sft"]
    Store.open().update(sft.id, status="stopped")
    row = resuming.interrupted(load(paths[1]))
    assert row is not None
    assert row.id == sft.id
    assert resuming.intended(resuming.Continuation(sft.id, "step-000001", recipe=load(paths[1]).recipe)).recipe == (
        resuming.intended(resuming.Continuation(sft.id, "step-000001")).recipe
    )


def test_folder_of_that_name_beside_the_recipe_is_a_folder(tmp_path: Path):
    (tmp_path / "last").mkdir()
    assert load(chain(tmp_path, "cpt", "sft")[1]).recipe.model.adapter == str(tmp_path / "last")


@pytest.mark.slow
@sshd.needed()
def test_rented_runs_continue_what_has_come_home(tmp_path: Path):
    paths = chain(tmp_path, "cpt", "sft", "dpo")
    edit(paths[1], train={"learning_rate": 1e-12})
    with borrowed.host(tmp_path, scripted=False) as machine:
        assert run(["run", *paths, "--on", f"ssh:{machine.name}", "-o", "compute.gpu=[cpu]", "--yes"]) == 0
    cpt, sft, dpo = runs().values()
    assert moved(cpt, sft) < 1e-6
    assert facts(dpo)["continues"]["run"] == sft.id
    assert facts(dpo)["recipe"]["model"]["adapter"] == "adapter"
    assert json.loads(dpo.folder.provenance.read_text())["continues"]["run"] == sft.id
    assert not Leases.open().opened()


def test_chain_that_is_stopped_says_what_was_not_started(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
):
    def stops(_wish: object, _plan: object, _watch: object) -> Run:
        raise StoppedError("stopped by a person")

    monkeypatch.setattr("lorry.job.train_as_planned", stops)
    assert run(["run", *chain(tmp_path, "cpt", "sft", "dpo")]) == 130
    assert "not started: `sft` and `dpo`" in capsys.readouterr().err


@pytest.mark.slow
@sshd.needed()
def test_rented_run_that_is_let_go_leaves_those_for_later_that_continue_it(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("lorry.compute.control.controller.go_on_alone", lambda _folder: 1)

    def detaches(_self: object, event: Event) -> None:
        if event.kind == "step":
            ask(RunFolder(Store.open().list()[-1].folder), "detach")

    monkeypatch.setattr("lorry.cli.progress.Progress.show", detaches)
    paths = chain(tmp_path, "cpt", "sft", train={"steps": 5000})
    with borrowed.host(tmp_path) as machine:
        assert run(["run", *paths, "--on", f"ssh:{machine.name}", "-o", "compute.gpu=[cpu]", "--yes"]) == 0
    assert list(runs()) == ["cpt"]
    assert "not started, for the adapter to continue is not here: `sft`" in capsys.readouterr().err


@pytest.mark.slow
@sshd.needed()
def test_rented_run_that_fails_keeps_those_from_being_rented_for_that_continue_it(tmp_path: Path, capsys: Capture):
    paths = chain(tmp_path, "cpt", "sft")
    edit(paths[0], train={"learning_rate": 1e30})
    with borrowed.host(tmp_path, scripted=False) as machine:
        assert run(["run", *paths, "--on", f"ssh:{machine.name}", "-o", "compute.gpu=[cpu]", "--yes"]) == 1
    assert list(runs()) == ["cpt"]
    assert "`sft` does not begin" in capsys.readouterr().err
