"""Speeds that runs have reached: learnt, kept, shared, and reckoned with."""

from __future__ import annotations

from dataclasses import replace

import pytest

from expectations import expected
from lorry.errors import InputError
from lorry.job import settle
from lorry.plan import speeds
from lorry.plan.device import as_reached
from lorry.plan.expected import of_run
from lorry.plan.ranges import Range
from lorry.plan.speed import Device
from lorry.plan.speeds import Kind, Reached, like, reached
from lorry.track.events import Event
from lorry.trainer.process import work
from tiny_runs import begin, events_of, recipe

EXPECTED = expected({"scoring": Range(20, 40, 80)})
ONE = Reached("a", "2026-11-30", "T4", "bfloat16", 1e9, 1e3, 4e12, 1.0)
KIND = Kind("T4", "bfloat16", 1e9, 1e3)


def events(*, rung: int = 4, steps: int = 100, tokens: float = 1e6, scored_at: float = 2080.0) -> list[Event]:
    """A run that trained for 2,000 seconds and then scored."""
    said = [
        ("rung", 0.0, {"micro_batch": rung, "activation_checkpointing": False}),
        ("loaded", 0.0, {"device": "cuda:0", "device_name": "Tesla T4", "device_memory": 15_828_320_256}),
        ("started", 0.0, {"steps": 100, "from_step": 0}),
        ("evaluated", 900.0, {"loss": 1.0, "seconds": 100.0}),
        ("trained", 2000.0, {"steps": steps, "tokens": tokens, "seconds": 2100.0}),
        ("delivered", 2000.0, {}),
        ("scored", scored_at, {}),
    ]
    return [
        Event(number, at, kind, step=50 if kind == "evaluated" else None, data=data)
        for number, (kind, at, data) in enumerate(said)
    ]


def test_speed_is_what_was_computed_by_the_seconds_of_steps_alone():
    found = reached(EXPECTED, events())
    assert found is not None
    assert found.flops == pytest.approx(4e15 / 2000)
    assert found.scoring == pytest.approx(80 / (2 * 40)), "half as fast as planned, so scoring takes twice as long"


def test_run_that_ended_early_tells_its_speed_too():
    found = reached(EXPECTED, events(tokens=5e5))
    assert found is not None
    assert found.flops == pytest.approx(2e15 / 2000)


@pytest.mark.parametrize("given", [{"rung": 2}, {"steps": 19}, {"tokens": 0}])
def test_run_that_was_short_or_computed_otherwise_tells_nothing(given):
    assert reached(EXPECTED, events(**given)) is None
    assert reached(EXPECTED, []) is None


def test_run_on_another_device_than_planned_tells_nothing():
    """A plan for a GPU that torch then did not see: the processor's speed must not stand under the GPU's name."""
    found = events()
    found[1] = replace(found[1], data={"device": "cpu", "device_name": "a processor, 2 cores", "device_memory": 0})
    assert reached(EXPECTED, found) is None
    assert reached(replace(EXPECTED, device="a processor, 2 cores"), found) is not None


def test_run_that_kept_activations_against_its_plan_tells_nothing():
    assert reached(replace(EXPECTED, activation_checkpointing=True), events()) is None


def test_evaluations_that_a_return_forgot_are_no_time_of_this_training():
    found = events()
    again = [replace(found[2], seq=90), replace(found[3], seq=91)]  # started over, evaluated again
    assert reached(EXPECTED, [*found[:4], *again, *found[4:]]) == reached(EXPECTED, events())


def test_scoring_is_told_by_its_arithmetic_whatever_runs_before_made_of_it():
    corrected = replace(EXPECTED, scoring_factor=4.0, duration=replace(EXPECTED.duration, scoring=Range(80, 160, 320)))
    assert reached(corrected, events()).scoring == pytest.approx(reached(EXPECTED, events()).scoring)


def test_line_does_not_tell_which_run_it_is_of():
    found = reached(replace(EXPECTED, parameters=1_235_814_400, id="by chance"), events())
    assert (found.id, found.parameters) == ("by chance", 1.2e9)


@pytest.mark.parametrize(
    "other",
    [{"device": "H100"}, {"numbers": "nf4"}, {"parameters": 4e9}, {"tokens_at_once": 100.0}],
)
def test_only_runs_like_the_planned_one_count(other):
    assert like([replace(ONE, **other)], KIND) is None
    assert like([ONE, replace(ONE, **other)], KIND) == like([ONE], KIND)


def test_one_run_leaves_some_doubt_and_several_show_theirs():
    alone = like([ONE], KIND)
    assert (alone.flops.low, alone.flops.high) == pytest.approx((3.4e12, 4.6e12))
    several = like([replace(ONE, flops=flops) for flops in (1e12, 4e12, 9e12)], KIND)
    assert several.flops == Range(1e12, 4e12, 9e12)


def test_only_the_newest_runs_count():
    old = [replace(ONE, flops=1e12, day="2024-01-01")] * 20
    assert like([*[ONE] * 8, *old], KIND).flops.low > 3e12


def test_device_trains_at_the_speed_that_was_reached():
    device = as_reached(Device(65e12, 3e11, Range(0.2, 0.3, 0.4)), like([ONE], KIND))
    assert device.rate * device.efficiency.likely == 4e12
    assert device.is_measured


def test_next_plan_reckons_with_what_a_run_has_reached(lorry_home, tmp_path):
    values = recipe(tmp_path, train={"steps": 24, "eval_every": 100}, evaluate={"rows": 0})
    run = begin(values, estimated=True)
    assert work(run.folder.path) == 0
    settle(run.folder)
    settle(run.folder)
    (found,) = speeds.known()
    again = of_run(begin(values, estimated=True).folder)
    assert again.duration.training.likely == pytest.approx(again.flops / found.flops)
    trained = events_of(run, "trained")[0].data["seconds"] - events_of(run, "evaluated")[0].data["seconds"]
    assert again.duration.training.likely == pytest.approx(trained, rel=0.01)


def test_runs_are_added_once(lorry_home):
    assert speeds.add([ONE, ONE, replace(ONE, id="b")]) == 2
    assert speeds.add([ONE]) == 0
    assert speeds.add([replace(ONE, flops=5e12)]) == 1, "the run went on, and tells more now"
    assert [one.flops for one in speeds.known()] == [5e12, 4e12]
    assert [one.id for one in speeds.known()] == ["a", "b"]


@pytest.mark.parametrize("spoilt", ["", "{torn", "\x00\xff", "[]\n", '{"id": "x"}\n', '{"flops": -1}'])
def test_spoilt_lines_cost_no_others(lorry_home, spoilt):
    lorry_home.mkdir(exist_ok=True)
    speeds.place().write_text(spoilt, encoding="utf-8", errors="replace")
    speeds.add([ONE])
    assert speeds.known() == [ONE]
    assert speeds.place().read_text(encoding="utf-8").startswith(spoilt)


@pytest.mark.parametrize("value", ["1.7e308", "1e-300", "NaN", "Infinity", "-1", "0", '"many"', "null"])
def test_numbers_that_cannot_be_are_no_speeds(lorry_home, tmp_path, value):
    line = speeds.lines([ONE]).replace("4000000000000.0", value)
    (tmp_path / "shared").write_text(line, encoding="utf-8")
    with pytest.raises(InputError, match="has no speeds of runs"):
        speeds.read_file(tmp_path / "shared")


def test_file_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        speeds.read_file(tmp_path / "none")
