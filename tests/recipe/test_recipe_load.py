from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lorry.errors import RecipeError
from lorry.recipe.load import Loaded, from_dict, load

MINIMAL = "model: {id: owner/model}\ndata: {train: rows.jsonl}\n"


def loaded(folder: Path, text: str, *flags: str) -> Loaded:
    file = folder / "recipe.yaml"
    file.write_text(text, encoding="utf-8")
    return load(file, flags)


def refused(folder: Path, text: str, *flags: str) -> RecipeError:
    with pytest.raises(RecipeError) as caught:
        loaded(folder, text, *flags)
    return caught.value


def test_minimal_recipe_gets_every_default(tmp_path: Path):
    recipe = loaded(tmp_path, MINIMAL).recipe
    assert recipe.method == {"name": "sft"}
    assert recipe.train.learning_rate == 2e-4
    assert recipe.lora is not None


def test_loaded_recipe_keeps_the_text_and_the_folder(tmp_path: Path):
    result = loaded(tmp_path, MINIMAL)
    assert result.text == MINIMAL
    assert result.base == tmp_path


def test_number_without_a_dot_is_a_number(tmp_path: Path):
    assert loaded(tmp_path, MINIMAL + "train: {learning_rate: 1e-4}").recipe.train.learning_rate == 1e-4


def test_flag_with_exponent_is_a_number(tmp_path: Path):
    result = loaded(tmp_path, MINIMAL, "train.learning_rate=3e-5")
    assert result.recipe.train.learning_rate == 3e-5


def test_flag_over_file_warns_with_both_values_and_places(tmp_path: Path):
    result = loaded(tmp_path, MINIMAL + "train:\n  steps: 7\n", "train.steps=9")
    assert result.recipe.train.steps == 9
    (warning,) = result.warnings
    assert "-o: train.steps = 9 overrides 7 of" in warning
    assert "recipe.yaml:4" in warning


def test_flag_that_agrees_with_the_file_warns_of_nothing(tmp_path: Path):
    assert loaded(tmp_path, MINIMAL + "train: {steps: 7}", "train.steps=7").warnings == []


def test_flag_over_flag_warns(tmp_path: Path):
    result = loaded(tmp_path, MINIMAL, "train.steps=1", "train.steps=2")
    assert result.recipe.train.steps == 2
    assert "overrides 1" in result.warnings[0]


def test_steps_by_flag_replace_epochs_of_the_file(tmp_path: Path):
    result = loaded(tmp_path, MINIMAL + "train: {epochs: 3}", "train.steps=9")
    assert (result.recipe.train.steps, result.recipe.train.epochs) == (9, None)
    assert "train.steps = 9 overrides train.epochs = 3" in result.warnings[0]


def test_flag_for_text_keeps_digits_as_text(tmp_path: Path):
    assert loaded(tmp_path, MINIMAL, "model.revision=0123e5").recipe.model.revision == "0123e5"


def test_flag_can_set_null_and_lists(tmp_path: Path):
    recipe = loaded(tmp_path, MINIMAL, "lora=null", "evaluate.metrics=[exact_match]").recipe
    assert recipe.lora is None
    assert recipe.evaluate.metrics == [{"name": "exact_match"}]


def test_flag_under_lora_brings_back_an_adapter_that_the_file_declined(tmp_path: Path):
    recipe = loaded(tmp_path, MINIMAL + "lora: null", "lora.rank=4").recipe
    assert recipe.lora is not None
    assert recipe.lora.rank == 4


@pytest.mark.parametrize("flag", ["train.steps", "=5", ".steps=5", "train..steps=5", "", "a=b=c: ["])
def test_flag_that_is_no_override_is_refused(tmp_path: Path, flag: str):
    error = refused(tmp_path, MINIMAL, flag)
    assert error.place.startswith("-o")
    assert error.hint


def test_flag_into_a_list_is_refused(tmp_path: Path):
    error = refused(tmp_path, MINIMAL, "evaluate.metrics.0=exact_match")
    assert "evaluate.metrics=" in error.hint


def test_misspelt_key_is_refused_with_line_path_and_suggestion(tmp_path: Path):
    error = refused(tmp_path, MINIMAL + "train:\n  steps: 1\n  learning_rat: 1\n")
    assert error.place.endswith("recipe.yaml:5: train.learning_rat")
    assert "`learning_rate`" in error.hint


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("trian", "`train`"),
        ("extend", "`extends`"),
        ("learning_rate", "`train.learning_rate`"),
        ("max_steps", "`train.steps`"),
        ("per_device_train_batch_size", "`train.micro_batch`"),
    ],
)
def test_unknown_key_at_the_top_gets_what_was_meant(tmp_path: Path, key: str, meant: str):
    assert meant in refused(tmp_path, MINIMAL + f"{key}: 1\n").hint


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("train: {steps: -3}", "at least 1"),
        ("train: {steps: 0}", "at least 1"),
        ("train: {steps: 1.5}", "whole number"),
        ("train: {steps: many}", "whole number"),
        ("train: {steps: true}", "must not be true"),
        ("train: {steps: 99999999999999999999}", "too large"),
        ("train: {learning_rate: .inf}", "finite"),
        ("train: {learning_rate: .nan}", "finite"),
        ("train: {learning_rate: 0}", "more than 0"),
        ("train: {share_prefixes: maybe}", "true or false"),
        ("train: {schedule: cosin}", "`cosine`"),
        ("train: 5", "mapping"),
        ("train: [1]", "mapping"),
        ("lora: {dropout: 1}", "less than 1"),
        ("lora: {target_modules: []}", "empty"),
        ("lora: {target_modules: 7}", "list"),
        ("evaluate: {metrics: exact_match}", "list"),
        ("train: {steps: 1, epochs: 1}", "not both"),
        ("train: {seed: 4294967296}", "less than"),
        ("name: [1]", "text"),
        ("name: 7", "text"),
    ],
)
def test_wrong_value_is_refused_with_place_and_reason(tmp_path: Path, line: str, says: str):
    error = refused(tmp_path, MINIMAL + line)
    assert says in error.message
    assert "recipe.yaml:3: " in error.place


def test_enum_close_to_a_value_gets_a_suggestion(tmp_path: Path):
    assert refused(tmp_path, MINIMAL + "train: {schedule: cosin}").hint == "did you mean `cosine`?"


def test_missing_section_says_what_it_is_for(tmp_path: Path):
    error = refused(tmp_path, "data: {train: x}")
    assert error.place.endswith("recipe.yaml: model")
    assert error.message == "is missing"
    assert "model" in error.hint


def test_all_problems_are_told_at_once(tmp_path: Path):
    text = "model: {idd: x}\ndata: {train: []}\nmethod: sftt\ntrain:\n  steps: -1\n  keep: x\n"
    message = refused(tmp_path, text, "lora.rnk=3").message
    places = ("model.id", "model.idd", "data.train", "method", "train.steps", "train.keep", "lora.rnk")
    assert [place for place in places if f"{place}:" not in message] == []
    assert message.startswith("7 problems")


def test_unknown_metric_and_wrong_setting_are_both_told(tmp_path: Path):
    text = MINIMAL + "evaluate:\n  metrics:\n    - exact_mach\n    - {name: exact_match, stripp: true}\n    - 7\n"
    message = refused(tmp_path, text).message
    assert (
        "recipe.yaml:5: evaluate.metrics[0]: no metric is called `exact_mach` (did you mean `exact_match`?)" in message
    )
    assert "recipe.yaml:6: evaluate.metrics[1].stripp: unknown key (did you mean `strip`?)" in message
    assert "recipe.yaml:7: evaluate.metrics[2]" in message


def test_metric_chosen_twice_is_refused(tmp_path: Path):
    assert "twice" in refused(tmp_path, MINIMAL + "evaluate: {metrics: [exact_match, exact_match]}").message


def test_method_settings_without_a_name_are_those_of_sft(tmp_path: Path):
    assert loaded(tmp_path, MINIMAL, "method.train_on=all").recipe.method == {"train_on": "all", "name": "sft"}


def test_wrong_method_setting_names_its_line(tmp_path: Path):
    error = refused(tmp_path, MINIMAL + "method:\n  name: sft\n  train_on: everything\n")
    assert error.place.endswith("recipe.yaml:5: method.train_on")
    assert "`assistant`" in error.message


@pytest.mark.parametrize("chosen", ["auto", "text", "{name: auto}"])
def test_known_formats_are_accepted(tmp_path: Path, chosen: str):
    recipe = loaded(tmp_path, f"model: {{id: a/b}}\ndata:\n  train: x\n  format: {chosen}\n").recipe
    assert recipe.data.format["name"] == chosen.strip("{}").removeprefix("name: ")


def test_unknown_format_is_refused(tmp_path: Path):
    assert "data.format" in refused(tmp_path, MINIMAL, "data.format=sharegtp").place


def test_automatic_format_has_no_settings(tmp_path: Path):
    assert "data.format" in refused(tmp_path, MINIMAL, "data.format={name: auto, field: x}").place


def test_remote_code_must_name_the_model(tmp_path: Path):
    assert "owner/model" in refused(tmp_path, MINIMAL, "model.trust_remote_code=other/model").message
    named = loaded(tmp_path, MINIMAL, "model.trust_remote_code=owner/model")
    assert named.recipe.model.trust_remote_code == "owner/model"


def test_empty_section_means_its_defaults(tmp_path: Path):
    assert loaded(tmp_path, MINIMAL + "train:\n  # steps: 5\nbudget:\n").recipe.train.steps is None


def test_dictionary_is_checked_like_a_file(tmp_path: Path):
    data: dict[str, Any] = {"model": {"id": "a/b"}, "data": {"train": "x.jsonl"}}
    assert from_dict(data, tmp_path).recipe.data.train == str(tmp_path / "x.jsonl")
    with pytest.raises(RecipeError, match=r"recipe: train\.steps"):
        from_dict({**data, "train": {"steps": -1}}, tmp_path)


def test_dictionary_is_left_as_it_was(tmp_path: Path):
    data: dict[str, Any] = {"model": {"id": "a/b"}, "data": {"train": "x.jsonl"}, "train": None}
    from_dict(data, tmp_path)
    assert data == {"model": {"id": "a/b"}, "data": {"train": "x.jsonl"}, "train": None}


@pytest.mark.parametrize(
    "data",
    [None, "model", [1], {1: 2}, {"model": object()}, {"model": {"id": "\0"}}, {"data": {"train": ["a\ud800"]}}],
)
def test_dictionary_that_is_none_is_refused(tmp_path: Path, data: Any):
    with pytest.raises(RecipeError):
        from_dict(data, tmp_path)


def test_path_objects_are_paths(tmp_path: Path):
    data = {"model": {"id": "a/b"}, "data": {"train": Path("x.jsonl"), "test": [Path("/y")]}}
    recipe = from_dict(data, tmp_path).recipe
    assert (recipe.data.train, recipe.data.test) == (str(tmp_path / "x.jsonl"), ["/y"])


def test_loading_a_recipe_imports_nothing_heavy(tmp_path: Path):
    (tmp_path / "recipe.yaml").write_text(MINIMAL + "method: sft\nevaluate: {metrics: [exact_match]}")
    code = "import sys; from lorry.recipe.load import load; load('recipe.yaml');"
    code += "print([name for name in ('torch', 'transformers', 'datasets', 'pandas') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["messages", "tools", "documents", "add_generation_prompt"])
def test_template_argument_that_lorry_gives_is_refused_where_it_stands(tmp_path: Path, name: str):
    text = f"model: {{id: owner/model}}\ndata:\n  train: rows.jsonl\n  template_args: {{{name}: 1}}\n"
    error = refused(tmp_path, text)
    assert error.place.endswith("recipe.yaml:4: data.template_args")
    assert f"`{name}` is given by lorry" in error.message


@pytest.mark.parametrize("setting", ["model.id", "model.revision", "model.adapter", "data.train", "data.eval", "name"])
def test_flag_of_digits_is_text_where_text_is_wanted(tmp_path: Path, setting: str):
    recipe = loaded(tmp_path, MINIMAL, f"{setting}=0123").recipe
    section, _, name = setting.rpartition(".")
    assert getattr(getattr(recipe, section) if section else recipe, name).endswith("0123")
