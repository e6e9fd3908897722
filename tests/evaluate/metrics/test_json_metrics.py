"""JSON in answers: what is valid, what fits a schema, and which fields are right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest

from lorry import plugins
from lorry.errors import InputError
from lorry.evaluate.grading import grade
from lorry.evaluate.metrics._base import Answer, Metric, Ratio
from lorry.evaluate.scoring import pool

SCHEMA = {"type": "object", "required": ["total"], "properties": {"total": {"type": "string"}}}


def made(name: str, **settings: Any) -> Metric:
    return cast("Metric", plugins.make("metrics", {"name": name, **settings}))


def valid(text: str, **settings: Any) -> float | None:
    found = made("json_valid", **settings).score(Answer(text, ""))
    assert not isinstance(found, Ratio)
    return found


def counted(prediction: str, truth: str, **settings: Any) -> tuple[Any, dict[str, Any]]:
    metric, answer = made("field_f1", **settings), Answer(prediction, truth)
    return metric.score(answer), dict(metric.score_parts(answer))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": 1}', 1),
        (' [1, "x", null]\n', 1),
        ("3", 1),
        ('"text"', 1),
        ("", 0),
        ("{'a': 1}", 0),
        ('{"a": 1,}', 0),
        ('{"a": 1} and more', 0),
        ('Here it is: {"a": 1}', 0),
        ('{"a": 1}{"a": 2}', 0),
        ('{"a": 1, "a": 2}', 0),
        ('{"a": NaN}', 0),
        ("[" * 100_000, 0),
        ('```json\n{"a": 1}\n```', 0),
    ],
)
def test_only_the_standards_json_is_valid(text: str, expected: float):
    assert valid(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('```json\n{"a": 1}\n```', 1),
        ("```\n[1]\n```\n", 1),
        ('~~~JSON\n{"a":\n1}\n~~~', 1),
        ('{"a": 1}', 1),
        ('Sure:\n```json\n{"a": 1}\n```', 0),
        ('```json\n{"a": 1}', 0),
        ("```python\n[1]\n```", 0),
    ],
)
def test_fences_count_where_they_are_allowed(text: str, expected: float):
    assert valid(text, allow_fenced=True) == expected


def test_all_documents_that_must_parse_are_valid_and_none_that_must_not(shared_data: Path):
    wrong = list[str]()
    for file in sorted((shared_data / "dirty" / "json").glob("[yn]_*.json")):
        try:
            text = file.read_bytes().decode("utf-8")
        except UnicodeDecodeError:
            continue
        twice = "duplicated_key" in file.name  # its standard says that names should differ; here they must
        if valid(text) != float(file.name.startswith("y_") and not twice):
            wrong.append(file.name)
    assert wrong == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [('{"total": "9.00"}', 1), ('{"total": 9}', 0), ('{"sum": "9.00"}', 0), ("[]", 0), ("no JSON", 0)],
)
def test_schema_is_held_to_inline_and_from_a_file(text: str, expected: float, tmp_path: Path):
    (tmp_path / "schema.json").write_text(json.dumps(SCHEMA), "utf-8")
    assert valid(text, json_schema=SCHEMA) == expected
    assert valid(text, json_schema=str(tmp_path / "schema.json")) == expected


def test_schema_of_an_older_draft_is_read_as_that_draft():
    older = {"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "string"}]}
    assert valid("[1]", json_schema=older) == 0  # a list of schemas, one an item, was Draft 7's
    assert valid('["a", 1]', json_schema=older) == 1


def test_schema_that_is_none_is_refused_with_its_fault():
    with pytest.raises(InputError, match=r"is no JSON Schema: type: .*strin"):
        made("json_valid", json_schema={"type": "strin"})


@pytest.mark.parametrize(
    ("text", "told"), [("{", "line 1 is not JSON"), ('{"type": 3}', "its schema is none, type"), ("[]", "a schema is")]
)
def test_schema_file_that_cannot_be_used_makes_the_metric_unavailable(text: str, told: str, tmp_path: Path):
    (tmp_path / "schema.json").write_text(text, "utf-8")
    metric = made("json_valid", json_schema=str(tmp_path / "schema.json"))
    assert told in str(metric.unavailable())
    assert metric.score(Answer("{}", "")) is None


def test_schema_file_that_is_not_there_is_said(tmp_path: Path):
    assert "cannot be read" in str(made("json_valid", json_schema=str(tmp_path / "none.json")).unavailable())


@pytest.mark.parametrize("ref", ["http://127.0.0.1:9/schema.json", "#/$defs/none", "other.json", "#none"])
def test_reference_that_leads_nowhere_is_refused_and_nothing_is_fetched(ref: str, tmp_path: Path):
    schema = {"type": "object", "properties": {"a": {"items": {"$ref": ref}}}}
    with pytest.raises(InputError, match="leads nowhere"):
        made("json_valid", json_schema=schema)
    (tmp_path / "schema.json").write_text(json.dumps(schema), "utf-8")
    assert "leads nowhere" in str(made("json_valid", json_schema=str(tmp_path / "schema.json")).unavailable())


def test_references_within_a_schema_and_to_the_standards_are_followed():
    within = {"$defs": {"t": {"$id": "http://x.example/t", "$ref": "#/$defs/n", "$defs": {"n": {"type": "number"}}}}}
    assert valid('{"a": 1}', json_schema={**within, "properties": {"a": {"$ref": "http://x.example/t"}}}) == 1
    assert valid('{"a": "x"}', json_schema={**within, "properties": {"a": {"$ref": "#/$defs/t"}}}) == 0
    assert valid('{"type": 3}', json_schema={"$ref": "https://json-schema.org/draft/2020-12/schema"}) == 0
    draft7 = {"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {"n": {"type": "number"}}}
    assert valid('"x"', json_schema={**draft7, "$ref": "#/definitions/n"}) == 0
    data = {"properties": {"a": {"const": {"$ref": "#/none"}}}}  # a value, and no reference
    assert valid('{"a": 1}', json_schema=data) == 0


@pytest.mark.parametrize(
    ("prediction", "truth", "hits", "said", "there"),
    [
        ('{"a": "x", "b": "y"}', '{"b": "y", "a": "x"}', 2, 2, 2),
        ('{"a": "x", "b": "z"}', '{"a": "x", "b": "y"}', 1, 2, 2),
        ('{"a": "x"}', '{"a": "x", "b": "y"}', 1, 1, 2),
        ('{"a": "x", "c": "y", "d": 1}', '{"a": "x", "b": "y"}', 1, 3, 2),
        ("no JSON", '{"a": "x", "b": "y"}', 0, 0, 2),
        ('{"t": {"a": 1, "b": [1, 2]}}', '{"t": {"a": 1, "b": [2, 1]}}', 3, 3, 3),
        ('{"b": [1, 1]}', '{"b": [1]}', 1, 2, 1),
        ('{"a": 9, "b": "9.00", "c": "-0"}', '{"a": "9.0", "b": 9.00, "c": 0}', 3, 3, 3),
        ('{"zip": "0123"}', '{"zip": "123"}', 0, 1, 1),  # a code is no number
        ('{"a": " TAN  WOON YANN\\n"}', '{"a": "TAN WOON YANN"}', 1, 1, 1),
        ('{"a": true, "b": null, "c": []}', '{"a": "true", "b": "null", "c": []}', 1, 3, 3),
        ('```json\n{"a": "x"}\n```', '{"a": "x"}', 1, 1, 1),
        ('[{"n": "tea", "p": 1}, {"n": "milk", "p": 2}]', '[{"n": "milk", "p": 2}, {"n": "tea", "p": 1}]', 4, 4, 4),
        ('[{"n": "tea", "p": 2}, {"n": "milk", "p": 1}]', '[{"n": "tea", "p": 1}, {"n": "milk", "p": 2}]', 2, 4, 4),
        ('{"i": [{"n": "tea", "p": 1}]}', '{"i": [{"n": "tea", "p": 2}, {"n": "tea", "p": 1}]}', 2, 2, 4),
        ('{"i": [{"n": 1, "s": [{"a": 1, "b": 2}]}, {}, 5]}', '{"i": [5, {"n": 1, "s": [{"a": 2, "b": 2}]}]}', 3, 5, 4),
        ('{"id": 12345678901234567891}', '{"id": 12345678901234567892}', 0, 1, 1),
    ],
)
def test_fields_are_counted_as_by_hand(prediction: str, truth: str, hits: int, said: int, there: int):
    score, parts = counted(prediction, truth)
    assert score == Ratio(2 * hits, said + there)
    assert parts.get("precision") == (Ratio(hits, said) if said else None)
    assert parts["recall"] == Ratio(hits, there)


@pytest.mark.parametrize("truth", ["", "no JSON", '{"a": 1'])
def test_row_whose_own_answer_is_no_json_is_left_out(truth: str):
    assert counted('{"a": 1}', truth) == (None, {})


@pytest.mark.parametrize(
    ("settings", "prediction", "truth", "expected"),
    [
        ({"fields": ["total"]}, '{"total": 1, "x": 2}', '{"total": 1, "x": 3}', Ratio(2, 2)),
        ({"fields": ["items"]}, '{"items": [{"n": 1}]}', '{"items": [{"n": 1}], "itemsize": 2}', Ratio(2, 2)),
        ({"fields": ["i[].n"]}, '{"i": [{"n": 1, "p": 2}]}', '{"i": [{"n": 1, "p": 3}]}', Ratio(2, 2)),
        ({"ordered": True}, '[{"a": 1}, {"a": 2}]', '[{"a": 2}, {"a": 1}]', Ratio(0, 4)),
        ({"ignore_case": True}, '{"a": "Tan"}', '{"a": "TAN"}', Ratio(2, 2)),
        ({"numbers": False}, '{"a": "9.0"}', '{"a": "9"}', Ratio(0, 2)),
        ({"ordered": True}, '{"b": [1, 2]}', '{"b": [2, 1]}', Ratio(0, 4)),
        ({"allow_fenced": False}, '```\n{"a": 1}\n```', '{"a": 1}', Ratio(0, 1)),
    ],
)
def test_settings_decide_which_fields_are_the_same(
    settings: dict[str, Any], prediction: str, truth: str, expected: Ratio
):
    assert counted(prediction, truth, **settings)[0] == expected


def test_f1_is_micro_averaged_over_rows():
    metric = made("field_f1")
    pairs = [('{"a": 1}', '{"a": 1}'), ('{"a": 1, "b": 2, "c": 3}', '{"a": 1, "b": 9, "c": 9}')]
    graded = grade({"field_f1": metric}, [Answer(prediction, truth) for prediction, truth in pairs])
    found = {name: pool(graded.scores[name], about) for name, about in metric.about.items()}
    assert {name: one and one.value for name, one in found.items()} == {
        "field_f1": pytest.approx(2 * 2 / (4 + 4)),
        "field_f1.precision": pytest.approx(2 / 4),
        "field_f1.recall": pytest.approx(2 / 4),
    }
