"""Rewards by the name of a run: in one command with the recipe that makes it, after it, resumed, and on its way elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

import borrowed
import sshd
import tiny_rollouts
import tiny_runs
from lorry import job, resuming
from lorry.cli.chain import Chain
from lorry.cli.main import run
from lorry.compute.machine.sending import keep_own_files, with_kept_names
from lorry.errors import RunFailedError
from lorry.job import Wish
from lorry.plan.plan import Plan
from lorry.plan.subject import Subject
from lorry.recipe.earlier import as_continued, linked
from lorry.recipe.load import load
from lorry.track.events import read
from lorry.track.folder import RunFolder
from lorry.track.leases import Leases
from lorry.track.run import Run
from lorry.track.store import Store
from lorry.trainer.process import work

PAIRS = [
    {"prompt": f"{word} {at}", "chosen": word, "rejected": f"{word} {word} {word}"}
    for at, word in enumerate(tiny_runs.WORDS * 3)
]


def recipes(folder: Path, named: str, judge: str = "reward") -> list[str]:
    """A reward model's recipe, or another in its place, and one that learns by what `named` says."""
    values = tiny_rollouts.recipe(folder, "grpo", train={"steps": 2, "save_every": 1, "eval_every": 2})
    values["method"]["rewards"] = [{"name": "adapter", "adapter": named}]
    made = tiny_runs.recipe(folder, train={"steps": 2})
    rows = tiny_runs.write_rows(folder / "pairs.jsonl", PAIRS)
    made |= {"method": judge, "data": {**made["data"], "train": str(rows)}, "evaluate": {"rows": 0}}
    paths: list[str] = []
    for name, one in (("judge", made), ("policy", values)):
        path = folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump({**one, "name": name}), encoding="utf-8")
        paths.append(str(path))
    return paths


def runs() -> dict[str, Run]:
    return {row.name: Run(RunFolder(row.folder)) for row in Store.open().list()}


def facts(one: Run) -> dict[str, Any]:
    return json.loads(one.folder.resolved.read_text(encoding="utf-8"))


def notes(one: Run) -> str:
    return " ".join(event.data["message"] for event in read(one.folder.events) if event.kind == "note")


@pytest.mark.parametrize("named", ["last", pytest.param("judge", marks=pytest.mark.slow)])
def test_recipe_is_judged_by_what_the_one_before_it_makes(
    named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert run(["run", *recipes(tmp_path, named)]) == 0
    judge, policy = runs()["judge"], runs()["policy"]
    assert "`policy` is judged by the adapter that `judge` will make" in capsys.readouterr().err
    assert facts(policy)["recipe"]["method"]["rewards"][0]["adapter"] == str(judge.adapter)
    assert f"answers are judged by the adapter of `{judge.id}`" in notes(policy)
    assert "shares the base weights" in notes(policy)
    (told,) = json.loads(policy.folder.provenance.read_text())["judges"]
    assert (told["run"], told["named"]) == (judge.id, named)


def test_what_another_recipe_makes_is_no_reward_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert run(["run", *recipes(tmp_path, "last", judge="dpo")]) == 2
    assert "`judge` trains with `dpo`, and makes no reward model" in capsys.readouterr().err
    assert runs() == {}


def test_what_is_judged_does_not_begin_without_its_judge(tmp_path: Path):
    links = linked([load(path) for path in recipes(tmp_path, "last")])
    chain = Chain([Wish(link.loaded) for link in links], [link.makers for link in links])
    assert (chain.waits(0), chain.waits(1)) == (False, True)
    with pytest.raises(RunFailedError, match="`policy` does not begin: it is judged by the adapter of `judge`") as told:
        chain.ready(1, Plan(Subject.of(links[1].loaded), [], None))
    assert "`method.rewards[0].adapter`" in told.value.hint


def trained(recipe: str) -> Run:
    """A run of a recipe's file, in this process."""
    return tiny_runs.train_here(yaml.safe_load(Path(recipe).read_text(encoding="utf-8")))


def test_run_that_goes_on_keeps_its_judge_whatever_the_name_means_by_now(tmp_path: Path):
    first, policy = recipes(tmp_path, "last")
    judge, cut = trained(first), trained(policy)
    tiny_runs.cut_back(cut, 1)
    Store.open().update(cut.id, status="interrupted")
    loaded = load(policy)
    assert resuming.interrupted(loaded) is not None
    again = resuming.make_ready(resuming.Continuation(cut.id, recipe=loaded.recipe))
    assert facts(again)["recipe"]["method"]["rewards"][0]["adapter"] == str(judge.adapter)
    assert work(again.folder.path) == 0


def test_last_that_wrote_is_refused_by_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    _, policy = recipes(tmp_path, "last")
    assert run(["check", policy]) == 2
    assert "there is no run yet" in capsys.readouterr().out
    rows = tiny_runs.write_rows(tmp_path / "chat.jsonl", tiny_runs.chat_rows(24))
    values = tiny_runs.recipe(tmp_path, train={"steps": 1}, data={"train": str(rows)})
    writer = tiny_runs.train_here({**values, "name": "writer"})
    assert run(["check", policy]) == 2
    told = capsys.readouterr().out
    assert f"the adapter of `{writer.id}` has no head that gives a number" in " ".join(told.split())


def test_files_of_a_named_run_travel(tmp_path: Path):
    """What a rented machine is sent: the adapter's folder among the run's own files."""
    first, policy = recipes(tmp_path, "judge")
    judge, loaded = trained(first), load(policy)
    resolved, _, judges = job._continuing(loaded.recipe, Subject.of(loaded))
    kept = keep_own_files(resolved, tmp_path, RunFolder(tmp_path / "run"))
    assert kept.method["rewards"][0]["adapter"] == "rewards/0/adapter"
    sent = tmp_path / "run" / "files" / "rewards" / "0" / "adapter"
    assert (sent / "adapter_model.safetensors").read_bytes() == tiny_runs.weights(judge)
    told = {"judges": [{"keys": list(keys), **one.as_json()} for keys, one in judges.items()]}
    assert with_kept_names(as_continued(loaded.recipe, kept, told), kept) == kept


@pytest.mark.slow
@sshd.needed()
def test_rented_machine_judges_by_what_the_run_before_brought_home(tmp_path: Path):
    with borrowed.host(tmp_path, scripted=False) as machine:
        words = ["--on", f"ssh:{machine.name}", "-o", "compute.gpu=[cpu]", "--yes"]
        assert run(["run", *recipes(tmp_path, "judge"), *words]) == 0
    judge, policy = runs()["judge"], runs()["policy"]
    assert facts(policy)["recipe"]["method"]["rewards"][0]["adapter"] == "rewards/0/adapter"
    assert "shares the base weights" in notes(policy)
    (told,) = json.loads(policy.folder.provenance.read_text())["judges"]
    assert told["run"] == judge.id
    assert not Leases.open().opened()
