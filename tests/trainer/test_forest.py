from __future__ import annotations

import numpy as np
import pytest

from lorry.data.examples import Example
from lorry.trainer.forest import WASTE, Forest, lineage, path_places, plant
from tiny_models import rows


def example(*ids: int, trained: int = 1) -> Example:
    marks = np.zeros(len(ids), dtype=np.bool_)
    marks[len(ids) - trained :] = True
    return Example(np.asarray(ids, dtype=np.int32), marks)


def leaf_texts(forest: Forest) -> set[tuple[int, ...]]:
    """The tokens on the way to every segment, as rows."""
    return {tuple(forest.ids[path_places(forest.segments, index)].tolist()) for index in range(len(forest.segments))}


def predictions(forest: Forest) -> list[tuple[int, int, int]]:
    """Row, token before and token trained, for every trained token."""
    return sorted(zip(forest.rows.tolist(), forest.ids[forest.sources].tolist(), forest.targets.tolist(), strict=True))


def test_shared_beginning_stands_once():
    beginning = list(range(20))
    forest = plant([example(*beginning, 30, 31), example(*beginning, 40)])
    assert forest.tokens == 23
    assert forest.row_tokens == 43
    assert [segment.parent for segment in forest.segments] == [-1, 0, 0]


def test_short_beginning_is_computed_for_each_row():
    forest = plant([example(1, 2, 3), example(1, 2, 4)])
    assert forest.tokens == 6
    assert not forest.is_shared


def test_without_sharing_every_row_is_one_segment():
    forest = plant(rows(), share=False)
    assert len(forest.segments) == len(rows())
    assert forest.tokens == forest.row_tokens


@pytest.mark.parametrize("share", [True, False])
def test_every_row_stands_on_a_path(share):
    examples = rows(9, seed=3)
    texts = leaf_texts(plant(examples, share=share))
    assert all(tuple(one.ids.tolist()) in texts for one in examples)


def test_nested_beginnings_make_nested_segments():
    forest = plant(rows(6))
    assert max(len(lineage(forest.segments, index)) for index in range(len(forest.segments))) == 3


def test_positions_count_from_the_start_of_each_row():
    forest = plant(rows(6))
    for index in range(len(forest.segments)):
        path = path_places(forest.segments, index)
        assert forest.positions[path].tolist() == list(range(len(path)))


def test_trained_tokens_are_the_same_with_and_without_sharing():
    examples = rows(8, seed=5)
    assert predictions(plant(examples)) == predictions(plant(examples, share=False))


def test_equal_rows_are_computed_once_and_counted_twice():
    row = rows(1)[0]
    forest = plant([row, row])
    assert forest.tokens == len(row.ids)
    assert forest.trained_tokens == 2 * int(row.trained.sum())


def test_shared_trained_token_counts_once_per_row():
    beginning = list(range(20))
    forest = plant([example(*beginning, 30, trained=21), example(*beginning, 40, trained=21)])
    assert forest.tokens == 22
    assert forest.trained_tokens == 40  # the first token of a row has nothing before it


def test_row_that_is_the_beginning_of_another_needs_no_segment():
    beginning = list(range(20))
    forest = plant([example(*beginning), example(*beginning, 30)])
    assert len(forest.segments) == 2
    assert predictions(forest) == [(0, 18, 19), (1, 19, 30)]


def test_one_row_of_one_token_trains_nothing():
    forest = plant([example(5)])
    assert forest.tokens == 1
    assert forest.trained_tokens == 0


def test_groups_cover_all_segments_and_waste_little():
    forest = plant(rows(40, seed=7, longest=60))
    assert [index for group in forest.groups for index in group] == list(range(len(forest.segments)))
    for group in forest.groups:
        lengths = [forest.segments[index].length for index in group]
        assert max(lengths) * len(lengths) <= WASTE * sum(lengths)
        assert len({forest.segments[index].parent for index in group}) == 1


def test_parents_stand_before_their_children():
    forest = plant(rows(12, seed=2))
    assert all(segment.parent < index for index, segment in enumerate(forest.segments))


def test_rows_that_each_continue_the_one_before_nest_however_many_there_are():
    examples = [example(*range(3, 20 + row)) for row in range(1500)]
    forest = plant(examples)
    assert predictions(forest) == predictions(plant(examples, share=False))


@pytest.mark.parametrize("share", [True, False])
def test_ends_are_where_each_rows_last_token_stands(share):
    beginning = list(range(20))
    examples = [example(*beginning, 30), example(*beginning), example(*beginning, 40, 41), example(7)]
    forest = plant(examples, share=share)
    assert forest.ids[forest.ends].tolist() == [30, 19, 41, 7]
    assert forest.positions[forest.ends].tolist() == [20, 19, 21, 0]
