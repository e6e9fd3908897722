"""Whole runs on images: trained, cut off and continued, packed, held back, answered, quantised, by preference."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jiwer
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from lorry.cli.main import run
from lorry.compute.machine.sending import freeze, load_of
from lorry.report.write import write
from lorry.track.run import Run
from lorry.trainer.methods.sft import SupervisedFineTuning
from lorry.trainer.process import work
from tiny_runs import begin, cut_back, events_of, train_here, weights, write_rows
from tiny_vision import COLOURS, save_vision, vision_recipe


def finished(values: dict[str, Any]) -> Run:
    run = train_here(values)
    assert events_of(run, "finished"), [event.data for event in events_of(run, "failed")]
    return run


@pytest.mark.parametrize(
    ("kind", "sections"),
    [
        ("idefics3", {}),
        ("llava", {"data": {"packing": False}}),
        ("llava", {"lora": None}),
        ("qwen2_5_vl", {}),
        ("qwen2_5_vl", {"lora": None}),
        ("qwen3_vl", {"lora": {"vision": True, "projector": True}}),
        ("smolvlm", {}),
    ],
)
def test_run_on_images_is_scored_and_continues_to_the_same_bits(tmp_path, kind, sections):
    made = {"train": {"save_every": 1, "keep": 9}, "data": {"packing": True}, **sections}
    values = vision_recipe(tmp_path, kind, **made)
    run = finished(values)
    answers = [json.loads(line) for line in (run.folder.evaluation / "answers.jsonl").read_text().splitlines()]
    assert len(answers) == 2
    assert (run.adapter / "preprocessor_config.json").is_file()
    wanted = weights(run)
    cut_back(run, 2)
    torch.manual_seed(5)
    assert work(run.folder.path) == 0
    assert events_of(run, "resumed")[-1].data["from_step"] == 2
    assert weights(run) == wanted


@pytest.mark.parametrize(
    "sections",
    [
        {"lora": {"vision": True, "projector": True}, "train": {"activation_checkpointing": True}},
        {"lora": None},
        {"model": {"attention": "sdpa"}},
        {"train": {"accumulation": 2}, "data": {"max_pixels": 1024}},
    ],
    ids=["vision", "full", "padded", "small"],
)
def test_run_on_images_goes_through_with_other_settings(tmp_path, sections):
    model = {"id": str(tmp_path / "model"), **sections.pop("model", {})}
    run = finished(vision_recipe(tmp_path, "qwen3_vl", model=model, **sections))
    losses = [event.data["loss"] for event in events_of(run, "step")]
    assert losses[-1] < losses[0]


def test_quantised_run_leaves_the_vision_part_whole(tmp_path):
    from lorry.recipe.schema import Recipe
    from lorry.trainer.model import load

    values = vision_recipe(tmp_path)
    values["model"]["quantization"] = "nf4"
    model = load(Recipe.model_validate(values), tmp_path / "model").model
    kinds = {name: type(module).__name__ for name, module in model.named_modules()}
    assert any("language_model" in name and "4bit" in kind for name, kind in kinds.items())
    assert not any(("vision_tower" in name or "projector" in name) and "4bit" in kind for name, kind in kinds.items())
    finished(values)


@pytest.mark.parametrize("method", ["dpo", "orpo", "simpo"])
def test_preferences_about_images_are_learnt(tmp_path, method):
    pairs = [
        {
            "prompt": [{"role": "user", "content": "<image>which colour"}],
            "chosen": [{"role": "assistant", "content": colour}],
            "rejected": [{"role": "assistant", "content": "none of them"}],
            "images": [f"images/{at}.png"],
        }
        for at, colour in enumerate(COLOURS)
    ]
    values = vision_recipe(tmp_path, rows=pairs, method={"name": method}, train={"steps": 12, "learning_rate": 0.02})
    run = finished(values)
    told = [event.data["reward_accuracy"] for event in events_of(run, "step")]
    assert told[-1] == 1.0
    assert events_of(run, "step")[-1].data["computed_tokens"] < 3 * 2 * 40  # each image once for both answers


@pytest.mark.parametrize("cached", [False, True])
def test_preferences_train_the_vision_part_and_continue_to_the_same_bits(tmp_path, cached):
    sides = {"chosen": "red", "rejected": "none"}
    pair = {side: [{"role": "assistant", "content": text}] for side, text in sides.items()}
    asked = {"prompt": [{"role": "user", "content": "<image>which"}], "images": ["images/0.png"]}
    method, lora = {"name": "dpo", "cache_reference": cached}, {"vision": True, "projector": True}
    train = {"steps": 3, "micro_batch": 2, "save_every": 1, "keep": 9}
    rows = [{**asked, **pair}] * 6
    run = finished(vision_recipe(tmp_path, "qwen2_5_vl", rows, method=method, lora=lora, train=train))
    learnt = load_file(run.adapter / "adapter_model.safetensors")
    seeing = {name: one for name, one in learnt.items() if "visual" in name and "lora_B" in name}
    assert {"merger" in name for name in seeing} == {True, False}
    assert [name for name, one in seeing.items() if not one.any()] == []
    wanted = weights(run)
    cut_back(run, 2)
    assert work(run.folder.path) == 0
    assert weights(run) == wanted


@pytest.mark.parametrize(("kind", "advice"), [("qwen2_5_vl", "`data.max_pixels`"), ("llava", "fewer images")])
def test_images_that_fit_nowhere_are_not_answered_with_a_length_that_leaves_them_out(
    tmp_path, monkeypatch, kind, advice
):
    plain = SupervisedFineTuning.loss

    def loss(self: Any, policy: Any, forest: Any, whole: Any) -> Any:
        if forest.images:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return plain(self, policy, forest, whole)

    monkeypatch.setattr(SupervisedFineTuning, "loss", loss)
    (failed,) = events_of(train_here(vision_recipe(tmp_path, kind)), "failed")
    assert advice in failed.data["hint"]
    assert "max_length" not in failed.data["hint"]


def test_method_that_reads_no_images_says_so(tmp_path):
    from lorry.plan.subject import UnavailableError

    values = vision_recipe(tmp_path, method={"name": "kto"})
    labelled = [{"prompt": "<image>which", "completion": "red", "label": True, "images": ["images/0.png"]}]
    write_rows(tmp_path / "rows.jsonl", labelled)
    with pytest.raises(UnavailableError, match="`kto` does not learn from"):
        train_here(values)


def test_adapter_is_asked_about_an_image(tmp_path, capsys):
    made = finished(vision_recipe(tmp_path, "smolvlm"))
    image = str(tmp_path / "images" / "3.png")
    asked = ["generate", str(made.folder.path), "--adapter", "--max-new-tokens", "4"]
    assert run([*asked, "--image", image, "--prompt", "which colour"]) == 0
    marked = capsys.readouterr().out
    assert run([*asked, "--image", image, "--prompt", "<image>which colour"]) == 0
    assert capsys.readouterr().out == marked
    assert run([*asked, "--image", "no.png", "--prompt", "which"]) == 2
    assert "there is no image `no.png`" in capsys.readouterr().err
    assert run([*asked, "--image", image, "--prompt", "<image> or <image>"]) == 2
    assert "2 `<image>` marks, 1 image" in capsys.readouterr().err
    assert run([*asked, "--image", image, "--prompt", "red", "--raw"]) == 2
    refused = capsys.readouterr().err
    assert "a bare text shows no images" in refused
    assert "hint: leave out `--image`" in refused


@pytest.mark.parametrize("lora", [{"rank": 4}, None], ids=["adapter", "whole"])
def test_model_card_loads_what_sees(tmp_path, lora):
    values = vision_recipe(tmp_path, lora=lora, train={"steps": 1}, evaluate={"rows": 0})
    published = {"patch_size": 8, "num_additional_image_tokens": 1, "vision_feature_select_strategy": "default"}
    (tmp_path / "model" / "processor_config.json").write_text(json.dumps(published), encoding="utf-8")
    made = finished(values)
    write(made.folder)
    card = (made.adapter / "README.md").read_text(encoding="utf-8")
    assert "pipeline_tag: image-text-to-text" in card
    code = card.split("```python\n")[1].split("```")[0]
    code = code.replace("path/to/this/folder", str(made.adapter)).replace("path/to/model", str(tmp_path / "model"))
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102 - what a person would paste
    turns = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "which colour"}]}]
    text = names["processor"].apply_chat_template(turns, add_generation_prompt=True)
    given = names["processor"](text=text, images=[Image.open(tmp_path / "images" / "0.png")], return_tensors="pt")
    assert names["model"](**given).logits.isfinite().all()


def test_images_go_along_to_a_rented_machine(tmp_path):
    rented = begin(vision_recipe(tmp_path))
    facts = json.loads(rented.folder.resolved.read_text(encoding="utf-8"))
    freeze(rented.folder)
    sent = load_of(rented.folder, facts)
    rows = f"cache/rows/{Path(facts['data_folder']).name}"
    assert {f"{rows}/images.bin", f"{rows}/images.npy"} <= set(sent.files)


@pytest.fixture
def receipts(shared_data: Path) -> list[dict[str, Any]]:
    lines = (shared_data / "ocr" / "ocr_chat.jsonl").read_text(encoding="utf-8").splitlines()[:10]
    rows: list[dict[str, Any]] = [json.loads(line) for line in lines]
    for one in rows:
        one["images"] = [str(shared_data / "ocr" / name) for name in one["images"]]
    return rows


def test_tiny_model_learns_to_read_ten_receipts(tmp_path, receipts):
    texts = [turn["content"] for one in receipts for turn in one["messages"]]
    save_vision(tmp_path / "model", "llava", texts, spread=0.2)
    rows = str(write_rows(tmp_path / "rows.jsonl", receipts))
    run = finished(
        {
            "model": {"id": str(tmp_path / "model")},
            "data": {"train": rows, "eval": rows, "max_length": 512},
            "lora": {"rank": 32, "alpha": 64, "projector": True},
            "train": {"steps": 120, "micro_batch": 10, "learning_rate": 0.01, "warmup": 5, "eval_every": 120},
            "evaluate": {"rows": 10, "max_new_tokens": 160},
        }
    )
    answers = [json.loads(line) for line in (run.folder.evaluation / "answers.jsonl").read_text().splitlines()]
    truths = [one["truth"] for one in answers]
    assert jiwer.cer(truths, [one["adapter"] for one in answers]) < 0.05
    assert jiwer.cer(truths, [one["base"] or " " for one in answers]) > 0.5
