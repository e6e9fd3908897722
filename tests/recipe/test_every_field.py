"""Every field of a recipe is read by something: each is changed, and what happens changes with it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import dynamic_module_utils

from lorry.recipe.schema import Recipe
from probes import compute, data, model, track, train
from probes.probe import Probe, leaves
from probes.workshop import furnish

PROBES = [*data.PROBES, *model.PROBES, *train.PROBES, *track.PROBES, *compute.PROBES]


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return furnish(tmp_path_factory.mktemp("workshop"))


@pytest.fixture(autouse=True)
def at_work(workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Inside the workshop; what a run switches in this process is switched back."""
    monkeypatch.chdir(workshop)
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    backends = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [backend.allow_tf32 for backend in backends]
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for backend, was in zip(backends, before, strict=True):
        backend.allow_tf32 = was
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_every_field_has_a_probe():
    fields = set(leaves(Recipe))
    assert "train.learning_rate" in fields
    assert fields - {probe.field for probe in PROBES} == set()


@pytest.mark.parametrize("probe", PROBES, ids=str)
def test_changed_field_changes_what_happens(probe: Probe):
    first, second = (probe.seen(value) for value in probe.values)
    assert first != second
    if probe.gives:
        assert (first, second) == probe.gives
    else:
        assert probe.seen(probe.values[0]) == first, "what differs without a change shows nothing"
