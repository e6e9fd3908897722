from __future__ import annotations

import json
import os
import platform
import subprocess
import sys

import pytest

from lorry.trainer import heap

STEPS = """
import json, random, resource
import torch
from lorry.trainer import heap

heap.keep_freed_memory()
torch.manual_seed(0)
used = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before, draw = used(), random.Random(0)
for _ in range(8):  # steps: layers keep one block of three, and small pieces come and go
    kept, small = [], []
    for layer in range(60):
        blocks = [torch.ones(draw.choice([250_000, 400_000, 700_000])) for _ in range(3)]
        small += [torch.ones(draw.choice([1, 4, 9])) for _ in range(200)]
        kept.append(blocks[layer % 3])
    small = small[::7]
    live = sum(block.nbytes for block in kept)
print(json.dumps((used() - before) / live))
"""


def most_used(variables: dict[str, str]) -> float:
    """Most memory that such steps take, as a multiple of what lives at the end of one."""
    environment = {**os.environ, **variables, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", STEPS], env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other systems have other heaps")
def test_heap_of_a_training_process_grows_little_beyond_what_lives():
    assert most_used(heap.environment()) < 1.35


def test_own_settings_of_glibc_are_kept(monkeypatch):
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    assert heap.environment() == {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.check=3")
    assert heap.environment() == {"GLIBC_TUNABLES": "glibc.malloc.check=3:glibc.malloc.tcache_count=0"}
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.tcache_count=2")
    assert heap.environment() == {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=2"}
