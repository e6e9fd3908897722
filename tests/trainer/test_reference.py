"""A reference that is asked once: the same training as one that is asked in every step."""

from __future__ import annotations

import numpy as np
import pytest

import tiny_runs
from lorry.data.examples import ExampleSet
from lorry.data.rows import Origin
from lorry.trainer import attention
from lorry.trainer.forest import plant
from lorry.trainer.process import work
from lorry.trainer.reference import keep_reference, trained_counts
from tiny_models import tiny_model, with_lora
from tiny_preferences import pairs, policy

PAIRS = [
    {"prompt": f"{word} {at}", "chosen": word, "rejected": f"{word} {word}"}
    for at, word in enumerate(tiny_runs.WORDS * 3)
]
LABELS = [{"prompt": row["prompt"], "completion": row["chosen"], "label": bool(at % 2)} for at, row in enumerate(PAIRS)]


def trained(folder, method, rows, **settings):
    values = tiny_runs.recipe(folder, train={"steps": 8, "eval_every": 4, "save_every": 1})
    tiny_runs.write_rows(folder / "rows.jsonl", rows)
    return tiny_runs.train_here({**values, "method": {"name": method, **settings}})


def told(run, kind):
    return {event.step: event.data["loss"] for event in tiny_runs.events_of(run, kind)}


def examples(folder) -> ExampleSet:
    from lorry.data.examples import write_examples

    return write_examples(folder / "rows", [(one, Origin("rows", at)) for at, one in enumerate(pairs(5))])


@pytest.mark.parametrize(("method", "rows"), [("dpo", PAIRS), ("kto", LABELS)])
def test_losses_are_those_of_a_reference_that_is_asked_in_every_step(method, rows, tmp_path):
    asked, kept = (trained(tmp_path, method, rows, cache_reference=cached) for cached in (False, True))
    for kind in ("step", "evaluated"):
        assert told(kept, kind) == pytest.approx(told(asked, kind), rel=1e-4, abs=1e-6)


def test_run_with_a_kept_reference_goes_on_to_the_same_bits(tmp_path):
    run = trained(tmp_path, "dpo", PAIRS, cache_reference=True)
    calm = tiny_runs.weights(run)
    for file in (run.folder.path / "reference").iterdir():
        file.unlink()
    tiny_runs.cut_back(run, 3)
    work(run.folder.path)
    assert tiny_runs.weights(run) == calm


def test_each_token_is_known_in_its_place(tmp_path):
    rows, held = examples(tmp_path), policy(with_lora(tiny_model("llama", attention.NAME), fast=True))
    kept = keep_reference(held, rows, tmp_path / "train.f32", 3, lambda: None)
    everyone = plant([rows[at] for at in range(len(rows))])
    expected = held.reference_log_probs(everyone).numpy()
    known = plant([kept[at] for at in range(len(kept))]).known["reference"]
    assert known == pytest.approx(expected, abs=1e-5)
    assert [len((kept[at].known or {})["reference"]) for at in range(len(kept))] == trained_counts(rows).tolist()


def test_file_of_another_length_is_made_again(tmp_path):
    rows, held = examples(tmp_path), policy(with_lora(tiny_model("llama", attention.NAME), fast=True))
    file = tmp_path / "train.f32"
    file.write_bytes(b"torn")
    kept = keep_reference(held, rows, file, 3, lambda: None)
    assert file.stat().st_size == 4 * trained_counts(rows).sum()
    assert np.isfinite((kept[0].known or {})["reference"]).all()


def test_batch_that_does_not_fit_is_halved(tmp_path, monkeypatch):
    from lorry.trainer import reference

    rows, held = examples(tmp_path), policy(with_lora(tiny_model("llama", attention.NAME), fast=True))
    plain, sizes = reference._of_batch, list[int]()

    def of_batch(own, all_rows, taken):
        sizes.append(len(taken))
        if len(taken) > 1:
            raise MemoryError
        return plain(own, all_rows, taken)

    monkeypatch.setattr(reference, "_of_batch", of_batch)
    keep_reference(held, rows, tmp_path / "train.f32", 4, lambda: None)
    assert sizes == [4, 2, *[1] * len(rows)]


def test_file_is_named_by_all_that_it_depends_on(tmp_path):
    from lorry.trainer.reference import file_of

    held = policy(with_lora(tiny_model("llama", attention.NAME), fast=True))
    continued = policy(with_lora(tiny_model("llama", attention.NAME), fast=True), is_continued=True)
    names = {
        file_of(tmp_path, "train", held, ["rows", "base"]),
        file_of(tmp_path, "train", held, ["other rows", "base"]),
        file_of(tmp_path, "train", held, ["rows", "other base"]),
        file_of(tmp_path, "train", continued, ["rows", "base"]),
    }
    assert len(names) == 4
