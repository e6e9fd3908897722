"""Models whose activations dwarf everything else, and runs in a process with a limit on its memory."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lorry.evaluate import generation
from lorry.track.run import Run
from model_folders import save_model

SCRIPT = """
import resource, sys
from pathlib import Path
from lorry.trainer import memory, process

room, train = int(sys.argv[1]), process._train

def limited(*given):
    memory.release()
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + room, resource.getrlimit(resource.RLIMIT_AS)[1]))
    return train(*given)

if room:
    process._train = limited
sys.exit(process.work(Path(sys.argv[2])))
"""


def hungry(folder: Path, **changes: Any) -> Path:
    """A model with a wide middle: about a megabyte of activations a token."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    save_model(folder)
    config = AutoConfig.from_pretrained(folder, intermediate_size=65_536, **changes)
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def train_limited(run: Run, room: int = 0) -> int:
    """Trains a run in a process that may take so many bytes more than the loaded model has; its exit code. 0 is no limit."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
    words = [sys.executable, "-c", SCRIPT, str(room), str(run.folder.path)]
    return subprocess.run(words, env=environment, capture_output=True, timeout=300, check=False).returncode


@contextmanager
def answering_at_most(most: int) -> Iterator[list[int]]:
    """Within, a model fails as on CUDA when it is to make more answers at once; gives how many were tried each time."""
    plain, tried = generation._batch, list[int]()

    def scarce(loaded: Any, tokenizer: Any, prompts: list[Any], *rest: Any, **more: Any) -> list[list[int]]:
        import torch

        tried.append(len(prompts))
        if len(prompts) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        return plain(loaded, tokenizer, prompts, *rest, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generation, "_batch", scarce)
        yield tried
