"""Running out of memory: how it shows, and how what was taken is given back."""

from __future__ import annotations

import errno
import gc
import re

import torch

from lorry.trainer import heap

_SAID = re.compile(
    r"can't allocate memory|cannot allocate memory|out of memory|std::bad_alloc|CUBLAS_STATUS_ALLOC_FAILED"
    r"|CUDNN_STATUS_ALLOC_FAILED|could not create a (?:memory|primitive)(?! descriptor)|could not execute a primitive",
    re.IGNORECASE,
)
"""What allocators say who have no exception of their own: torch's on the processor, cuBLAS, cuDNN, oneDNN."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether this error means that memory ran out, on the GPU or (`setrlimit`, no overcommit) in this process."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    if isinstance(error, OSError) and error.errno is not None:  # its words hold a path, which may say anything
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError | OSError) and _SAID.search(str(error)) is not None


def told(error: BaseException) -> str:
    """The error in a line, for events."""
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no memory'}"


def release() -> None:
    """Gives back what nothing holds any more; call it outside of the `except` block, whose traceback holds tensors."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    else:
        heap.return_freed_memory()
