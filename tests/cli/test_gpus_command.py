"""`lorry gpus`, as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lorry.cli.main import run
from lorry.plan.gpus import catalog

Capture = pytest.CaptureFixture[str]


def test_every_gpu_has_a_line_with_its_price_and_place(capsys: Capture):
    assert run(["gpus"]) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert len(lines) == len(catalog()) + 1
    (line,) = [line for line in lines if line.startswith("RTX 4090 ")]
    assert " ".join(line.split()) == "RTX 4090 23.5 165 1008 8.9 450 0.34 runpod community ~0.20-0.50 vast bid"
    assert "* fp16, no bf16" in captured.err


def test_named_gpus_show_all_their_prices_with_dates(capsys: Capture):
    assert run(["gpus", "h100"]) == 0
    out = capsys.readouterr().out
    assert out.count("H100 PCIe ") >= 2
    assert "aws on demand     p5.4xlarge" in out
    assert "2026-10-10" in out


def test_part_of_a_name_shows_all_that_hold_it(capsys: Capture):
    assert run(["gpus", "ada"]) == 0
    assert capsys.readouterr().out.count(" Ada ") >= 5


def test_unknown_gpu_is_an_error_with_the_nearest(capsys: Capture):
    assert run(["gpus", "RTX 490"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "hint: did you mean `RTX 4090`?" in captured.err


def test_json_holds_figures_sources_and_prices(capsys: Capture):
    assert run(["gpus", "T4", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    (card,) = told["gpus"]
    assert (card["name"], card["bf16"], card["rate"]) == ("T4", False, 65)
    assert card["source"]
    assert {"provider", "usd_per_hour", "as_of", "source", "interruptible"} <= set(card["prices"][0])


def test_own_prices_are_shown_and_named(lorry_home: Path, capsys: Capture):
    lorry_home.mkdir()
    text = "[{provider: office, as_of: 2026-11-20, machines: [{gpu: RTX 4090, usd: 0.01}]}]"
    (lorry_home / "prices.yaml").write_text(text, encoding="utf-8")
    assert run(["gpus", "4090"]) == 0
    captured = capsys.readouterr()
    assert "0.01  office" in captured.out
    assert str(lorry_home / "prices.yaml") in captured.err


def test_broken_own_prices_are_an_error(lorry_home: Path, capsys: Capture):
    lorry_home.mkdir()
    (lorry_home / "prices.yaml").write_text("[}]", encoding="utf-8")
    assert run(["gpus"]) == 2
    assert "prices.yaml:1: no valid YAML" in capsys.readouterr().err
