"""Which addresses of alerts may stand in a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lorry.errors import RecipeError
from lorry.recipe.alert_address import checked, variable
from lorry.recipe.load import from_dict, load

KEY = "xoxb-1234567890abcdef"


@pytest.mark.parametrize(
    "address",
    [
        "$SLACK",
        "${SLACK_2}",
        "json://localhost:8080/lorry",
        "jsons://hooks.example.org/alerts",
        "xml://h",
        "FORM://h/a",
    ],
)
def test_address_without_a_key_is_taken(address: str):
    assert checked(address) == address


@pytest.mark.parametrize(
    "address",
    [
        f"slack://{KEY}/B/C/#lorry",
        "mailto://me:secret@gmail.com",
        f"jsons://user:{KEY}@host/",
        f"json://{KEY}@host/",
        f"jsons://host/?token={KEY}",
        f"jsons://host/#{KEY}",
        f"jsons://hooks.example.org/services/T0/{KEY}",
        f"https://hooks.example.org/{KEY}",
        f"$SLACK-{KEY}",
        f"json:///{KEY}",
        f"json://[{KEY}",
        KEY,
        "",
    ],
)
def test_address_with_a_key_is_refused_and_not_repeated(address: str):
    with pytest.raises(ValueError, match=r"key|letters|must be") as caught:
        checked(address)
    assert KEY not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_variable_is_named_in_both_ways():
    assert (variable("$A_1"), variable("${A_1}"), variable("json://host")) == ("A_1", "A_1", None)


def recipe(to: Any) -> dict[str, Any]:
    return {"model": {"id": "m"}, "data": {"train": "rows.jsonl"}, "track": {"alerts": {"to": to}}}


def test_recipe_with_a_key_is_refused_with_what_to_do(tmp_path: Path):
    with pytest.raises(RecipeError, match=r"track.alerts.to\[1\]") as caught:
        from_dict(recipe(["$SLACK", f"slack://{KEY}/B/C"]), tmp_path)
    assert "write `$NAME`" in caught.value.message
    assert KEY not in str(caught.value)


def test_address_given_twice_is_refused(tmp_path: Path):
    with pytest.raises(RecipeError, match="twice"):
        from_dict(recipe(["$SLACK", "$SLACK"]), tmp_path)


def test_warning_about_a_replaced_address_does_not_show_it(tmp_path: Path):
    text = "model: {id: m}\ndata: {train: rows.jsonl}\ntrack: {alerts: {to: ['slack://" + KEY + "/B/C']}}\n"
    (tmp_path / "base.yaml").write_text(text)
    (tmp_path / "recipe.yaml").write_text("extends: base.yaml\ntrack: {alerts: {to: [$SLACK]}}\n")
    loaded = load(tmp_path / "recipe.yaml")
    assert loaded.recipe.track.alerts.to == ["$SLACK"]
    assert "track.alerts.to" in loaded.warnings[0]
    assert KEY not in str(loaded.warnings)
