"""Examples that belong together: of a pair, both or none."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lorry.data.examples import Example, Kind, write_examples
from lorry.data.rows import Origin

KINDS = [Kind.CHOSEN, Kind.REJECTED, Kind.ALONE, Kind.GOOD, Kind.STRANGE, Kind.BAD]


def test_units_are_found_from_any_of_their_examples(tmp_path: Path):
    made = [
        Example(np.arange(at + 2, dtype=np.int32), np.ones(at + 2, np.bool_), kind=kind)
        for at, kind in enumerate(KINDS)
    ]
    found = write_examples(tmp_path / "set", [(one, Origin("rows", 1)) for one in made])
    assert found.units == [[0, 1], [2], [3, 4], [5]]
    assert found.unit_lengths.tolist() == [5, 4, 11, 7]
    assert found.whole([1, 4]) == [0, 1, 3, 4]
    assert found.whole([2, 5, 2]) == [2, 5]
    assert found.whole([]) == []
    assert [one.kind for one in found.together([0])] == [Kind.CHOSEN, Kind.REJECTED]
    assert found.members([2, 0]) == [3, 4, 0, 1]
