"""Parquet: read in batches, so that a file of any size takes little memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lorry.data.bad_rows import BadRowError, BadRows
from lorry.data.readers.blob import Blob, Rows
from lorry.data.rows import Origin
from lorry.errors import DataError

_BATCH = 512


def read(blob: Blob, bad: BadRows) -> Rows:
    """Rows in order, numbered from 1. Raises DataError if it is no Parquet file or is damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with blob.open() as file:
            number = 0
            for batch in pq.ParquetFile(file).iter_batches(batch_size=_BATCH, use_threads=False):
                for row in _rows(batch):
                    number += 1
                    origin = Origin(blob.name, number)
                    if isinstance(row, BadRowError):
                        bad.add(origin, row)
                    else:
                        yield row, origin
    except (pa.ArrowException, OSError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"not a whole Parquet file: {first}", place=blob.name, hint="write or download it again"
        ) from error


def _rows(batch: Any) -> Iterator[dict[str, Any] | BadRowError]:
    try:
        yield from batch.to_pylist()
    except UnicodeDecodeError:
        for index in range(batch.num_rows):
            try:
                yield batch.slice(index, 1).to_pylist()[0]
            except UnicodeDecodeError:
                yield BadRowError("a string is not UTF-8", hint="write it again as UTF-8, or as binary")
