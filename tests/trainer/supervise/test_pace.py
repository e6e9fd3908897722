from __future__ import annotations

import pytest

from lorry.trainer.supervise.gpu import Sample
from lorry.trainer.supervise.pace import Seen, slow

STEADY = [1000.0] * 40


def sample(
    busy: float | None = 97, used: float | None = 70_000, *, hot: bool = False, broken: float | None = 0
) -> Sample:
    return Sample(0, busy, used, None if used is None else 80_000, 60, 400, 1700, hot, broken)


def seen(*samples: Sample, speeds: list[float] = STEADY, **facts) -> Seen:
    return Seen(speeds, samples, **facts)


def cause(found: Seen) -> str:
    told = slow(found)
    assert told is not None
    return told[1]


def test_busy_gpu_at_its_own_speed_is_well():
    assert slow(seen(*[sample()] * 5)) is None
    assert slow(seen()) is None


def test_gpu_that_idles_is_slow():
    told, _ = slow(seen(*[sample(busy) for busy in (10, 20, 30, 40, 50)]))
    assert told == "the GPU idles: 30 % busy"


def test_single_dips_of_the_gpu_are_none():
    assert slow(seen(*[sample(busy) for busy in (5, 5, 90, 5, 5)])) is None
    assert slow(seen(*[sample(5)] * 4)) is None


def test_only_the_last_samples_count():
    assert slow(seen(*[sample(95)] * 50, *[sample(5)] * 5))
    assert slow(seen(*[sample(5)] * 50, *[sample(95)] * 5)) is None


def test_gpu_that_does_not_tell_its_load_is_no_idle_one():
    assert slow(seen(*[sample(None)] * 10)) is None
    assert slow(seen(*[sample(None)] * 3, *[sample(5)] * 4)) is None


def test_run_that_falls_to_less_than_half_its_own_speed_is_slow():
    assert slow(seen(speeds=[*STEADY, *[490.0] * 5]))[0] == "490 tokens/s, where 1,000 were expected"
    assert slow(seen(speeds=[*STEADY, *[510.0] * 5])) is None


def test_few_steps_say_nothing_of_a_runs_own_speed():
    assert slow(seen(speeds=[1000.0] * 34 + [1.0] * 5)) is None
    assert slow(seen(speeds=[1000.0] * 35 + [1.0] * 5))


def test_run_below_half_the_planned_speed_is_slow_from_its_first_steps():
    assert slow(seen(speeds=[400.0] * 5, planned=1000)) == (
        "400 tokens/s, where 1,000 were expected",
        "unknown: look at what else runs on this machine",
    )
    assert slow(seen(speeds=[400.0] * 4, planned=1000)) is None
    assert slow(seen(speeds=[600.0] * 5, planned=1000)) is None


def test_single_slow_steps_are_none():
    assert slow(seen(speeds=[*STEADY, 1.0, 1.0, 1000.0, 1000.0, 1000.0])) is None


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (seen(*[sample(5, hot=True)] * 5), "heat"),
        (seen(*[sample(5)] * 4, sample(5, hot=True), trainer_cpu=1.0), "heat"),
        (seen(*[sample(5, broken=2)] * 5), "memory errors"),
        (seen(*[sample(5)] * 5, trainer_cpu=0.99), "the processor cannot feed"),
        (seen(*[sample(5)] * 5, machine_cpu=0.99, other_cpu=0.8), "other work"),
        (seen(*[sample(5)] * 5, machine_cpu=0.99, other_cpu=0.1, trainer_cpu=1.0), "the processor cannot feed"),
        (seen(*[sample(5, used=30_000)] * 5), "too little at once"),
        (seen(*[sample(5, used=None)] * 5), "unknown: look at what else runs on this machine, and at gpu.csv"),
        (seen(*[sample(5)] * 5), "unknown"),
        (seen(*[sample(5, broken=None)] * 5), "unknown"),
    ],
)
def test_likely_cause_is_told(found, words):
    assert cause(found).startswith(words)


def test_heat_of_long_ago_is_no_cause():
    assert cause(seen(sample(5, hot=True), *[sample(5)] * 5)).startswith("unknown")


def test_training_that_keeps_every_core_busy_itself_is_no_other_work():
    alone = seen(speeds=[*STEADY, *[100.0] * 5], machine_cpu=1.0, other_cpu=0.02, trainer_cpu=1.0)
    assert cause(alone) == "unknown: look at what else runs on this machine"
