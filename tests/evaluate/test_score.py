"""The whole evaluation of a tiny model: what is written, that it adds up, and that nothing half is left."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lorry.data.prepare import renderer_for
from lorry.data.tokenizer import Tokenizer
from lorry.errors import InputError
from lorry.evaluate import folder as evaluation_folder
from lorry.evaluate.folder import read_json
from lorry.evaluate.generation import Limits, generate
from lorry.evaluate.score import Evaluation
from lorry.track.folder import RunFolder, write_json
from tiny_adapters import prepared, recipe, save_tiny, tiny

Tiny = tuple[Tokenizer]
ROWS = [(f"question {number}", "ls -l" + " -a" * number) for number in range(40)]
METRICS = ["exact_match", "bash_valid", "dangerous_command"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return tiny(tmp_path_factory.mktemp("score"))


def evaluate(loaded, tokenizer, data, recipe, run, progress) -> dict[str, Any]:
    """The evaluation as the training process makes it, with the model's folder that resolved.json names."""
    facts = read_json(run.resolved)
    model_folder = Path(facts["model_folder"]) if "model_folder" in facts else None
    renderer = renderer_for(recipe, Path(facts.get("base", ".")), tokenizer)
    return Evaluation(loaded, renderer, data, recipe, model_folder).run(run, progress)


@dataclass(frozen=True)
class Done:
    scores: dict[str, Any]
    run: RunFolder

    def lines(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.run.evaluation / name).read_text("utf-8").splitlines()]


def scored(folder: Path, model: Tiny, rows: list[tuple[str, str]] = ROWS, **more: Any) -> Done:
    settings = {"metrics": METRICS, "rows": 6, "max_new_tokens": 4, **more.pop("evaluate", {})}
    data, run = prepared(folder / "data", model[1], rows, **more), RunFolder(folder / "run")
    return Done(evaluate(*model, data, recipe(**settings), run, lambda *_: None), run)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, model: Tiny) -> Done:
    return scored(tmp_path_factory.mktemp("done"), model, test=ROWS[:10])


def test_scores_have_both_sides_with_intervals_around_the_value(done: Done) -> None:
    split = done.scores["splits"]["eval"]
    assert (split["rows"], split["generated"]) == (40, 6)
    assert set(split["scores"]) == {"loss", "perplexity", *METRICS}
    for entry in split["scores"].values():
        assert all(entry[side]["low"] <= entry[side]["value"] <= entry[side]["high"] for side in ("base", "adapter"))
    assert [split["scores"][name]["rows"] for name in ("loss", "exact_match")] == [40, 6]


def test_perplexity_is_the_exponential_of_the_loss(done: Done) -> None:
    scores = done.scores["splits"]["eval"]["scores"]
    for bound in ("value", "low", "high"):
        assert scores["perplexity"]["adapter"][bound] == pytest.approx(math.exp(scores["loss"]["adapter"][bound]))
    assert scores["loss"]["adapter"] != scores["loss"]["base"]


def test_files_say_what_the_function_gives(done: Done) -> None:
    assert json.loads((done.run.evaluation / "scores.json").read_text("utf-8")) == done.scores
    assert len(done.lines("samples.jsonl")) == 5
    assert len(done.lines("answers.jsonl")) == 12
    assert [path.name for path in done.run.path.iterdir()] == ["eval"]


def test_hardest_rows_are_the_worst_by_mean_loss_with_their_own_answers(done: Done, model: Tiny) -> None:
    hard = done.lines("high_loss.jsonl")
    assert len(hard) == 30
    assert [row["loss"] for row in hard] == sorted((row["loss"] for row in hard), reverse=True)
    number = int(hard[0]["origin"].rpartition(":")[2]) - 1
    assert (hard[0]["prompt"], hard[0]["truth"]) == ROWS[number]
    loaded, tokenizer = model
    asked = tokenizer.render([{"role": "user", "content": ROWS[number][0]}], add_generation_prompt=True)
    alone = generate(loaded, tokenizer, [tokenizer.encode(asked)], Limits(4, 1))
    assert hard[0]["prediction"] == alone.texts[0]


def test_answers_are_drawn_from_the_whole_split_and_the_note_says_how_many(done: Done) -> None:
    places = [row["index"] for row in done.lines("answers.jsonl") if row["split"] == "eval"]
    assert places == sorted(places) != list(range(6))
    assert "answers were made for 6 of 40 eval tasks, drawn with a fixed seed" in done.scores["notes"]
    assert "answers were made for 6 of 10 test tasks, drawn with a fixed seed" in done.scores["notes"]
    assert done.scores["splits"]["test"]["rows"] == 10


def test_the_same_evaluation_twice_gives_the_same_scores(tmp_path: Path, model: Tiny, done: Done) -> None:
    again = scored(tmp_path, model, test=ROWS[:10])
    assert again.scores["splits"] == done.scores["splits"]


def test_no_answers_asked_for_leaves_losses_only(tmp_path: Path, model: Tiny) -> None:
    found = scored(tmp_path, model, ROWS[:5], evaluate={"rows": 0})
    assert set(found.scores["splits"]["eval"]["scores"]) == {"loss", "perplexity"}
    assert found.scores["tokens_per_second"] == {"base": None, "adapter": None}
    assert {row["prediction"] for row in found.lines("high_loss.jsonl")} == {None}


def test_one_row_is_scored_without_bounds(tmp_path: Path, model: Tiny) -> None:
    loss = scored(tmp_path, model, ROWS[:1]).scores["splits"]["eval"]["scores"]["loss"]
    assert loss["base"]["value"] > 0
    assert (loss["base"]["low"], loss["base"]["high"]) == (None, None)


def test_no_evaluation_rows_give_an_empty_evaluation(tmp_path: Path, model: Tiny) -> None:
    found = scored(tmp_path, model, [])
    assert found.scores["splits"] == {}
    assert found.lines("high_loss.jsonl") == []


def test_metric_that_cannot_work_here_is_left_out_and_said(
    tmp_path: Path, model: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    scores = scored(tmp_path, model, ROWS[:3]).scores
    assert "bash_valid" not in scores["splits"]["eval"]["scores"]
    assert any(note.startswith("bash_valid was not scored: `bash` is not on the PATH") for note in scores["notes"])


def test_metric_named_twice_is_refused_before_anything_is_computed(tmp_path: Path, model: Tiny) -> None:
    with pytest.raises(InputError, match="named twice"):
        scored(tmp_path, model, evaluate={"metrics": ["exact_match", {"name": "exact_match", "ignore_case": True}]})
    assert not (tmp_path / "run").exists()


def test_progress_names_each_part_and_ends_it(tmp_path: Path, model: Tiny) -> None:
    told: dict[str, tuple[int, int]] = {}
    data = prepared(tmp_path / "data", model[1], ROWS[:7])
    settings = recipe(rows=4, max_new_tokens=2)
    run = RunFolder(tmp_path / "run")
    evaluate(*model, data, settings, run, lambda part, done, total: told.update({part: (done, total)}))  # type: ignore[arg-type]
    assert told["loss of the base model on eval rows"] == (7, 7)
    assert told["answers of the adapter on eval rows"] == (4, 4)


def test_old_evaluation_stays_whole_when_writing_breaks(
    tmp_path: Path, model: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = scored(tmp_path, model, ROWS[:4])

    def full_disk(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(evaluation_folder, "write_json", full_disk)
    with pytest.raises(OSError, match="No space"):
        scored(tmp_path, model, ROWS[:3])
    assert json.loads((before.run.evaluation / "scores.json").read_text("utf-8")) == before.scores
    assert [path.name for path in before.run.path.iterdir()] == ["eval"]


def test_loss_is_the_mean_over_trained_tokens_computed_plainly(done: Done, model: Tiny, tmp_path: Path) -> None:
    import torch

    loaded, tokenizer = model
    rows = prepared(tmp_path, tokenizer, ROWS).eval
    assert rows is not None
    losses = list[float]()
    for example in (rows[index] for index in range(len(rows))):
        ids, trained = torch.tensor(example.ids.tolist()), torch.tensor(example.trained.tolist())[1:]
        with torch.inference_mode():
            logits = loaded.model(input_ids=ids[None]).logits[0, :-1]
        losses += torch.nn.functional.cross_entropy(logits, ids[1:], reduction="none")[trained].tolist()
    found = done.scores["splits"]["eval"]["scores"]["loss"]["adapter"]["value"]
    assert found == pytest.approx(sum(losses) / len(losses), rel=1e-5)


def test_model_with_all_weights_trained_is_compared_with_its_base_loaded_anew(tmp_path: Path) -> None:
    from lorry.trainer.model import load

    base, _ = save_tiny(tmp_path / "base")
    trained, _ = save_tiny(tmp_path / "trained", seed=2)
    settings = recipe(rows=2, max_new_tokens=2).model_copy(update={"lora": None})
    tokenizer = Tokenizer.open(base)
    data, run = prepared(tmp_path / "data", tokenizer, ROWS[:4]), RunFolder(tmp_path / "run")
    write_json(run.resolved, {"model_folder": str(base), "base": str(tmp_path)})
    whole = load(settings, trained, trainable=False)
    scores = evaluate(whole, tokenizer, data, settings, run, lambda *_: None)["splits"]["eval"]["scores"]  # type: ignore[arg-type]
    plain = evaluate(load(settings, base, trainable=False), tokenizer, data, settings, run, lambda *_: None)  # type: ignore[arg-type]
    assert scores["loss"]["base"] == plain["splits"]["eval"]["scores"]["loss"]["adapter"] != scores["loss"]["adapter"]
