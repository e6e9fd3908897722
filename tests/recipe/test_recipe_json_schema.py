from __future__ import annotations

import json
import re
from typing import Any

import pytest

from lorry import plugins
from lorry.recipe.json_schema import recipe_schema
from lorry.recipe.schema import Recipe


def part(name: str) -> dict[str, Any]:
    return recipe_schema()["$defs"][name]["properties"]


def test_every_setting_has_help():
    parts = recipe_schema()["$defs"]
    sections = [text for name, text in parts.items() if name.endswith("Settings")]
    assert len(sections) == 10
    missing = [
        key for section in sections for key, value in section["properties"].items() if not value.get("description")
    ]
    assert missing == []


def test_plugins_are_offered_by_name_and_with_their_settings():
    method = recipe_schema()["properties"]["method"]["anyOf"]
    assert method[0]["enum"] == list(plugins.names("methods"))
    sft = next(one for one in method[1:] if one["properties"]["name"] == {"const": "sft"})
    assert "train_on" in sft["properties"]
    assert sft["additionalProperties"] is False


def test_formats_offer_auto_and_metrics_are_a_list():
    assert "auto" in part("DataSettings")["format"]["anyOf"][0]["enum"]
    assert "exact_match" in part("EvaluateSettings")["metrics"]["items"]["anyOf"][0]["enum"]


@pytest.mark.parametrize("method", ["grpo", "ppo", "rlhf"])
def test_rewards_are_offered_as_metrics_functions_and_with_their_settings(method: str):
    offered = recipe_schema()["properties"]["method"]["anyOf"][1:]
    settings = next(one for one in offered if one["properties"]["name"] == {"const": method})["properties"]
    metrics, function, *rewards = settings["rewards"]["items"]["anyOf"]
    assert set(metrics["enum"]) == set(plugins.names("metrics")) - {"python"}  # of that name there is a reward
    assert re.search(function["pattern"], "judges/rewards.py:brevity")
    named = {one["properties"]["name"]["const"]: one["properties"] for one in rewards}
    assert set(named) == set(plugins.names("rewards"))
    assert "timeout" in named["python"]
    assert "exact_match" in named["metric"]["metric"]["anyOf"][0]["enum"]


def test_what_another_recipe_gives_need_not_be_given_again():
    schema = recipe_schema()
    assert "extends" in schema["properties"]
    assert "required" not in schema
    assert schema["then"]["required"] == ["model", "data"]


def test_unknown_keys_are_refused_by_editors_too():
    schema = recipe_schema()
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) == {*Recipe.model_fields, "extends"}


def test_every_reference_leads_somewhere():
    schema = recipe_schema()
    text = json.dumps(schema)
    named = {piece.split('"', 1)[0] for piece in text.split("#/$defs/")[1:]}
    assert named <= set(schema["$defs"])
