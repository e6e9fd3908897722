"""What may be sent, found out before a machine is spoken to."""

from __future__ import annotations

import pytest

from lorry.compute.transport.outgoing import Outgoing
from lorry.errors import InputError


@pytest.mark.parametrize("name", ["../a", "/a", "a\\b", "a//b", "", "a\n", "C:a", "a" * 201, ".a.part"])
def test_name_that_leads_elsewhere_is_not_sent(tmp_path, name):
    (tmp_path / "a").write_bytes(b"x")
    with pytest.raises(InputError, match="cannot be sent"):
        Outgoing.of(name, tmp_path / "a")


def test_what_is_no_file_is_not_sent(tmp_path):
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(InputError, match="cannot be sent") as caught:
            Outgoing.of("a", path)
        assert caught.value.hint


def test_link_is_sent_as_the_file_it_leads_to(tmp_path):
    (tmp_path / "real").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("real")
    assert Outgoing.of("a", tmp_path / "link").size == 3
