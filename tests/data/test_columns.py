"""What rows hold beside what is trained on, as it is kept for metrics."""

from __future__ import annotations

from pathlib import Path

from lorry.data import columns


def test_bytes_are_left_out_at_whatever_depth(tmp_path: Path):
    page = {"bytes": b"\x89PNG" * 1000, "path": "a.png"}
    found = columns.beside(
        {"prompt": "x", "raw": b"x", "page": page, "pages": [page, bytearray(b"x"), "b"], "level": 2}
    )
    assert found == {"page": {"path": "a.png"}, "pages": [{"path": "a.png"}, "b"], "level": 2}
    writer = columns.ColumnsWriter(tmp_path)
    writer.append(found)
    writer.close()
    assert columns.read(tmp_path, [0]) == {0: found}
