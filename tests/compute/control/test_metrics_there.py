"""A run on another machine, scored by a function of one's own and held to gates: files are found there, misses told at home."""

from __future__ import annotations

from pathlib import Path

import pytest

import borrowed
import sshd
import tiny_runs
from borrowed import Controller, carry_out
from lorry import job
from lorry.compute.outcomes import Outcome
from lorry.errors import GateMissedError
from lorry.evaluate.opening import find

pytestmark = sshd.needed()


def test_own_metric_scores_there_and_a_missed_gate_is_told_at_home(tmp_path: Path):
    evaluate = {
        "metrics": [
            f"{tmp_path / 'metrics.py'}:vowels",
            {"name": "json_valid", "json_schema": str(tmp_path / "schema.json")},
        ],
        "gates": {"vowels": "<= 1", "json_valid": ">= 95 %"},
    }
    with borrowed.host(tmp_path, scripted=False) as machine:
        recipe = tiny_runs.recipe(tmp_path, train={"steps": 1}, evaluate=evaluate)
        (tmp_path / "metrics.py").write_text("from letters import share as vowels\n", encoding="utf-8")
        (tmp_path / "letters.py").write_text("def share(completion):\n    return 0.5\n", encoding="utf-8")
        (tmp_path / "schema.json").write_text('{"type": "object"}', encoding="utf-8")
        run = tiny_runs.begin({**recipe, "compute": {"on": [f"ssh:{machine.name}"], "gpu": ["cpu"]}})
        for name in ("metrics.py", "letters.py", "schema.json"):
            (tmp_path / name).unlink()
        assert carry_out(Controller(run)).outcome is Outcome.FINISHED, run.folder.events.read_text()[-2000:]
    (scored,) = tiny_runs.events_of(run, "scored")
    assert [(one["score"], one["met"]) for one in scored.data["gates"]] == [("vowels", True), ("json_valid", False)]
    assert scored.data["gates"][0]["reached"] == 0.5
    job.settle(run.folder)
    with pytest.raises(GateMissedError, match="1 of 2 gates missed: json_valid >= 95 %"):
        job._raise_unless_good(run)
    assert "## Gates: 1 of 2 met" in run.folder.report.read_text("utf-8")
    kept = find(run.id).recipe.evaluate.metrics
    assert Path(kept[0]["file"]).read_text("utf-8").startswith("from letters")
