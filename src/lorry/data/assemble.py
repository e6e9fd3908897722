"""Splits: training, evaluation and test rows are staged, held back, drawn, counted, and what was resolved is said."""

from __future__ import annotations

import shutil
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from lorry.data import said
from lorry.data.alike.repeats import near_repeats
from lorry.data.alike.tasks import told_by
from lorry.data.bad_rows import BadRows
from lorry.data.detect import Layout
from lorry.data.divide import drawn, held_back, wanted
from lorry.data.facts import DataFacts, Said, SplitFacts, split_facts
from lorry.data.images.taking import Taking
from lorry.data.readers.blob import Blob
from lorry.data.render import Renderer
from lorry.data.staging import Staged, Stager, take
from lorry.errors import DataError
from lorry.recipe.schema import DataSettings
from lorry.trainer.methods._base import Method

Rows = NDArray[np.int64]


class Assembler:
    """Builds the splits of one recipe, in the folder where its images are put."""

    def __init__(
        self,
        data: DataSettings,
        method: Method,
        renderer: Renderer,
        taking: Taking,
        *,
        all_columns: bool = False,
    ) -> None:
        self._data = data
        self._taking = taking
        self._method = method
        self._renderer = renderer
        self._folder = taking.album.folder
        self._all_columns = all_columns
        self.notes: list[str] = []
        self.said: list[Said] = []
        self.near_duplicates = 0

    def assemble(self, blobs: Mapping[str, list[Blob]], digests: dict[str, str]) -> DataFacts:
        """Stages all files, then takes the splits. Raises DataError for bad rows unless they are to be skipped."""
        held_back = "eval" not in blobs and self._data.eval_split > 0 and self._data.eval_subset != 0
        staged = {
            name: self._staged(name, found, keeps_columns=name != "train" or held_back or self._all_columns)
            for name, found in blobs.items()
        }
        bad, unseen = self._judged(staged)
        images = self._taking.album.close()
        splits = self._split(staged)
        for each in staged.values():
            shutil.rmtree(each.folder, ignore_errors=True)
        dropped = sum(each.dropped for each in staged.values())
        self.said += said.leaks(staged) + said.rendering(self._renderer.tally, self._data)
        self.said += said.cut(splits, self._data.max_length)
        if dropped:
            why, _ = self._method.too_long(self._data.max_length)
            self.said.append(said.left_out(dropped, why))
        if long := sum(each.long for each in staged.values()):
            self.notes.append(said.long_rows(long, self._data.max_length))
        return DataFacts(
            train=splits["train"],
            eval=splits.get("eval"),
            test=splits.get("test"),
            files=digests,
            bad_rows=bad.count,
            bad_row_lines=bad.lines(),
            dropped_rows=dropped,
            near_duplicates=self.near_duplicates,
            notes=self.notes,
            said=self.said,
            images=images,
            bad_images=unseen.count,
        )

    def _staged(self, name: str, blobs: list[Blob], *, keeps_columns: bool) -> Staged:
        sees = self._renderer.vision is not None
        layout = Layout(self._data.format, self._method.accepts, type(self._method).name, reads_images=sees)
        skips_long = self._data.on_long_row == "skip"
        stager = Stager(self._method, self._renderer, self._taking, keeps_columns=keeps_columns, skips_long=skips_long)
        staged = stager.stage(blobs, layout, self._folder / f"all-{name}")
        if layout.unread:
            self.notes.append(said.unread(name, layout.unread))
        return staged

    def _judged(self, staged: Mapping[str, Staged]) -> tuple[BadRows, BadRows]:
        bad, unseen = BadRows(), BadRows()
        for each in staged.values():
            bad.extend(each.bad)
            unseen.extend(each.unseen)
        read = sum(each.read for each in staged.values())
        if bad.count and self._data.on_bad_row == "fail":
            raise bad.error(read)
        for name, each in staged.items():
            if not len(each.keys):
                raise self._empty(name, each)
        if bad.count:
            listed = "\n  ".join(bad.lines())
            text = f"{bad.count:,} of {read:,} rows cannot be used and are skipped\n  {listed}"
            self.said.append(Said("data.bad-row", text, str(bad.first[0].origin)))
        if unseen.count:
            self.said.append(said.unseen(unseen, read))
        return bad, unseen

    def _empty(self, name: str, staged: Staged) -> DataError:
        place = f"data.{name}"
        if staged.long and not staged.dropped:
            hint = "raise `data.max_length`, or cut them: `data.on_long_row: cut`"
            raise DataError(f"every row is longer than max_length {self._data.max_length:,}", place=place, hint=hint)
        if staged.dropped:
            why, hint = self._method.too_long(self._data.max_length)
            return DataError(f"no row can be trained on: {why}", place=place, hint=hint)
        if staged.bad.count:
            return staged.bad.error(staged.read)
        if staged.unseen.count:
            return staged.unseen.error(staged.read)
        return DataError("there are no rows", place=place, hint="the file is empty, or holds empty lines only")

    # --- which rows go where

    def _split(self, staged: Mapping[str, Staged]) -> dict[str, SplitFacts]:
        """Takes every split from what was staged."""
        train = staged["train"]
        everything = self._without_near_duplicates(train)
        keys = train.keys[everything]
        back = self._held_back(keys) if "eval" not in staged else np.zeros(len(keys), dtype=np.bool_)
        splits: dict[str, SplitFacts] = {}
        if back.any():
            splits["eval"] = self._taken("eval", train, self._subset("eval", everything[back]))
        elif "eval" in staged and self._data.eval_subset != 0:
            splits["eval"] = self._taken("eval", staged["eval"], self._subset("eval", _all(staged["eval"])))
        if "test" in staged:
            splits["test"] = self._taken("test", staged["test"], _all(staged["test"]))
        splits["train"] = self._taken("train", train, self._subset("train", everything[~back]))
        return splits

    def _without_near_duplicates(self, train: Staged) -> Rows:
        """All rows of the training files, or those that do not nearly repeat an earlier one."""
        asked = self._data.drop_near_duplicates
        if asked is None:
            return _all(train)
        repeated = near_repeats(told_by(train, self._renderer.tokenizer), asked)
        self.near_duplicates = len(repeated)
        self.notes.append(said.near_duplicates(len(repeated), len(train.keys), asked))
        return np.setdiff1d(_all(train), np.array([*repeated], dtype=np.int64))

    def _held_back(self, keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Training rows to evaluate on."""
        rows, size = len(keys), self._data.eval_split
        if not size or self._data.eval_subset == 0:
            return np.zeros(rows, dtype=np.bool_)
        number = wanted(size, rows)
        back = held_back(keys, number, self._data.split_seed)
        self.notes += said.split(rows, int(back.sum()), self._data)
        return back

    def _subset(self, name: str, rows: Rows) -> Rows:
        """The rows that a subset draws, or all of them."""
        size: int | None = getattr(self._data, f"{name}_subset")
        if size is None or size == -1:
            return rows
        if size == 0:
            hint = "leave it out, or set it to -1, for all rows"
            raise DataError("leaves no rows to train on", place=f"data.{name}_subset", hint=hint)
        self.notes.append(said.subset(name, size, len(rows)))
        return rows[drawn(len(rows), size, self._data.split_seed)] if size < len(rows) else rows

    def _taken(self, name: str, staged: Staged, rows: Rows) -> SplitFacts:
        whole = len(rows) == len(staged.keys)
        with_columns = name != "train" or self._all_columns
        examples = take(staged, None if whole else rows, self._folder / name, with_columns=with_columns)
        return split_facts(examples, len(rows), int(staged.cut[rows].sum()), staged.format)


def _all(staged: Staged) -> Rows:
    return np.arange(len(staged.keys), dtype=np.int64)
