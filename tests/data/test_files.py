from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lorry.data import files
from lorry.data.bad_rows import BadRows
from lorry.errors import DataError

CHAT = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}


def read(base: Path, *names: str) -> tuple[list[dict[str, Any]], list[str]]:
    bad = BadRows()
    rows = [raw for raw, _ in files.read(files.find(list(names), base), bad)]
    return rows, bad.lines()


def written(base: Path, name: str, content: str | bytes) -> str:
    file = base / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return name


def refused(base: Path, name: str) -> DataError:
    with pytest.raises(DataError) as caught:
        read(base, name)
    assert caught.value.hint
    assert caught.value.place
    return caught.value


# --- JSONL


def test_json_lines_keep_their_numbers_past_empty_lines(tmp_path: Path):
    name = written(tmp_path, "a.jsonl", '{"a": 1}\n\n   \r\n{"a": 2}')
    origins = [str(origin) for _, origin in files.read(files.find(name, tmp_path), BadRows())]
    assert origins == ["a.jsonl:1", "a.jsonl:4"]


def test_byte_order_mark_is_accepted(tmp_path: Path):
    for name, content in (("a.jsonl", '{"a": "b"}'), ("a.json", '[{"a": "b"}]'), ("a.csv", "a\nb\n")):
        assert read(tmp_path, written(tmp_path, name, b"\xef\xbb\xbf" + content.encode())) == ([{"a": "b"}], [])


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b'{"a": 1', "column 8"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b'{"a": -Infinity}', "-Infinity is not JSON"),
        (b'{"a": 1e999}', "too large"),
        (b'{"a": 1, "a": 2}', "a: the key is given twice"),
        (b"[1]", "an array, not an object"),
        (b"null", "null, not an object"),
        (b'"text"', "a string, not an object"),
        (b"{'a': 1}", "double quotes"),
        (b'{"a": "\\ud83d"}', "half of a surrogate pair"),
        (b'{"a": "caf\xe9"}', "byte 0xe9 at offset 20"),
        (b'{"a": ' + b"[" * 200_000, "nested too deeply"),
        (b'{"a": ' + b"9" * 5000 + b"}", "fewer digits"),
    ],
)
def test_bad_line_is_reported_and_the_others_are_read(tmp_path: Path, line: bytes, says: str):
    rows, bad = read(tmp_path, written(tmp_path, "a.jsonl", b'{"a": 0} \n' + line + b'\n{"a": 3}\n'))
    assert [row["a"] for row in rows] == [0, 3]
    assert bad[0].startswith("a.jsonl:2: ")
    assert says in bad[0]


def test_zero_byte_far_inside_costs_one_row(tmp_path: Path):
    rows, bad = read(tmp_path, written(tmp_path, "a.jsonl", b'{"a": 0} \n' * 900 + b'{"a": "\x00"}\n{"a": 3}'))
    assert len(rows) == 901
    assert "Invalid control character" in bad[0]


def test_pair_of_surrogates_is_one_character(tmp_path: Path):
    assert read(tmp_path, written(tmp_path, "a.jsonl", r'{"a": "\ud83d\ude00"}')) == ([{"a": "😀"}], [])


def test_line_without_end_is_refused_and_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("lorry.data.readers.blob.LONGEST_LINE", 1000)
    rows, bad = read(tmp_path, written(tmp_path, "a.jsonl", '{"a": 1}\n{"a": "' + "x" * 5000))
    assert len(rows) == 1
    assert "longer than" in bad[0]


@pytest.mark.parametrize(
    ("content", "looks"),
    [
        ('{"a": 1}\n'.encode("utf-16"), "UTF-16"),
        ('{"a": 1}\n'.encode("utf-16-le"), "UTF-16 without"),
        ('{"a": 1}\n'.encode("utf-16-be"), "UTF-16 without"),
        ('{"a": 1}\n'.encode("utf-32"), "UTF-32"),
        (gzip.compress(b'{"a": 1}\n', mtime=0), "gzip"),
        (b"PK\x03\x04....", "zip"),
        (b"PAR1....", "Parquet"),
        (b"%PDF-1.7 ...", "PDF"),
        (b"\x89PNG\r\n\x1a\n", "image"),
        (b"abc\x00def" + b"x" * 100, "binary file (NUL byte at offset 3)"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\n", "Git LFS"),
    ],
)
@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "txt"])
def test_file_that_is_no_text_is_refused_by_what_it_is(tmp_path: Path, content: bytes, looks: str, suffix: str):
    assert looks in refused(tmp_path, written(tmp_path, f"a.{suffix}", content)).message


def test_packed_lines_are_read(tmp_path: Path):
    assert read(tmp_path, written(tmp_path, "a.jsonl.gz", gzip.compress(b'{"a": 1}\n', mtime=0))) == ([{"a": 1}], [])


def test_damaged_archive_is_refused(tmp_path: Path):
    name = written(tmp_path, "a.jsonl.gz", gzip.compress(os.urandom(9000))[:4000])
    assert "damaged" in refused(tmp_path, name).message


# --- JSON


@pytest.mark.parametrize(
    "content",
    [
        '[{"a": 1}, {"a": 2}]',
        '{"data": [{"a": 1}, {"a": 2}]}',
        '{"version": "2", "rows": [{"a": 1}, {"a": 2}]}',
        '{"a": 1}\n{"a": 2}\n',
    ],
)
def test_rows_are_found_in_each_usual_shape_of_json(tmp_path: Path, content: str):
    assert read(tmp_path, written(tmp_path, "a.json", content)) == ([{"a": 1}, {"a": 2}], [])


def test_one_conversation_is_one_row(tmp_path: Path):
    assert read(tmp_path, written(tmp_path, "a.json", json.dumps(CHAT)))[0] == [CHAT]


def test_value_that_is_no_object_is_a_bad_row(tmp_path: Path):
    rows, bad = read(tmp_path, written(tmp_path, "a.json", '[{"a": 1}, 2, null]'))
    assert (len(rows), [line.split(": ")[0] for line in bad]) == (1, ["a.json:2", "a.json:3"])


@pytest.mark.parametrize("content", ["", "  \n", "[", '[{"a": 1},', "3", '"a"', "{}", '{"data": []}', "nope"])
def test_json_without_rows_is_refused(tmp_path: Path, content: str):
    refused(tmp_path, written(tmp_path, "a.json", content))


def test_two_lists_of_rows_are_not_guessed_between(tmp_path: Path):
    content = '{"train": [{"a": 1}], "test": [{"a": 1}]}'
    assert "train, test" in refused(tmp_path, written(tmp_path, "a.json", content)).message


def test_json_in_latin_1_names_line_and_offset(tmp_path: Path):
    error = refused(tmp_path, written(tmp_path, "a.json", '[{"a": 1},\n{"a": "é"}]'.encode("latin-1")))
    assert error.place == "a.json:2"
    assert "offset 18" in error.message


# --- CSV


def test_fields_in_quotes_keep_commas_quotes_and_newlines(tmp_path: Path):
    name = written(tmp_path, "a.csv", 'a,b\r\n"x, ""y""\r\nz",2\r\n\r\n3,"é 日本"\r\n')
    bad = BadRows()
    found = list(files.read(files.find(name, tmp_path), bad))
    assert [raw for raw, _ in found] == [{"a": 'x, "y"\r\nz', "b": "2"}, {"a": "3", "b": "é 日本"}]
    assert [origin.line for _, origin in found] == [2, 5]


def test_record_of_another_length_is_a_bad_row(tmp_path: Path):
    rows, bad = read(tmp_path, written(tmp_path, "a.csv", "a,b\n1,2\n3\n4,5,6\n7,8\n"))
    assert [row["a"] for row in rows] == ["1", "7"]
    assert [line[:9] for line in bad] == ["a.csv:3: ", "a.csv:4: "]


def test_stray_byte_costs_one_row(tmp_path: Path):
    rows, bad = read(tmp_path, written(tmp_path, "a.csv", b"a,b\n1,caf\xe9\n2,x\n"))
    assert rows == [{"a": "2", "b": "x"}]
    assert "a.csv:2: b: not UTF-8: byte 0xe9" in bad[0]


@pytest.mark.parametrize("content", ["", "a;b\n1;2\n", "a,a\n1,2\n", 'a,b\n1,"2\n3,4\n', 'a\n"x"y\n'])
def test_csv_that_cannot_be_understood_is_refused(tmp_path: Path, content: str):
    refused(tmp_path, written(tmp_path, "a.csv", content))


def test_long_field_is_read(tmp_path: Path):
    assert len(read(tmp_path, written(tmp_path, "a.csv", f"a\n{'x' * 500_000}\n"))[0][0]["a"]) == 500_000


def test_tabs_separate_fields_of_tsv(tmp_path: Path):
    assert read(tmp_path, written(tmp_path, "a.tsv", "a\tb\n1\t2\n")) == ([{"a": "1", "b": "2"}], [])


# --- Parquet


def test_parquet_rows_are_read_in_order(tmp_path: Path):
    pq.write_table(
        pa.Table.from_pylist([{**CHAT, "n": n} for n in range(1500)]), tmp_path / "a.parquet", row_group_size=400
    )
    rows, bad = read(tmp_path, "a.parquet")
    assert [row["n"] for row in rows] == list(range(1500))
    assert rows[0]["messages"] == CHAT["messages"]
    assert bad == []


def test_cut_parquet_is_refused(tmp_path: Path):
    pq.write_table(pa.table({"a": list(range(100))}), tmp_path / "whole.parquet")
    name = written(tmp_path, "a.parquet", (tmp_path / "whole.parquet").read_bytes()[:-20])
    assert "not a whole Parquet file" in refused(tmp_path, name).message


def test_parquet_string_that_is_no_utf8_is_a_bad_row(tmp_path: Path):
    broken = pa.array([b"a", b"caf\xe9", b"c"]).view(pa.string())
    pq.write_table(pa.table({"text": broken}), tmp_path / "a.parquet")
    rows, bad = read(tmp_path, "a.parquet")
    assert [row["text"] for row in rows] == ["a", "c"]
    assert bad[0].startswith("a.parquet:2: ")


# --- text and folders


def test_folder_gives_one_row_a_file_in_order(tmp_path: Path):
    for name, content in (
        ("b.txt", "two"),
        ("a.md", "one\r\n"),
        ("sub/c.rst", "three"),
        (".hidden.txt", "no"),
        ("d.png", "no"),
    ):
        written(tmp_path, f"docs/{name}", content)
    assert [row["text"] for row in read(tmp_path, "docs")[0]] == ["one\n", "two", "three"]


def test_empty_text_file_is_a_bad_row(tmp_path: Path):
    assert "is empty" in read(tmp_path, written(tmp_path, "a.txt", " \n"))[1][0]


def test_folder_without_text_names_what_it_holds(tmp_path: Path):
    written(tmp_path, "docs/a.jsonl", "{}")
    assert "docs/a.jsonl" in refused(tmp_path, "docs").hint
    (tmp_path / "empty").mkdir()
    refused(tmp_path, "empty")


# --- names


def test_missing_file_suggests_a_near_name(tmp_path: Path):
    written(tmp_path, "train.jsonl", "{}")
    assert "`train.jsonl`" in refused(tmp_path, "trian.jsonl").hint


def test_missing_folder_is_named(tmp_path: Path):
    assert "there is no folder" in refused(tmp_path, "no/where/a.jsonl").hint


@pytest.mark.parametrize("name", ["a.xlsx", "a", "a.jsonl.zst"])
def test_unknown_kind_lists_the_known_ones(tmp_path: Path, name: str):
    assert ".jsonl" in refused(tmp_path, written(tmp_path, name, "{}")).hint


def test_several_files_and_patterns_are_read_in_order(tmp_path: Path):
    for name in ("b.jsonl", "a.jsonl", "c.json"):
        written(tmp_path, name, f'[{{"a": "{name}"}}]' if name.endswith("json") else f'{{"a": "{name}"}}')
    assert [row["a"] for row in read(tmp_path, "c.json", "*.jsonl")[0]] == ["c.json", "a.jsonl", "b.jsonl"]
    refused(tmp_path, "*.parquet")


def test_digest_is_that_of_the_bytes(tmp_path: Path):
    import hashlib

    (blob,) = files.find(written(tmp_path, "a.jsonl", "{}"), tmp_path)
    assert blob.digest() == hashlib.sha256(b"{}").hexdigest()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_file_without_permission_is_refused(tmp_path: Path):
    name = written(tmp_path, "a.jsonl", "{}")
    (tmp_path / name).chmod(0)
    assert "cannot be opened" in refused(tmp_path, name).message


@pytest.mark.parametrize("name", ["a" * 5000, "rows/**.jsonl", "~nobody-of-that-name/*.jsonl"])
def test_name_that_no_file_has_is_refused(tmp_path: Path, name: str):
    refused(tmp_path, name)
