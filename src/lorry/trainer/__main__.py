"""`python -m lorry.trainer RUN_FOLDER`: the process that trains."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

from lorry.trainer.channel import AGENT, FD

_PR_SET_PDEATHSIG = 1  # prctl(2)

# Read by torch and tokenizers when they are first imported.
for name in ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"):  # its name since torch 2.9, and before
    os.environ.setdefault(name, "expandable_segments:True")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def _under_the_agent() -> None:
    """Ends with the agent, tells where each thread is when asked, and is what the system kills first for memory."""
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != int(os.environ.get(AGENT, os.getppid())):  # it died before
            sys.exit(130)


if __name__ == "__main__":
    if FD in os.environ:
        _under_the_agent()
    from lorry.trainer.process import work

    sys.exit(work(Path(sys.argv[1])))
