"""CSV (and TSV): a header, then one row a record; fields in quotes may hold commas, quotes and newlines."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from lorry.data.bad_rows import BadRowError, BadRows
from lorry.data.readers.blob import LONGEST_LINE, Blob, Rows, refuse_binary, unpacking
from lorry.data.rows import Origin
from lorry.errors import DataError


def read(blob: Blob, bad: BadRows) -> Rows:
    """Rows in order, each with the line on which it begins; every field is a string."""
    refuse_binary(blob)
    csv.field_size_limit(LONGEST_LINE)
    # What is not UTF-8 comes as surrogates, so that one stray byte costs one row.
    with unpacking(blob), blob.open() as raw, io.TextIOWrapper(raw, "utf-8-sig", "surrogateescape", newline="") as file:
        records = _records(csv.reader(file, delimiter="\t" if blob.kind == ".tsv" else ",", strict=True), blob.name)
        header = _header(next(records, None), blob.name)
        for line, record in records:
            origin = Origin(blob.name, line)
            try:
                yield _row(header, record), origin
            except BadRowError as error:
                bad.add(origin, error)


def _records(reader: Iterator[list[str]], name: str) -> Iterator[tuple[int, list[str]]]:
    """Records that are not empty, each with the line on which it begins."""
    while True:
        line = reader.line_num + 1  # type: ignore[attr-defined]  # csv's reader has it
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            # A quote that is not closed swallows all that follows, so there is no next row to go on with.
            hint = "close the quotes; a quote inside a field is written twice"
            raise DataError(f"not valid CSV: {error}", place=f"{name}:{line}", hint=hint) from error
        if record:
            yield line, record


def _header(first: tuple[int, list[str]] | None, name: str) -> list[str]:
    if first is None:
        raise DataError("the file is empty", place=name, hint="write a header and at least one row")
    header = first[1]
    place = f"{name}:{first[0]}"
    if len(header) == 1 and (";" in header[0] or "\t" in header[0]):
        raise DataError("the header is one field", place=place, hint="separate fields by commas, or name it `.tsv`")
    twice = sorted({field for field in header if header.count(field) > 1})
    if twice:
        raise DataError(f"the header names `{twice[0]}` twice", place=place, hint="give each column a name of its own")
    return header


def _row(header: list[str], record: list[str]) -> dict[str, str]:
    if len(record) != len(header):
        hint = "put fields that hold commas in double quotes"
        raise BadRowError(f"{len(record)} fields, and the header names {len(header)}", hint=hint)
    row = dict(zip(header, record, strict=True))
    for field, value in row.items():
        if not value.isascii():
            _refuse_stray_bytes(field, value)
    return row


def _refuse_stray_bytes(field: str, value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        byte = ord(value[error.start]) & 0xFF
        hint = "save it as UTF-8, e.g. `iconv -f WINDOWS-1252 -t UTF-8 IN > OUT`"
        message = f"not UTF-8: byte 0x{byte:02x}, as in Windows-1252 or Latin-1"
        raise BadRowError(message, field=field, hint=hint) from error
