from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lorry.trainer.supervise.oom_kills import MemoryWatch, counter_of, memory_is_scarce

PID = os.getpid()
GB = 1 << 30
VMSTAT = """nr_free_pages 2381943
pgmajfault 1024
oom_kill {kills}
pgscan_direct_throttle 0
"""
VERSION_2 = """low 0
high 0
max 311
oom 4
oom_kill {kills}
oom_group_kill 0
"""
VERSION_1 = """oom_kill_disable 0
under_oom 0
oom_kill {kills}
"""
V2, V1 = (
    "0::/system.slice/run.scope\n",
    "12:pids:/docker/4f2a\n5:cpu,memory:/docker/4f2a\n1:name=systemd:/docker/4f2a\n0::/\n",
)
PLACES = {
    "vmstat": ("proc/vmstat", VMSTAT),
    "own_2": ("sys/fs/cgroup/system.slice/run.scope/memory.events", VERSION_2),
    "slice_2": ("sys/fs/cgroup/system.slice/memory.events", VERSION_2),
    "top_2": ("sys/fs/cgroup/memory.events", VERSION_2),
    "own_1": ("sys/fs/cgroup/memory/docker/4f2a/memory.oom_control", VERSION_1),
    "top_1": ("sys/fs/cgroup/memory/memory.oom_control", VERSION_1),
}
"""Counter files of the places that matter here."""


def put(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def machine(root: Path, cgroup: str | None = None, pid: int = PID, **kills: int) -> Path:
    """A machine's `/proc` and `/sys`, with counters that stand at so many kills."""
    if cgroup is not None:
        put(root / f"proc/{pid}/cgroup", cgroup)
    for name, number in kills.items():
        put(root / PLACES[name][0], PLACES[name][1].format(kills=number))
    return root


def limit(root: Path, group: str, most: int | str, used: int, cached: int = 0, *, version: int = 2) -> None:
    """Gives a cgroup so many bytes, of which some are used; a part of these is what was read of files."""
    names = ("memory.max", "memory.current") if version == 2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    folder, total = root / "sys/fs/cgroup" / group, "" if version == 2 else "total_"
    for name, value in zip(names, (most, used), strict=True):
        put(folder / name, f"{value}\n")
    half = cached // 2
    put(folder / "memory.stat", f"anon 5\n{total}inactive_file {half}\n{total}active_file {half}\nfile_dirty 9\n")


@pytest.mark.parametrize(
    ("cgroup", "places", "expected"),
    [
        (V2, ("vmstat", "own_2", "slice_2", "top_2"), "own_2"),
        (V2, ("vmstat", "slice_2", "top_2"), "top_2"),  # its own group is not to be seen from inside the container
        (V2, ("vmstat",), "vmstat"),
        (V2, ("vmstat", "own_1", "top_1"), "vmstat"),
        (V1, ("vmstat", "own_1", "top_1"), "own_1"),
        (V1, ("vmstat", "top_1"), "top_1"),
        (V1, ("vmstat", "own_2", "top_2"), "vmstat"),
        ("0::/\n", ("vmstat", "top_2"), "top_2"),
        ("9:memory:/\n", ("vmstat", "top_1"), "top_1"),
        ("0::/../outside\n", ("vmstat", "top_2"), "top_2"),
        (None, ("vmstat", "top_2"), "vmstat"),
        (V2, (), None),
        (None, (), None),
    ],
)
def test_nearest_counter_is_the_one_that_counts(tmp_path, cgroup, places, expected):
    root = machine(tmp_path, cgroup, **dict.fromkeys(places, 3))
    assert counter_of(PID, root) == (root / PLACES[expected][0] if expected else None)


def test_group_without_a_counter_is_counted_in_the_one_above(tmp_path):
    root = machine(tmp_path, V2, vmstat=1, slice_2=1, top_2=1)
    (root / "sys/fs/cgroup/system.slice/run.scope").mkdir()
    assert counter_of(PID, root) == root / PLACES["slice_2"][0]


def test_group_is_that_of_the_process_that_is_asked_about(tmp_path):
    root = machine(tmp_path, "0::/elsewhere\n", vmstat=1)
    machine(root, V2, pid=7, own_2=1)
    assert (counter_of(7, root), counter_of(PID, root)) == (root / PLACES["own_2"][0], root / PLACES["vmstat"][0])


@pytest.mark.parametrize("cgroup", ["", "\n", "nonsense", "0:memory", "::", ":::::", "0::" + "/deep" * 9000])
def test_strange_cgroup_file_is_passed_over(tmp_path, cgroup):
    root = machine(tmp_path, cgroup, vmstat=2)
    assert counter_of(PID, root) == root / PLACES["vmstat"][0]
    assert not memory_is_scarce(PID, root)


def test_cgroup_whose_name_is_no_text_is_found(tmp_path):
    put(tmp_path / f"proc/{PID}/cgroup", "")
    (tmp_path / f"proc/{PID}/cgroup").write_bytes(b"0::/caf\xe9.scope\n")
    counter = tmp_path / "sys/fs/cgroup" / os.fsdecode(b"caf\xe9.scope") / "memory.events"
    put(counter, "oom_kill 2\n")
    assert counter_of(PID, tmp_path) == counter


def test_counter_that_may_not_be_read_is_passed_over(tmp_path):
    root = machine(tmp_path, V2, vmstat=2)
    (root / PLACES["own_2"][0]).mkdir(parents=True)  # reading it is an OSError for root as well
    assert counter_of(PID, root) == root / PLACES["vmstat"][0]


def test_other_counters_are_no_kills(tmp_path):
    root = machine(tmp_path, "0::/\n", vmstat=2)
    put(root / PLACES["top_2"][0], "oom 4\noom_kill_disable 1\noom_group_kill 5\nnot_oom_kill 6\noom_kill x\n")
    assert counter_of(PID, root) == root / PLACES["vmstat"][0]


@pytest.mark.parametrize(("cgroup", "place"), [(V2, "own_2"), (V2, "top_2"), (V1, "own_1"), (None, "vmstat")])
def test_kill_shows_wherever_the_system_counts_it(tmp_path, cgroup, place):
    watch = MemoryWatch(PID, machine(tmp_path, cgroup, **{place: 7}))
    assert not watch.ran_out()
    machine(tmp_path, **{place: 8})
    assert watch.ran_out()


def test_kill_of_a_neighbour_does_not_count_where_the_cgroup_counts_for_itself(tmp_path):
    watch = MemoryWatch(PID, machine(tmp_path, V2, vmstat=3, own_2=0))
    machine(tmp_path, vmstat=4)
    assert not watch.ran_out()


def test_kill_counts_for_some_looks_after_it_and_not_for_hours(tmp_path):
    watch = MemoryWatch(PID, machine(tmp_path, vmstat=3))
    machine(tmp_path, vmstat=4)
    for _ in range(6):
        watch.look()
        assert watch.ran_out(), "a process may take so long to be gone"
    watch.look()
    assert not watch.ran_out()


@pytest.mark.parametrize("is_reaped", [True, False])
def test_process_that_is_gone_is_looked_at_no_more(tmp_path, is_reaped):
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    watch = MemoryWatch(process.pid, machine(tmp_path, vmstat=3))
    machine(tmp_path, vmstat=4)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    if is_reaped:
        process.communicate()
    for _ in range(20):
        watch.look()
    assert watch.ran_out()
    process.communicate()


def test_counter_that_is_gone_in_the_end_says_nothing(tmp_path):
    watch = MemoryWatch(PID, machine(tmp_path, V2, own_2=3))
    (tmp_path / PLACES["own_2"][0]).unlink()
    assert not watch.ran_out()


def test_memory_that_was_scarce_a_moment_ago_ran_out(tmp_path):
    limit(machine(tmp_path, V2), "system.slice/run.scope", GB, int(0.97 * GB))
    watch = MemoryWatch(PID, tmp_path)
    limit(tmp_path, "system.slice/run.scope", GB, GB // 4)
    assert watch.ran_out()
    for _ in range(7):
        watch.look()
    assert not watch.ran_out()


@pytest.mark.parametrize(
    ("group", "most", "used", "cached", "expected"),
    [
        ("system.slice/run.scope", GB, 0.97, 0, True),
        ("system.slice/run.scope", GB, 0.95, 0, False),
        ("system.slice/run.scope", GB, 0.99, 0.04, False),
        ("system.slice/run.scope", GB, 0.99, 0.02, True),
        ("system.slice/run.scope", "max", 0.97, 0, False),
        ("system.slice", GB, 0.97, 0, True),
        ("", GB, 0.97, 0, True),
        ("other.slice", GB, 0.97, 0, False),
    ],
)
def test_memory_is_scarce_where_a_limit_above_is_nearly_reached(tmp_path, group, most, used, cached, expected):
    root = machine(tmp_path, V2, own_2=0)
    limit(root, group, most, int(used * GB), int(cached * GB))
    assert memory_is_scarce(PID, root) is expected


@pytest.mark.parametrize(("cached", "expected"), [(0.0, True), (0.5, False)])
@pytest.mark.parametrize("group", ["memory/docker/4f2a", "memory/docker", "memory"])
def test_memory_is_scarce_where_a_limit_of_version_1_is_nearly_reached(tmp_path, group, cached, expected):
    root = machine(tmp_path, V1, own_1=0)
    limit(root, group, GB, int(0.97 * GB), int(cached * GB), version=1)
    assert memory_is_scarce(PID, root) is expected


@pytest.mark.parametrize("content", ["", "many"])
def test_limit_that_makes_no_sense_is_none(tmp_path, content):
    root = machine(tmp_path, V2, own_2=0)
    limit(root, "system.slice/run.scope", content, 5)
    assert not memory_is_scarce(PID, root)


def test_this_machine_can_be_asked():
    assert memory_is_scarce(PID) in (True, False)
    assert MemoryWatch(PID).ran_out() in (True, False)
