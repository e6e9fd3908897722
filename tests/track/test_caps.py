"""`caps.yaml`: strict, with place and hint."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lorry.errors import InputError, LorryError
from lorry.track.caps import Cap, Caps, caps, renting, write


def test_no_file_caps_nothing(tmp_path: Path):
    assert caps(tmp_path) == Caps()


def test_what_was_written_is_read_again(tmp_path: Path):
    given = Caps(Cap(20.0), Cap(None, 300.0), {"shed": Cap(100.0, 5.0), "barn": Cap(0.0)})
    write(tmp_path / "new", given)
    assert caps(tmp_path / "new") == given
    write(tmp_path / "new", Caps())
    assert caps(tmp_path / "new") == Caps()


def test_number_alone_is_dollars(tmp_path: Path):
    (tmp_path / "caps.yaml").write_text("day: 20\naccounts: {shed: 7.5}\n")
    assert caps(tmp_path) == Caps(Cap(20.0), accounts={"shed": Cap(7.5)})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("dya: 20", "dya: unknown key"),
        ("day: -1", "day.usd: must not be negative"),
        ("day: .nan", "day.usd: must"),
        ("day: true", "day: must be a mapping"),
        ("day: '20'", "day: must be a mapping"),
        ("month: {usd: many}", "month.usd: must be a number"),
        ("accounts: [shed]", "accounts: must be a mapping"),
        ("day: 20\nday: 90", "`day` stands there twice"),
        ("accounts:\n  a: 1\n  a: 2", "`a` stands there twice"),
        ("day: [", "no valid YAML"),
        ("", "must be a mapping"),
        ("20", "must be a mapping"),
        ("[" * 5000, "no valid YAML"),
        ("x: " + "y" * 200_000, "too large"),
        ("a: &a [*a]", "unknown key"),
        ("!!python/object/apply:os.system ['true']", "no valid YAML"),
    ],
)
def test_wrong_file_is_refused_with_place_and_hint(tmp_path: Path, text, told):
    (tmp_path / "caps.yaml").write_text(text)
    with pytest.raises(InputError, match=re.escape(told)) as caught:
        caps(tmp_path)
    assert str(tmp_path / "caps.yaml") in caught.value.place
    assert "lorry costs cap" in caught.value.hint


def test_binary_file_and_folder_are_refused(tmp_path: Path):
    (tmp_path / "caps.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read"):
        caps(tmp_path)
    (tmp_path / "caps.yaml").unlink()
    (tmp_path / "caps.yaml").mkdir()
    with pytest.raises(InputError, match="cannot be read"):
        caps(tmp_path)


def test_lock_keeps_a_second_out_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("lorry.track.caps._WAIT", 0.0)
    with renting(tmp_path), pytest.raises(LorryError, match="another lorry has been about to rent"), renting(tmp_path):
        pass
    with renting(tmp_path):
        pass
