"""Adapters are found by run or folder, and refused with what they lack before a model is loaded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from lorry.errors import InputError, LorryError, ModelError
from lorry.evaluate.generation import Limits, generate
from lorry.evaluate.opening import find, open_found
from lorry.evaluate.talk import Manner, prompt_ids
from model_folders import save_model
from tiny_adapters import finished_run, save_tiny

ROWS = [("list files", "ls"), ("where am i", "pwd"), ("wipe", "mkfs.ext4 /dev/sda1")]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    save_tiny(folder)
    return folder


@pytest.fixture
def adapter(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved / "adapter", tmp_path / "adapter"))


def test_plain_peft_adapter_is_found_with_the_model_that_it_names(saved: Path, adapter: Path) -> None:
    found = find(str(adapter))
    assert (found.run, found.model_folder) == (None, saved / "model")


@pytest.mark.parametrize(
    ("lost", "named"),
    [
        (["adapter_config.json"], "adapter_config.json missing"),
        (["adapter_model.safetensors"], "adapter_model.safetensors missing"),
        (
            ["adapter_config.json", "adapter_model.safetensors"],
            "adapter_config.json and adapter_model.safetensors missing",
        ),
    ],
)
def test_incomplete_adapter_is_refused_with_what_is_missing(adapter: Path, lost: list[str], named: str) -> None:
    for name in lost:
        (adapter / name).unlink()
    with pytest.raises(ModelError, match=named):
        find(str(adapter))


def test_weights_that_are_cut_short_are_refused(adapter: Path) -> None:
    weights = adapter / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelError, match="cut short"):
        find(str(adapter))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"r": 4}'])
def test_configuration_that_is_none_is_refused(adapter: Path, text: str) -> None:
    (adapter / "adapter_config.json").write_text(text)
    with pytest.raises(ModelError, match=r"cannot be read|not the configuration"):
        find(str(adapter))


def test_base_model_that_is_not_here_is_asked_for(adapter: Path) -> None:
    renamed(adapter, "/no/such/folder")
    with pytest.raises(ModelError) as raised:
        find(str(adapter))
    assert "--model" in raised.value.hint


def test_adapter_that_names_no_model_is_asked_for_one(adapter: Path, saved: Path) -> None:
    renamed(adapter, None)
    with pytest.raises(ModelError, match="does not say which model"):
        find(str(adapter))
    assert find(str(adapter), str(saved / "model")).model_folder == saved / "model"


def test_adapter_of_another_model_is_refused_with_the_reason(adapter: Path, tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    other = save_model(tmp_path / "other")
    wider = AutoConfig.from_pretrained(other, hidden_size=64, intermediate_size=96)
    AutoModelForCausalLM.from_config(wider).save_pretrained(other)
    with pytest.raises(ModelError, match="does not fit") as raised:
        open_found(find(str(adapter), str(other)))
    assert "size mismatch" in raised.value.message


def test_adapter_with_weights_left_out_is_refused(adapter: Path) -> None:
    from safetensors.numpy import load_file, save_file

    weights = load_file(adapter / "adapter_model.safetensors")
    save_file(dict(list(weights.items())[2:]), adapter / "adapter_model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match="does not fit"):
        open_found(find(str(adapter)))


@pytest.mark.parametrize("named", ["no-such-run", "./no/such/folder", "", "\0"])
def test_unknown_name_is_refused_with_a_hint(named: str) -> None:
    with pytest.raises(LorryError) as raised:
        find(named)
    assert raised.value.exit_code == 2
    assert raised.value.hint


def test_opened_adapter_answers_as_plain_peft_does(adapter: Path, saved: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    opened = open_found(find(str(adapter)))
    ids = prompt_ids(opened, [{"role": "user", "content": "list files"}], Manner())
    plain = AutoModelForCausalLM.from_pretrained(saved / "model", dtype=torch.float32)
    plain = PeftModel.from_pretrained(plain, adapter).eval()
    made = plain.generate(input_ids=torch.tensor([ids]), do_sample=False, max_new_tokens=12, pad_token_id=0)
    expected = opened.tokenizer.decode(made[0, len(ids) :].tolist())
    assert generate(opened.loaded, opened.tokenizer, [ids], Limits(12, 1)).texts == [expected]


def test_run_is_found_by_id_beginning_last_and_folder(lorry_home: Path, tmp_path: Path) -> None:
    run = finished_run(lorry_home, tmp_path, ROWS)
    for named in (run.id, run.id[:8], "last", str(run.path), str(run.adapter)):
        found = find(named)
        assert (found.run, found.adapter) == (run, run.adapter)
        assert found.recipe.evaluate.rows == 4


def test_run_without_an_adapter_says_so(lorry_home: Path, tmp_path: Path) -> None:
    run = finished_run(lorry_home, tmp_path, ROWS)
    shutil.rmtree(run.adapter)
    with pytest.raises(InputError, match="delivered no adapter"):
        find(run.id)


def test_run_whose_recipe_is_damaged_says_where(lorry_home: Path, tmp_path: Path) -> None:
    run = finished_run(lorry_home, tmp_path, ROWS)
    run.resolved.write_text(json.dumps({"recipe": {"model": {"id": 3}}}))
    with pytest.raises(InputError, match=r"recipe cannot be read: model\.id"):
        find(run.id)


def renamed(adapter: Path, base: str | None) -> None:
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": base}))
