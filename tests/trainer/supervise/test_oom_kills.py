from __future__ import annotations

from pathlib import Path

import pytest

from lorry.trainer.supervise.oom_kills import count, memory_is_scarce

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


def machine(root: Path, *, cgroup: str | None = None, **files: str) -> Path:
    """A machine's `/proc` and `/sys`; a file is named by its path with `__` for `/`."""
    if cgroup is not None:
        put(root / "proc/self/cgroup", cgroup)
    for name, content in files.items():
        put(root / name.replace("__", "/"), content)
    return root


def put(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def counters(root: Path, **kills: int) -> Path:
    """Counter files of the places that matter here."""
    places = {
        "vmstat": ("proc/vmstat", VMSTAT),
        "own_2": ("sys/fs/cgroup/system.slice/run.scope/memory.events", VERSION_2),
        "top_2": ("sys/fs/cgroup/memory.events", VERSION_2),
        "own_1": ("sys/fs/cgroup/memory/docker/4f2a/memory.oom_control", VERSION_1),
        "top_1": ("sys/fs/cgroup/memory/memory.oom_control", VERSION_1),
    }
    for name, number in kills.items():
        put(root / places[name][0], places[name][1].format(kills=number))
    return root


V2, V1 = (
    "0::/system.slice/run.scope\n",
    "12:pids:/docker/4f2a\n5:cpu,memory:/docker/4f2a\n1:name=systemd:/docker/4f2a\n",
)


@pytest.mark.parametrize(
    ("cgroup", "kills", "expected"),
    [
        (V2, {"vmstat": 3}, 3),
        (V2, {"own_2": 2}, 2),
        (V2, {"vmstat": 3, "own_2": 2}, 5),
        (V2, {"vmstat": 3, "top_2": 1}, 4),
        (V1, {"own_1": 2}, 2),
        (V1, {"vmstat": 1, "top_1": 6}, 7),
        (V2 + V1, {"own_2": 1, "own_1": 2}, 3),
        (V1, {"own_2": 9, "top_2": 9}, 0),
        (V2, {"own_1": 9, "top_1": 9}, 0),
        ("0::/\n", {"top_2": 2}, 2),
        ("9:memory:/\n", {"top_1": 2}, 2),
        ("0::/../outside\n", {"top_2": 2}, 2),
        (V2, {}, 0),
        (None, {"vmstat": 3, "top_2": 4}, 3),
        (None, {}, 0),
    ],
)
def test_kills_are_counted_in_every_place_that_there_is(tmp_path, cgroup, kills, expected):
    assert count(counters(machine(tmp_path, cgroup=cgroup), **kills)) == expected


@pytest.mark.parametrize("place", ["vmstat", "own_2", "top_2"])
def test_one_more_kill_shows_wherever_the_system_counts_it(tmp_path, place):
    root = counters(machine(tmp_path, cgroup=V2), **{place: 7})
    before = count(root)
    counters(root, **{place: 8})
    assert count(root) == before + 1


def test_other_counters_are_no_kills(tmp_path):
    words = "oom 4\noom_kill_disable 1\noom_group_kill 5\nnot_oom_kill 6\noom_kill x\n"
    root = machine(tmp_path, cgroup="0::/\n", proc__vmstat=words, sys__fs__cgroup__memory_events=words)
    put(root / "sys/fs/cgroup/memory.events", words)
    assert count(root) == 0


@pytest.mark.parametrize("cgroup", ["", "\n", "nonsense", "0:memory", "::", ":::::", "0::" + "/deep" * 50])
def test_strange_cgroup_file_is_passed_over(tmp_path, cgroup):
    assert count(counters(machine(tmp_path, cgroup=cgroup), vmstat=2)) == 2


def test_cgroup_whose_name_is_no_text_is_found(tmp_path):
    name = b"caf\xe9.scope"
    put(tmp_path / "proc/self/cgroup", "")
    (tmp_path / "proc/self/cgroup").write_bytes(b"0::/" + name + b"\n")
    put(tmp_path / "sys/fs/cgroup" / name.decode("utf-8", "surrogateescape") / "memory.events", "oom_kill 2\n")
    assert count(tmp_path) == 2


def test_counter_that_may_not_be_read_is_passed_over(tmp_path):
    root = counters(machine(tmp_path, cgroup=V2), vmstat=2)
    (root / "sys/fs/cgroup/memory.events").mkdir(parents=True)  # reading it is an OSError for root as well
    assert count(root) == 2


def test_this_machine_can_be_asked():
    assert count() >= 0
    assert memory_is_scarce() in (True, False)
