"""Images from the net: within a deadline and a size, and never from this machine's own net for rows from elsewhere."""

from __future__ import annotations

import time

import pytest

from image_server import serving
from lorry.data.bad_rows import BadRowError
from lorry.data.images import fetching
from lorry.data.images.fetching import fetched


def refused(url: str, *, public_only: bool = False) -> str:
    with pytest.raises(BadRowError) as caught:
        fetched(url, "images[0]", public_only=public_only)
    assert caught.value.field == "images[0]"
    assert caught.value.hint
    return caught.value.message


def test_dripping_server_is_left_at_the_deadline(monkeypatch):
    monkeypatch.setattr(fetching, "_SECONDS", 0.5)
    with serving(pause=0.1) as (at, pages):
        pages["/slow.png"] = [b"x"] * 20
        began = time.monotonic()
        assert "longer than 0.5 s" in refused(f"{at}/slow.png")
        assert time.monotonic() - began < 1.8


def test_endless_image_is_left_at_the_greatest_size(monkeypatch):
    monkeypatch.setattr(fetching, "MOST_BYTES", 2**20)
    with serving() as (at, pages):
        pages["/large.png"] = [bytes(2**16)] * 1_000
        assert "more than 1 MiB" in refused(f"{at}/large.png")


def test_redirects_are_followed_and_circles_left():
    with serving() as (at, pages):
        pages |= {"/a.png": "/b.png", "/b.png": [b"image"], "/round": "/round"}
        assert fetched(f"{at}/a.png", "images[0]", public_only=False) == b"image"
        assert "leads on" in refused(f"{at}/round")


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "10.0.0.1", "169.254.169.254", "[::ffff:127.0.0.1]"]
)
def test_rows_from_elsewhere_reach_no_private_address(host):
    with serving() as (at, pages):
        pages["/x.png"] = [b"secret"]
        port = at.rpartition(":")[2]
        assert "no public address" in refused(f"http://{host}:{port}/x.png", public_only=True)


@pytest.mark.parametrize(
    "url", ["http://a..b/x.png", "http://[x/x.png", "https://", "http://127.0.0.1:1/x.png", "http://x:y/"]
)
def test_url_that_leads_nowhere_is_told(url):
    assert "cannot be fetched" in refused(url)
