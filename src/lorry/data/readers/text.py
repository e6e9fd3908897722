"""Plain text: one document a file."""

from __future__ import annotations

from lorry.data.bad_rows import BadRowError, BadRows
from lorry.data.readers.blob import Blob, Rows
from lorry.data.rows import Origin

SUFFIXES = (".txt", ".md", ".rst")


def read(blob: Blob, bad: BadRows) -> Rows:
    """One row with the file's `text`; Windows line ends become plain ones."""
    origin = Origin(blob.name, 1)
    text = blob.text().replace("\r\n", "\n")
    if text.strip():
        yield {"text": text}, origin
    else:
        bad.add(origin, BadRowError("the file is empty", hint="take it out of the folder"))
