"""Machines that send what they must not: by links on their disk, and by lying to the protocol in each way there is."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import struct
import sys
from pathlib import Path

import psutil
import pytest

import lying_machine
import sshd
from lorry.compute.outcomes import Outcome, OutcomeError
from lorry.compute.ssh import connect
from lorry.compute.transfer import Rules, fetch, listing, safe_to_load, send
from lorry.compute.transport import crew
from lorry.compute.transport.untrusted import Accepted
from lorry.errors import LorryError

pytestmark = sshd.needed()
RULES = Rules({r".*\.json": 1000}, files=100, total=1500)
BIG = Rules({r".*": 1 << 60}, total=1 << 60)
LIAR = Path(lying_machine.__file__)


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    with sshd.machine(tmp_path_factory.mktemp("hostile")) as (server, key):
        server.key = key
        yield server


@pytest.fixture
def there(tmp_path):
    (tmp_path / "there").mkdir()
    return tmp_path / "there"


@pytest.fixture
def into(tmp_path):
    """A folder to fetch into; nothing beside it may change."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "precious.json").write_text("mine")
    yield tmp_path / "into"
    assert [path.name for path in (tmp_path / "outside").iterdir()] == ["precious.json"]
    assert (tmp_path / "outside" / "precious.json").read_text() == "mine"


def with_link(machine, body, lie: str = ""):
    async def linked():
        link = await connect(machine.address, machine.key, machine.host_key)
        try:
            if lie:
                link.python = f"{sys.executable} {LIAR} {lie}"
            async with asyncio.timeout(30):
                return await body(link)
        finally:
            await link.close()

    return asyncio.run(linked())


def visible(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() or path.is_symlink())


def refused(machine, there, into, lie: str = "", rules: Rules = RULES) -> str:
    """What is said of it; nothing of it may be left."""
    before = visible(into)
    with pytest.raises(OutcomeError) as caught:
        with_link(machine, lambda link: fetch(link, str(there), rules, into), lie)
    assert caught.value.outcome is Outcome.UNTRUSTED
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 600
    assert visible(into) == before
    return caught.value.message


# Lists.


@pytest.mark.parametrize("lie", [*lying_machine.LISTS, "empty_batches", "endless_list"])
def test_list_that_lies_is_refused_before_anything_comes(machine, there, into, lie):
    refused(machine, there, into, lie)
    assert not into.exists()


@pytest.mark.parametrize("lie", ["deep", "no_object", "no_json", "huge_frame", "garbage", "beats"])
def test_what_is_no_answer_is_refused(machine, there, into, lie):
    refused(machine, there, into, lie)


@pytest.mark.parametrize("lie", ["endless_noise"])
def test_endless_greeting_is_refused(machine, there, into, lie):
    refused(machine, there, into, lie)


def test_short_greeting_is_passed_over(machine, there, into):
    (there / "a.json").write_text("{}")
    assert with_link(machine, lambda link: fetch(link, str(there), RULES, into), "noise") == [into / "a.json"]


@pytest.mark.parametrize("lie", ["web_server", "other_version"])
def test_other_program_is_told_from_a_machine(machine, there, into, lie):
    with pytest.raises(OutcomeError) as caught:
        with_link(machine, lambda link: fetch(link, str(there), RULES, into), lie)
    assert caught.value.outcome in (Outcome.SETUP_FAILED, Outcome.SSH_DOWN)


def test_endless_complaints_take_no_memory_and_no_time(machine, there, into, monkeypatch):
    monkeypatch.setattr(crew, "SILENCE", 1.0)
    before = psutil.Process().memory_info().rss
    with pytest.raises(OutcomeError):
        with_link(machine, lambda link: fetch(link, str(there), RULES, into), "endless_stderr")
    assert psutil.Process().memory_info().rss - before < 50e6


def test_error_of_the_machine_cannot_drive_a_terminal(machine, there, into):
    with pytest.raises(OutcomeError) as caught:
        with_link(machine, lambda link: fetch(link, str(there), RULES, into), "escape_in_error")
    assert caught.value.message.isprintable()
    assert "such" in caught.value.message


# Contents.


@pytest.mark.parametrize(
    "lie",
    [
        *("wrong_hash", "no_hash", "more", "endless", "less", "nothing", "half_frames"),
        *("offset_elsewhere", "offset_text", "always_changed"),
    ],
)
def test_file_that_is_not_what_was_announced_is_refused(machine, there, into, lie):
    (there / "a.json").write_text("x" * 100)
    refused(machine, there, into, lie)
    assert list(into.rglob("*.part")) == [] if into.exists() else True


@pytest.mark.parametrize("lie", ["have_short", "have_text"])
def test_comparison_that_lies_is_refused(machine, there, into, lie):
    (there / "a.json").write_text("abc")
    into.mkdir()
    (into / "a.json").write_text("xyz")
    refused(machine, there, into, lie)


def test_file_that_ends_in_its_middle_stays_hidden(machine, there, into):
    (there / "a.json").write_text("x" * 100)
    with pytest.raises(OutcomeError) as caught:
        with_link(machine, lambda link: fetch(link, str(there), RULES, into), "dies")
    assert caught.value.outcome is Outcome.SSH_DOWN
    assert not (into / "a.json").exists()


def test_machine_that_falls_silent_is_given_up(machine, there, into, monkeypatch):
    monkeypatch.setattr(crew, "SILENCE", 0.5)
    (there / "a.json").write_text("x" * 100)
    with pytest.raises(OutcomeError, match="silent") as caught:
        with_link(machine, lambda link: fetch(link, str(there), RULES, into), "never_there")
    assert caught.value.outcome is Outcome.SSH_DOWN


@pytest.mark.parametrize("lie", ["have_short", "put_nonsense", "part_endless"])
def test_answers_to_what_is_sent_are_not_believed_either(machine, there, tmp_path, lie):
    (tmp_path / "a").write_text("abc")
    (there / ".a.part").write_text("a")
    with pytest.raises(OutcomeError) as caught:
        with_link(machine, lambda link: send(link, {"a": tmp_path / "a", "b": tmp_path / "a"}, str(there)), lie)
    assert caught.value.outcome is Outcome.UNTRUSTED


def test_file_that_never_arrives_whole_is_given_up(machine, there, tmp_path):
    (tmp_path / "a").write_text("abc")
    with pytest.raises(OutcomeError, match="time and again"):
        with_link(machine, lambda link: send(link, {"a": tmp_path / "a"}, str(there)), "always_bad")


# Disks.


def test_link_is_refused(machine, there, into):
    (there / "a.json").symlink_to("/etc/passwd")
    assert "a.json" in refused(machine, there, into)


def test_folder_that_is_a_link_is_refused(machine, there, into, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.json").write_text("{}")
    (there / "adapter").symlink_to(tmp_path / "elsewhere")
    assert "adapter/a.json" in refused(machine, there, into)


def test_pipe_is_refused_and_not_waited_for(machine, there, into):
    os.mkfifo(there / "a.json")
    assert "device" in refused(machine, there, into)


def test_file_of_ten_gigabytes_is_refused_before_a_byte_comes(machine, there, into):
    with (there / "a.json").open("wb") as file:
        file.truncate(10_000_000_000)
    assert "10,000,000,000" in refused(machine, there, into)
    assert not into.exists()


def test_more_than_this_disk_holds_is_told_before_a_byte_comes(machine, there, into):
    with (there / "a.json").open("wb") as file:
        file.truncate(1 << 43)
    with pytest.raises(LorryError, match="are free") as caught:
        with_link(machine, lambda link: fetch(link, str(there), BIG, into))
    assert caught.value.hint
    assert not into.exists()


def test_what_nobody_asked_for_is_not_even_told(machine, there, into):
    (there / "a.json").write_text("{}")
    (there / "virus.sh").write_text("x")
    (there / "best").symlink_to("a.json")
    assert with_link(machine, lambda link: fetch(link, str(there), RULES, into)) == [into / "a.json"]
    assert visible(into) == ["a.json"]


# What lies here already.


def test_link_in_the_way_is_not_written_through(machine, there, into, tmp_path):
    (there / "sub").mkdir()
    (there / "sub" / "precious.json").write_text("evil")
    into.mkdir()
    (into / "sub").symlink_to(tmp_path / "outside")
    assert "is a link" in refused(machine, there, into)


@pytest.mark.parametrize("name", ["precious.json", ".precious.json.part"])
@pytest.mark.parametrize("kind", ["symlink_to", "hardlink_to"])
def test_link_in_place_of_a_file_is_replaced(machine, there, into, tmp_path, name, kind):
    (there / "precious.json").write_text("evil")
    into.mkdir()
    getattr(into / name, kind)(tmp_path / "outside" / "precious.json")
    with_link(machine, lambda link: fetch(link, str(there), RULES, into))
    assert (into / "precious.json").read_text() == "evil"
    assert not (into / "precious.json").is_symlink()


# What may be loaded.


def safetensors(path: Path, header: object, data: bytes = b"") -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def tensor(start: int, stop: int, shape=(1,), dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, stop]}


def test_real_safetensors_and_json_may_be_loaded(tmp_path):
    import numpy as np
    from safetensors.numpy import save_file

    tensors = {"a": np.zeros((3, 4), np.float32), "b": np.ones(5, np.int8), "none": np.zeros((0, 2), np.float16)}
    save_file(tensors, tmp_path / "a.safetensors", metadata={"format": "pt"})
    (tmp_path / "a.json").write_text('{"a": 1}')
    safe_to_load(tmp_path / "a.safetensors")
    safe_to_load(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("header", "data"),
    [
        ({"a": tensor(0, 8)}, b"x" * 8),  # more bytes than its shape
        ({"a": tensor(0, 4), "b": tensor(2, 6)}, b"x" * 6),
        ({"a": tensor(0, 4), "b": tensor(6, 10)}, b"x" * 10),
        ({"a": tensor(0, 4)}, b"x" * 5),
        ({"a": tensor(0, 4)}, b"x" * 3),
        ({"a": tensor(4, 0)}, b"x" * 4),
        ({"a": tensor(-4, 0)}, b""),
        ({"a": tensor(0, 4, dtype="object")}, b"x" * 4),
        ({"a": tensor(0, 4, shape=(1,) * 100)}, b"x" * 4),
        ({"a": tensor(0, 4, shape=(True,))}, b"x" * 4),
        ({"a": tensor(0, 4, shape=(10**30, 0))}, b"x" * 4),
        ({"a": {}}, b""),
        ({"a": [1]}, b""),
        ([], b""),
        (b"{" * 100_000, b""),
        (b"[" * 100_000, b""),
        (b"\xff\xff", b""),
    ],
)
def test_safetensors_that_are_none_are_refused(tmp_path, header, data):
    with pytest.raises(OutcomeError) as caught:
        safe_to_load(safetensors(tmp_path / "a.safetensors", header, data))
    assert caught.value.outcome is Outcome.UNTRUSTED


def test_what_runs_code_is_refused_whatever_it_is_called(tmp_path):
    for name in ("a.safetensors", "a.json", "a.bin", "a.pt", "a.py", "a"):
        (tmp_path / name).write_bytes(pickle.dumps({"a": [1] * 1000}))
        with pytest.raises(OutcomeError):
            safe_to_load(tmp_path / name)


def test_header_longer_than_the_file_is_refused(tmp_path):
    for data in (b"", b"x", struct.pack("<Q", 1 << 60) + b"{}", struct.pack("<Q", 1 << 63)):
        (tmp_path / "a.safetensors").write_bytes(data)
        with pytest.raises(OutcomeError):
            safe_to_load(tmp_path / "a.safetensors")


def test_link_to_what_may_be_loaded_is_refused(tmp_path):
    (tmp_path / "real.json").write_text("{}")
    (tmp_path / "a.json").symlink_to("real.json")
    with pytest.raises(OutcomeError, match="no file"):
        safe_to_load(tmp_path / "a.json")


def test_first_rule_that_a_name_matches_counts():
    accepted = Accepted(Rules({r"small/.*": 10, r".*": 100}))
    accepted.add(lying_machine.entry("large", size=100))
    with pytest.raises(OutcomeError, match="10 are the most"):
        accepted.add(lying_machine.entry("small/a", size=11))


def test_listing_tells_what_is_there(machine, there):
    (there / "a.json").write_text("abc")
    (found,) = with_link(machine, lambda link: listing(link, str(there), RULES))
    assert (found.name, found.size, found.sha256) == ("a.json", 3, None)
    assert abs(found.mtime - (there / "a.json").stat().st_mtime) < 1e-3
