"""The live progress, from events as a run writes them."""

from __future__ import annotations

import pytest

from lorry.cli.narrate import line
from lorry.cli.progress import Progress
from lorry.track.events import KINDS, Event


def event(kind: str, at: float, step: int | None = None, **data: object) -> Event:
    return Event(1, at, kind, 1, step, data)


def step(number: int, at: float, loss: float = 2.0) -> Event:
    facts = {"learning_rate": 1e-4, "grad_norm": 0.5, "tokens_per_second": 522.0, "memory_bytes": 1_500_000_000}
    return event("step", at, number, loss=loss, trained_tokens=10, **facts)


def begun(price: float = 0.0) -> Progress:
    progress = Progress(price_per_hour=price)
    progress.show(event("created", 0.0, recipe="r", run="x"))
    progress.show(event("started", 10.0, steps=100, from_step=0))
    return progress


def test_status_line_has_step_loss_speed_memory_and_time_left():
    progress = begun()
    for number in range(1, 11):
        progress.show(step(number, 10.0 + 2 * number))
    assert progress.status_line() == "step 10/100  loss 2.0000  522 tokens/s  1.50 GB  3 min left"


def test_time_left_is_unknown_before_the_second_step():
    progress = begun()
    progress.show(step(1, 12.0))
    assert progress.seconds_left() is None
    assert "left" not in progress.status_line()


def test_time_left_follows_the_recent_pace():
    progress = begun()
    for number in range(1, 41):
        progress.show(step(number, 10.0 + (number if number <= 20 else 20 + (number - 20) * 5)))
    assert progress.seconds_left() == pytest.approx(60 * 5)


def test_steps_replayed_from_a_checkpoint_start_a_new_pace():
    progress = begun()
    for number, at in ((10, 20.0), (20, 30.0), (11, 100.0), (12, 102.0)):
        progress.show(step(number, at))
    assert progress.seconds_left() == pytest.approx(88 * 2)


def test_money_is_shown_with_a_price_only():
    priced, free = begun(price=3.6), begun()
    for progress in (priced, free):
        progress.show(step(1, 100.0))
        progress.show(step(2, 102.0))
    assert priced.status_line().endswith("$0.10 of $0.30")
    assert "$" not in free.status_line()


def test_without_a_terminal_lines_come_now_and_then_and_at_the_end(capsys: pytest.CaptureFixture[str]):
    progress = begun()
    for number in range(1, 101):
        progress.show(step(number, 10.0 + number))
    progress.close()
    lines = [text for text in capsys.readouterr().err.splitlines() if text.startswith("step ")]
    assert [text.split("/")[0] for text in lines] == [f"step {n}" for n in (1, 16, 31, 46, 61, 76, 91, 100)]


def test_each_change_of_state_is_one_line(capsys: pytest.CaptureFixture[str]):
    progress = begun()
    progress.show(event("warning", 1.0, message="2 rows were\x1b[2J cut"))
    progress.show(event("evaluated", 2.0, 10, loss=1.25, exact_match=0.5, seconds=3.0))
    progress.show(event("failed", 3.0, error="e", hint="h", exit_code=1))
    assert capsys.readouterr().err.splitlines() == [
        "run x",
        "training for 100 steps",
        "warning: 2 rows were\\x1b[2J cut",
        "step 10: evaluation loss 1.2500, exact_match 0.5000",
    ]


def test_severe_events_stand_out_as_warnings(capsys: pytest.CaptureFixture[str]):
    progress = begun()
    progress.show(event("oom", 20.0, 7, where="training", error="CUDA out of memory\nTried to allocate"))
    progress.show(event("diverged", 21.0, 9, reason="the loss is not a number", rows=["a:1"], return_to=5))
    progress.show(event("stalled", 22.0, seconds=700, phase="saving"))
    progress.show(event("started", 30.0, steps=100, from_step=5))
    assert capsys.readouterr().err.splitlines()[2:] == [
        "warning: step 7: out of memory while training: CUDA out of memory",
        "warning: step 9: training diverged: the loss is not a number; back to step 5, leaving out 1 of its rows",
        "warning: nothing has moved for 11 min 40 s while saving",
        "training for 100 steps, going on after step 5",
    ]


def test_divergence_that_ends_the_run_names_no_step_to_return_to():
    told = line(event("diverged", 0.0, reason="the loss is 40", rows=[], return_to=None))
    assert told == "training diverged: the loss is 40"


_FULL = {
    "findings": [{"message": "m"}],
    "checked": [],
    "passed": True,
    "pause": 0.02,
    "scores": {},
    "learning_rate": 1e-4,
    **dict.fromkeys(("steps", "seconds", "tokens", "done", "total", "parameters", "trainable", "loss", "grad_norm"), 3),
    **dict.fromkeys(("usd", "usd_per_hour", "bytes", "after", "answers", "reward"), 3),
    **dict.fromkeys(("train_rows", "eval_rows", "test_rows", "train_tokens", "tokens_per_second", "memory_bytes"), 3),
}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_of_event_has_a_line_of_its_own(kind: str):
    data = {name: _FULL.get(name, "text") for name in KINDS[kind]}
    told = line(event(kind, 0.0, **data))
    assert told
    assert "\n" not in told
    assert "{" not in told


def test_unknown_kind_is_shown_as_it_is():
    assert line(event("eclipse", 0.0, sun="gone")) == "eclipse: {'sun': 'gone'}"


def test_loss_that_is_no_number_is_told():
    assert line(step(3, 0.0, loss=float("nan"))).startswith("step 3: loss nan")
