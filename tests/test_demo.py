"""The promises of the README with the real SmolLM2-135M: minutes each, so `make test-slow` runs them."""

from __future__ import annotations

from pathlib import Path

import pytest

import lorry
from lorry.recipe.load import load
from tiny_runs import events_of

pytestmark = [pytest.mark.slow, pytest.mark.real]
DEMO = Path(__file__).parents[1] / "recipes" / "demo.yaml"


@pytest.fixture(autouse=True)
def _hub_is_off_but_packages_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)  # the training process uses every core


def test_demo_beats_the_base_model_with_intervals_apart():
    run = lorry.run(DEMO)
    scored = events_of(run, "scored")[0].data["scores"]["test"]["scores"]["exact_match"]
    assert scored["base"]["high"] < scored["adapter"]["low"]
    assert scored["adapter"]["value"] > 0.5


def test_two_hundred_steps_on_real_commands_lower_the_evaluation_loss(shared_data):
    rows = shared_data / "cli" / "cli_chat.jsonl"
    changes = [f"data.train={rows}", "data.test=null", "train.steps=200", "data.eval_subset=200", "evaluate.rows=0"]
    run = lorry.run(load(DEMO, [*changes, "train.eval_every=50"]).recipe)
    losses = [event.data["loss"] for event in events_of(run, "evaluated")]
    scores = events_of(run, "scored")[0].data["scores"]["eval"]["scores"]["loss"]
    assert losses[-1] < losses[0]
    assert scores["adapter"]["high"] < scores["base"]["low"]
