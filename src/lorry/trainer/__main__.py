"""`python -m lorry.trainer RUN_FOLDER`: the process that trains."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# Read by torch and tokenizers when they are first imported.
for name in ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"):  # its name since torch 2.9, and before
    os.environ.setdefault(name, "expandable_segments:True")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

if __name__ == "__main__":
    from lorry.job import settle
    from lorry.track.folder import RunFolder
    from lorry.trainer.process import work

    code = work(Path(sys.argv[1]))
    # Whoever started this process may be gone by now: a closed terminal does not end a run.
    settle(RunFolder(Path(sys.argv[1])))
    sys.exit(code)
