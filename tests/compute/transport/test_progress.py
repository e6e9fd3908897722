"""How far a transfer is, with a clock that is a list."""

from __future__ import annotations

from lorry.compute.transport.progress import Meter, Progress


def test_progress_tells_rate_and_time_left():
    clock, told = [0.0], list[Progress]()
    meter = Meter(told.append, clock=lambda: clock[0])
    meter.expect(1000)
    meter.add(200, "a", moved=False)
    for _ in range(4):
        clock[0] += 1.0
        meter.add(100, "a")
        meter.report()
    clock[0] += 0.1
    meter.report()
    assert [one.done_bytes for one in told] == [300, 400, 500, 600]
    assert (told[-1].total_bytes, told[-1].bytes_per_second, told[-1].seconds_left) == (1000, 100.0, 4.0)
    meter.report(last=True)
    assert len(told) == 5


def test_nothing_moved_yet_tells_no_time_left():
    told = list[Progress]()
    Meter(told.append, clock=lambda: 5.0).report(last=True)
    assert (told[0].bytes_per_second, told[0].seconds_left) == (0.0, None)
