"""Gates as recipes write them, and whether a score passes."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from lorry.recipe.evaluation import EvaluateSettings
from lorry.recipe.gates import Gate, gates_of, parsed
from lorry.recipe.smoke import smoke
from subjects import recipe


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("< 0.10", Gate("cer", "<", 0.1, None, "0.10")),
        (">=95%", Gate("cer", ">=", 0.95, None, "95 %")),
        ("  <= 10 % on test ", Gate("cer", "<=", 0.1, "test", "10 %")),
        ("> -1.5e-3 on eval", Gate("cer", ">", -0.0015, "eval", "-1.5e-3")),
        ("<.5", Gate("cer", "<", 0.5, None, ".5")),
    ],
)
def test_gate_is_a_sign_a_number_and_perhaps_rows(text: str, expected: Gate):
    assert parsed("cer", text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0.1",
        "= 0.1",
        "== 1",
        "=> 1",
        "< ten",
        "< 1,5",
        "< 0.1 0.2",
        "< nan",
        "< inf",
        "< 1e999",
        "< 1e999 %",
        "< 5 % on train",
        "<< 1",
    ],
)
def test_whatever_else_is_refused_with_how_to_write_it(text: str):
    with pytest.raises(ValueError, match=r"is no gate: write a sign|asks for more"):
        parsed("cer", text)
    with pytest.raises(ValidationError, match="gates"):
        EvaluateSettings(gates={"cer": text})


def test_several_gates_of_one_score_and_none_of_it():
    assert [gate.asked for gate in gates_of({"length": [">= 5", "< 200"], "cer": "< 10 %"})] == [
        ">= 5",
        "< 200",
        "< 10 %",
    ]
    with pytest.raises(ValidationError, match="has no gate"):
        EvaluateSettings(gates={"length": []})


@pytest.mark.parametrize("given", [{"cer": 0.1}, {"cer": None}, ["cer < 0.1"], {"": "< 1"}, {"cer": {"max": 1}}])
def test_other_shapes_are_refused(given: Any):
    with pytest.raises(ValidationError):
        EvaluateSettings(gates=given)


@pytest.mark.parametrize(
    ("text", "value", "met", "by"),
    [
        ("< 0.1", 0.09, True, 0),
        ("< 0.1", 0.1, False, 0),
        ("<= 0.1", 0.1, True, 0),
        ("< 0.1", 0.13, False, 0.03),
        ("> 0.9", 0.9, False, 0),
        (">= 90 %", 0.9, True, 0),
        (">= 90 %", 0.7, False, 0.2),
        (">= 97.4 %", 974 / 1000, True, 0),
        ("<= 0.7 %", 7 / 1000, True, 0),
    ],
)
def test_limit_itself_passes_where_the_sign_says_so(text: str, value: float, met: bool, by: float):
    gate = parsed("cer", text)
    assert gate.is_met(value) is met
    assert gate.missed_by(value) == pytest.approx(by)


def test_short_form_of_a_run_has_no_gates():
    assert smoke(recipe(evaluate={"metrics": ["cer"], "gates": {"cer": "< 0.1"}})).evaluate.gates == {}
