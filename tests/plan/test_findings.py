from __future__ import annotations

import pytest

from lorry.errors import DataError, RefusedError
from lorry.plan.findings import Finding, error, exit_code, from_error, note, ordered, refusal, warning

WRONG = error("a", "wrong", remedy="do")
REFUSED = refusal("b", "refused", remedy="do")
WARNING = warning("c", "careful")
NOTE = note("d", "by the way")


@pytest.mark.parametrize(
    ("findings", "code"),
    [([], 0), ([WARNING, NOTE], 0), ([WRONG], 2), ([REFUSED], 3), ([REFUSED, WRONG], 2), ([REFUSED, WARNING], 3)],
)
def test_exit_code_tells_wrong_input_from_refusal(findings: list[Finding], code: int):
    assert exit_code(findings) == code


def test_gravest_come_first_in_the_order_given_and_once():
    assert ordered([NOTE, WARNING, REFUSED, WRONG, NOTE]) == [REFUSED, WRONG, WARNING, NOTE]


def test_exception_keeps_its_place_hint_and_further_lines():
    made = from_error("data.bad-row", DataError("2 rows\n  x:1: bad\n  x:2: bad", hint="mend them", place="data.train"))
    assert (made.message, made.evidence, made.remedy) == ("2 rows", "  x:1: bad\n  x:2: bad", "mend them")
    assert (made.place, made.severity, made.refusal) == ("data.train", "error", False)


def test_exception_that_refuses_is_a_refusal():
    assert from_error("x", RefusedError("no")).refusal
