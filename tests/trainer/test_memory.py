from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from functools import cache

import numpy as np
import psutil
import pytest
import torch
from safetensors import SafetensorError

from lorry.errors import RunFailedError
from lorry.trainer.memory import is_out_of_memory, release

UNDER_A_LIMIT = """
import json, mmap, resource, tempfile
import numpy as np, torch
from lorry.trainer import memory

(torch.ones(8, 8) @ torch.ones(8, 8)).sum()
file = tempfile.NamedTemporaryFile()
file.truncate(400_000_000)
used = int(open("/proc/self/statm").read().split()[0]) * mmap.PAGESIZE
resource.setrlimit(resource.RLIMIT_AS, (used + 200_000_000, resource.RLIM_INFINITY))

def grow():
    kept = []
    while True:
        kept.append(torch.ones(1000, 1000))

tries = {
    "torch": lambda: torch.empty(10**9),
    "torch, bit by bit": grow,
    "torch, within an operation": lambda: torch.ones(10_000_000).sort(),
    "torch, a file": lambda: torch.from_file(file.name, size=100_000_000),
    "numpy": lambda: np.ones(10**9),
    "python": lambda: bytearray(10**10),
    "the system": lambda: mmap.mmap(-1, 10**10),
}
found = {}
for name, action in tries.items():
    try:
        action()
    except Exception as error:
        found[name] = [type(error).__name__, str(error), memory.is_out_of_memory(error)]
    memory.release()
found["afterwards"] = ["", "", float(torch.ones(10_000_000).sum()) == 10_000_000]
print(json.dumps(found))
"""


@cache
def found_under_a_limit() -> dict[str, tuple[str, str, bool]]:
    """What a process with hardly any memory left gets: the error's name, its words, and whether it is told as such."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", UNDER_A_LIMIT]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits a process's memory this way")
@pytest.mark.parametrize(
    ("what", "error"),
    [
        ("torch", "RuntimeError"),
        ("torch, bit by bit", "RuntimeError"),
        ("torch, within an operation", "RuntimeError"),
        ("torch, a file", "RuntimeError"),
        ("numpy", "MemoryError"),
        ("python", "MemoryError"),
        ("the system", "OSError"),
    ],
)
def test_process_that_may_take_no_more_memory_is_out_of_memory(what, error):
    name, _, told = found_under_a_limit()[what]
    assert (name, told) == (error, True)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits a process's memory this way")
def test_memory_can_be_used_again_after_it_ran_out():
    assert found_under_a_limit()["afterwards"][2]


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        torch.AcceleratorError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("could not create a primitive"),
        RuntimeError("could not create a memory object"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("HIP out of memory. Tried to allocate 20.00 MiB"),
        OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
        OSError("Cannot allocate memory (os error 12)"),
        MemoryError(),
    ],
)
def test_allocators_that_say_so_are_out_of_memory(error):
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("The size of tensor a (3) must match the size of tensor b (4) at non-singleton dimension 1"),
        RuntimeError("CUDA error: device-side assert triggered"),
        RuntimeError("could not create a primitive descriptor for a matmul primitive"),
        RuntimeError("out of resource: shared memory, Required: 180224, Hardware limit: 101376"),
        RuntimeError(""),
        FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "/data/out of memory/rows.jsonl"),
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        ValueError("out of memory"),
        KeyError("out of memory"),
        SafetensorError("Error while deserializing header: HeaderTooLarge"),
        RunFailedError("out of memory while training, even with micro-batches of 1"),
        KeyboardInterrupt("out of memory"),
    ],
)
def test_other_errors_are_not_out_of_memory(error):
    assert not is_out_of_memory(error)


def test_real_mistakes_of_shape_are_not_out_of_memory():
    with pytest.raises(RuntimeError) as caught:
        torch.ones(2, 3) @ torch.ones(2, 3)
    assert not is_out_of_memory(caught.value)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems keep freed memory as they like")
def test_what_nothing_holds_is_given_back():
    parts = [np.ones(1000) for _ in range(20_000)]  # 160 MB in pieces that malloc keeps for itself
    last = parts.pop()  # and cannot give back while what lies above them is in use
    parts.clear()
    before = psutil.Process().memory_info().rss
    release()
    assert psutil.Process().memory_info().rss < before - 100_000_000
    assert last.sum() == 1000
