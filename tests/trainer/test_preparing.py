from __future__ import annotations

import pytest

from lorry.track.events import Event
from lorry.trainer.ladder import Rung
from lorry.trainer.preparing import _as_before

BEFORE = Rung(2, 4, True, 8, 8)
ASKED = Rung(4, 2, False, 64, 64)


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ((), Rung(2, 4, True, 64, 64)),
        (("training",), Rung(2, 4, True, 64, 64)),
        (("evaluating",), Rung(2, 4, True, 8, 64)),
        (("generating",), Rung(2, 4, True, 64, 8)),
        (("generating", "evaluating"), Rung(2, 4, True, 8, 8)),
    ],
)
def test_evaluation_takes_what_the_recipe_asks_for_now_unless_memory_ran_out_there(where, expected):
    history = [Event(number, 0.0, "oom", data={"where": one, "error": ""}) for number, one in enumerate(where)]
    assert _as_before(BEFORE, ASKED, history) == expected
