"""A batch is a forest: rows that begin with the same tokens compute that beginning once.

The rows of a micro-batch become segments laid one after the other in a single sequence of `T` tokens. A segment has at
most one parent, the beginning that it continues; a token sees its own segment up to itself and the whole of every
segment above it. A beginning that nobody shares is simply a segment without children, so a forest without sharing is
plain packing.

Everything here is arithmetic on token ids: no tensor, no model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lorry.data.examples import Example
from lorry.data.images.picture import Picture, Placed
from lorry.trainer.vision.positions import in_the_plane

MIN_SAVING = 16
"""Tokens that a shared segment must save; below, one more segment costs more than it spares."""
WASTE = 1.25
"""A group of segments may be padded to this many times the tokens that its members have."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of tokens: `start` in the sequence, `depth` in its rows (the position of its first token), and its parent."""

    start: int
    length: int
    depth: int
    parent: int
    """Index of the segment that this one continues; -1 for none. A parent stands before its children."""


@dataclass(frozen=True)
class Forest:
    """One micro-batch: the tokens to compute, and for each trained token of each row where it is predicted."""

    ids: NDArray[np.int64]  # (T,)
    positions: NDArray[np.int64]  # (T,) position of each token in its rows
    segments: list[Segment]  # in the order of their starts
    groups: list[range]  # of segments that stand side by side, continue the same parent and are of like length
    sources: NDArray[np.int64]  # (N,) where in the sequence stands the token before the trained one
    targets: NDArray[np.int64]  # (N,) the trained token's id
    rows: NDArray[np.int64]  # (N,) which row of the micro-batch it belongs to
    row_tokens: int
    """Tokens of all rows, shared ones counted once per row."""
    kinds: NDArray[np.int64]  # (R,) what each row is: a `Kind`
    members: NDArray[np.int64]  # (R,) each row's index in its set; -1 where it is in none
    context: NDArray[np.bool_]  # (N,) which trained tokens belong to the prompt
    ends: NDArray[np.int64]  # (R,) where in the sequence stands each row's last token
    uses: NDArray[np.int64]  # (T,) how many rows each token stands for
    known: Mapping[str, NDArray[np.float32]] = field(default_factory=dict[str, NDArray[np.float32]])
    """By name, `(N,)`: what a method knew of each trained token beforehand; of all rows, or it is not here."""
    images: tuple[Picture, ...] = ()
    """Those whose placeholders stand in the sequence, in their order there; one that rows share stands once."""
    image_tokens: int = 0
    """Tokens of the images in the sequence, marks between their placeholders included."""
    places: NDArray[np.int64] | None = None  # (3, T)
    """Time, row and column of each token, for models that place images in the plane; None where all count on alone."""

    @property
    def tokens(self) -> int:
        """Tokens that are computed, `T`."""
        return len(self.ids)

    @property
    def trained_tokens(self) -> int:
        """Trained tokens, `N`; a shared one counts once per row."""
        return len(self.targets)

    @property
    def is_shared(self) -> bool:
        """Whether any beginning serves more than one row."""
        return any(segment.parent >= 0 for segment in self.segments)


def plant(examples: Sequence[Example], *, share: bool = True, members: Sequence[int] | None = None) -> Forest:
    """The forest of these rows; without `share` every row is a tree of one segment. `members` are their indices in a set."""
    builder = _Builder([np.asarray(example.ids) for example in examples])
    if share:
        seen = _as_seen(examples)
        everyone = sorted(range(len(examples)), key=lambda row: seen[row].tobytes())
        builder.grow(_by_order(everyone, seen))
    else:
        for row in range(len(examples)):
            builder.leaf(row, depth=0, parent=-1)
    return builder.forest(examples, members)


@dataclass(frozen=True, slots=True)
class _Branch:
    """A segment before it has a place: tokens `depth` to `end` of `row`, which every row below shares."""

    row: int
    depth: int
    end: int
    parent: int

    @property
    def length(self) -> int:
        return self.end - self.depth


class _Builder:
    def __init__(self, rows: list[NDArray[np.int32]]) -> None:
        self.rows = rows
        self._branches: list[_Branch] = []
        self._leaf_of = [-1] * len(rows)

    def grow(self, everyone: list[tuple[int, int]]) -> None:
        """Adds rows in their order, pairs of a row and the tokens it shares with the row before."""
        # Rows of which each continues the one before nest as deep as there are rows: too deep for a recursion.
        waiting = [(everyone, 0, -1)]
        while waiting:
            order, depth, parent = waiting.pop()
            if len(order) == 1:
                self.leaf(order[0][0], depth, parent)
                continue
            common = min(shared for _, shared in order[1:])
            if (common - depth) * (len(order) - 1) >= MIN_SAVING:
                parent = self._add(_Branch(order[0][0], depth, common, parent))
                depth = common
            cuts = [0, *(at for at, (_, shared) in enumerate(order) if at and shared == common), len(order)]
            waiting += [(order[first:end], depth, parent) for first, end in reversed([*pairwise(cuts)])]

    def leaf(self, row: int, depth: int, parent: int) -> None:
        """Adds what is left of one row; nothing, when the row ends where its parent does."""
        end = len(self.rows[row])
        ends_with_parent = parent >= 0 and depth == end
        self._leaf_of[row] = parent if ends_with_parent else self._add(_Branch(row, depth, end, parent))

    def forest(self, examples: Sequence[Example], members: Sequence[int] | None) -> Forest:
        """The arrays of what was added, groups side by side."""
        groups = _grouped(self._branches)
        place = {old: new for new, old in enumerate(old for group in groups for old in group)}
        ordered = [self._branches[old] for old in place]
        starts = np.cumsum([0, *(branch.length for branch in ordered)]).tolist()
        segments = [
            Segment(start, branch.length, branch.depth, place.get(branch.parent, -1))
            for start, branch in zip(starts, ordered, strict=False)
        ]
        bounds = np.cumsum([0, *(len(group) for group in groups)]).tolist()
        trained = [np.flatnonzero(example.trained[1:]) + 1 for example in examples]
        images = _images(ordered, examples)
        paths = [path_places(segments, place[leaf]) for leaf in self._leaf_of]
        return Forest(
            ids=_joined([self.rows[branch.row][branch.depth : branch.end] for branch in ordered]),
            positions=_joined([np.arange(branch.depth, branch.end) for branch in ordered]),
            segments=segments,
            groups=[range(first, end) for first, end in pairwise(bounds)],
            sources=_joined([path[at - 1] for path, at in zip(paths, trained, strict=True)]),
            targets=_joined([example.ids[at] for example, at in zip(examples, trained, strict=True)]),
            rows=_joined([np.full(len(at), row) for row, at in enumerate(trained)]),
            row_tokens=sum(len(ids) for ids in self.rows),
            kinds=np.asarray([example.kind for example in examples], dtype=np.int64),
            members=np.asarray(members if members is not None else [-1] * len(examples), dtype=np.int64),
            context=_joined([_context(example, at) for example, at in zip(examples, trained, strict=True)]) > 0,
            ends=_joined([path[-1:] for path in paths]),
            uses=np.bincount(_joined(paths), minlength=int(sum(branch.length for branch in ordered))),
            known=_known(examples),
            images=tuple(one.picture for one in images),
            image_tokens=sum(one.end - one.start for one in images),
            places=_places(ordered, examples),
        )

    def _add(self, branch: _Branch) -> int:
        self._branches.append(branch)
        return len(self._branches) - 1


def _grouped(branches: list[_Branch]) -> list[list[int]]:
    """Branches of one parent and like length together, so that padding them alike wastes little; parents come first."""
    order = sorted(range(len(branches)), key=lambda at: (branches[at].depth, branches[at].parent, branches[at].length))
    groups: list[list[int]] = []
    tokens = 0
    for at in order:
        branch = branches[at]
        tokens += branch.length
        alike = groups and branches[groups[-1][0]].parent == branch.parent
        if alike and branch.length * (len(groups[-1]) + 1) <= WASTE * tokens:
            groups[-1].append(at)
        else:
            groups.append([at])
            tokens = branch.length
    return groups


def _as_seen(examples: Sequence[Example]) -> list[NDArray[np.int32]]:
    """Rows by what decides whether beginnings are equal: tokens, and in the place of an image's its bytes' hash."""
    numbers: dict[bytes, int] = {}
    seen: list[NDArray[np.int32]] = []
    for example in examples:
        ids = np.asarray(example.ids)
        if example.images:
            ids = ids.copy()
            for one in example.images:
                ids[one.start : one.end] = -1 - numbers.setdefault(one.picture.sha256, len(numbers))
        seen.append(ids)
    return seen


def _images(branches: Sequence[_Branch], examples: Sequence[Example]) -> list[Placed]:
    """No branch begins or ends within an image, for rows that share a part of its tokens share all of them."""
    return [
        one
        for branch in branches
        for one in examples[branch.row].images
        if branch.depth <= one.start and one.end <= branch.end
    ]


def _places(branches: Sequence[_Branch], examples: Sequence[Example]) -> NDArray[np.int64] | None:
    if not any(one.grid[0] for example in examples for one in example.images):
        return None
    rows = [in_the_plane(len(example.ids), example.images) for example in examples]
    return np.concatenate([rows[branch.row][:, branch.depth : branch.end] for branch in branches], axis=1)


def _known(examples: Sequence[Example]) -> dict[str, NDArray[np.float32]]:
    """What is known of all of them."""
    each = [example.known or {} for example in examples]
    names = set(each[0]).intersection(*each[1:]) if each else set[str]()
    return {name: np.concatenate([known[name] for known in each]).astype(np.float32) for name in sorted(names)}


def _context(example: Example, places: NDArray[np.int64]) -> NDArray[np.bool_]:
    return np.zeros(len(places), dtype=np.bool_) if example.context is None else example.context[places]


def lineage(segments: list[Segment], index: int) -> list[int]:
    """The segments from a root down to `index`, both included."""
    path: list[int] = []
    while index >= 0:
        path.append(index)
        index = segments[index].parent
    return path[::-1]


def path_places(segments: list[Segment], index: int) -> NDArray[np.int64]:
    """Where the tokens that a segment's last token sees stand in the sequence, from the first on."""
    return _joined([_span(segments[part]) for part in lineage(segments, index)])


def _span(segment: Segment) -> NDArray[np.int64]:
    return np.arange(segment.start, segment.start + segment.length)


def _by_order(order: list[int], rows: Sequence[NDArray[np.int32]]) -> list[tuple[int, int]]:
    """Each row with the number of tokens it shares with the one before it; equal beginnings stand side by side."""
    shared = [0, *(_common(rows[one], rows[other]) for one, other in pairwise(order))]
    return list(zip(order, shared, strict=True))


def _common(one: NDArray[np.int32], other: NDArray[np.int32]) -> int:
    width = min(len(one), len(other))
    differs = np.flatnonzero(one[:width] != other[:width])
    return int(differs[0]) if len(differs) else width


def _joined(parts: Sequence[NDArray[np.generic]]) -> NDArray[np.int64]:
    return np.concatenate(parts).astype(np.int64) if len(parts) else np.zeros(0, dtype=np.int64)
