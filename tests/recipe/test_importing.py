"""Thirty configurations of other systems, in their documented syntax: each field accounted for, none silently dropped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from lorry.errors import RecipeError
from lorry.recipe.imported_text import lines, written
from lorry.recipe.importers._sheet import Fate, leaves
from lorry.recipe.importing import ENGINES, Imported
from lorry.recipe.load import imported, load

FOREIGN = Path(__file__).parent / "foreign"
AXOLOTL = sorted((FOREIGN / "axolotl").glob("*.yml"))
FACTORY = sorted((FOREIGN / "llamafactory").glob("*.yaml"))
EVERY = [*AXOLOTL, *FACTORY]
NOT_NATIVE = {
    "grpo.yml": {"datasets[0].type"},
    "freeze_and_more.yaml": {
        *("finetuning_type", "use_llama_pro", "rope_scaling", "neftune_noise_alpha", "loraplus_lr_ratio"),
        *("additional_target", "optim", "lr_scheduler_type"),
    },
}
"""What matters to the training and lorry's own trainer cannot do, by file; nothing in all others."""
IMAGES = {"vision_sft.yaml"}


def read(file: Path) -> Imported:
    return imported(file, leaving_out=True)


def test_there_are_twenty_of_axolotl_and_ten_of_llama_factory():
    assert (len(AXOLOTL), len(FACTORY)) == (20, 10)


@pytest.mark.parametrize("file", [one for one in EVERY if one.name not in IMAGES], ids=lambda file: file.name)
def test_every_field_is_accounted_for_once(file: Path):
    found = read(file)
    names = {name for name, _ in leaves(found.given)}
    said = {one.name for one in found.fields}
    covering = {name: [one for one in said if name == one or name.startswith((f"{one}.", f"{one}["))] for name in names}
    assert {name: by for name, by in covering.items() if len(by) != 1} == {}
    assert {one for one in said if not any(one in by for by in covering.values())} == set()
    assert len(found.fields) == len(said)


@pytest.mark.parametrize("file", [one for one in EVERY if one.name not in IMAGES], ids=lambda file: file.name)
def test_every_field_says_what_it_became_or_why_it_did_not(file: Path):
    for one in read(file).fields:
        assert one.fate is not Fate.UNKNOWN
        assert one.place.startswith(("tests", str(FOREIGN))) or ":" in one.place
        assert (one.to or one.why) if one.fate is Fate.TRANSLATED else one.why, one.name
        assert one.fate is Fate.NOT_NATIVE or not one.engines
        assert set(one.engines) <= {*ENGINES, "llamafactory"}
        if one.matters:
            assert one.engines, f"{one.name}: nobody is said to be able to do it"


@pytest.mark.parametrize("file", [one for one in EVERY if one.name not in IMAGES], ids=lambda file: file.name)
def test_what_matters_and_is_not_native_is_an_error_and_nothing_else_is(file: Path):
    expected = NOT_NATIVE.get(file.name, set())
    assert {one.name for one in read(file).left_out} == expected
    if not expected:
        assert load(file).imported[0].left_out == []
        return
    with pytest.raises(RecipeError) as caught:
        load(file)
    assert caught.value.exit_code == 2
    for name in expected:
        assert name in f"{caught.value.place} {caught.value.message}"
    assert "--leave-out" in caught.value.hint


@pytest.mark.parametrize(
    "file", [one for one in EVERY if one.name not in {*IMAGES, "grpo.yml"}], ids=lambda file: file.name
)
def test_written_recipe_loads_as_the_same_recipe(file: Path, tmp_path: Path):
    found = read(file)
    again = tmp_path / "recipe.yaml"
    again.write_text(written(found), encoding="utf-8")
    loaded = load(again)
    assert loaded.imported == ()
    assert loaded.recipe.model_dump(exclude_unset=True) == given(found)


def given(found: Imported) -> dict[str, Any]:
    from lorry.recipe.load import from_dict

    return from_dict(found.layer.values, Path.cwd()).recipe.model_dump(exclude_unset=True)


@pytest.mark.parametrize("file", [one for one in EVERY if one.name not in IMAGES], ids=lambda file: file.name)
def test_written_recipe_names_every_field_that_was_left_out(file: Path):
    found = read(file)
    text = written(found)
    for one in [*found.of(Fate.NO_EFFECT), *found.of(Fate.NOT_NATIVE)]:
        assert f"{one.name}: " in text
    assert len(list(lines(found))) == len(found.fields)


def test_secrets_of_a_configuration_are_nowhere_told():
    for name in ("axolotl/full_fine_tune.yml", "llamafactory/full_sft.yaml"):
        found = read(FOREIGN / name)
        assert "not-for-anybody" in (FOREIGN / name).read_text("utf-8")
        assert "not-for-anybody" not in "\n".join([written(found), *lines(found), *map(str, found.fields)])


def test_anchors_and_merge_keys_count_where_they_are_used():
    found = read(FOREIGN / "axolotl" / "dora_anchors.yml")
    assert found.layer.values["lora"]["rank"] == 4
    assert [one["path"].rpartition("/")[2] for one in found.layer.values["data"]["train"]] == ["one.jsonl", "two.jsonl"]
    assert {one.name for one in found.fields if one.name.startswith(("x-", "_"))} == {"x-lora", "_rows"}


def test_given_configuration_is_kept_for_an_engine_as_it_was_read():
    file = FOREIGN / "axolotl" / "qlora_chat_template.yml"
    found = read(file)
    assert found.system == "axolotl"
    assert found.given == yaml.safe_load(file.read_text("utf-8"))


HOSTILE: list[Any] = [None, [], {}, 3, -0.5, "x", "", True, ["a"], {"a": 1}, [{"a": {"b": 1}}], [[]]]


@pytest.mark.parametrize("file", [AXOLOTL[1], FACTORY[3]], ids=lambda file: file.name)
def test_hostile_values_are_told_and_never_crash(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Each field in turn holds something of another kind."""
    monkeypatch.chdir(file.parent)
    values = yaml.safe_load(file.read_text("utf-8"))
    config = tmp_path / "config.yml"
    for at, name in enumerate(values):
        config.write_text(yaml.safe_dump({**values, name: HOSTILE[at % len(HOSTILE)]}), encoding="utf-8")
        try:
            found = read(config)
        except RecipeError:
            continue
        said = [one.name for one in found.fields]
        for field, _ in leaves(found.given):
            assert len([one for one in said if field == one or field.startswith((f"{one}.", f"{one}["))]) == 1, field
