from __future__ import annotations

import pytest

from lorry.plan.fit import fit
from lorry.plan.memory import Memory
from lorry.trainer.ladder import Rung

TOP = Rung(8, 4, False, 16, 16)


def taken(rung: Rung) -> Memory:
    """Ten bytes, and ten more for each row; four where activations are computed twice."""
    return Memory({"weights": 10, "activations": (4 if rung.activation_checkpointing else 10) * rung.micro_batch}, {})


@pytest.mark.parametrize(
    ("room", "micro_batch", "twice", "lowered", "largest"),
    [
        (1000, 8, False, 0, 32),
        (90, 8, False, 0, 8),
        (89, 4, False, 1, 4),
        (50, 4, False, 1, 4),
        (20, 1, False, 3, 1),
        (19, 1, True, 4, 0),
        (14, 1, True, 4, 0),
    ],
)
def test_run_goes_down_the_trainers_own_ladder_until_it_fits(room, micro_batch, twice, lowered, largest):
    found = fit(taken, TOP, room)
    assert found.rung is not None
    assert (found.rung.micro_batch, found.rung.activation_checkpointing) == (micro_batch, twice)
    assert found.rung.micro_batch * found.rung.accumulation == 32
    assert (found.lowered, found.largest) == (lowered, largest)
    assert found.memory == taken(found.rung)


def test_what_fits_on_no_rung_tells_what_the_last_one_takes():
    found = fit(taken, TOP, 13)
    assert (found.rung, found.largest, found.memory.peak) == (None, 0, 14)


def test_model_that_cannot_compute_twice_ends_one_rung_earlier():
    assert fit(taken, TOP, 19, can_checkpoint=False).rung is None
