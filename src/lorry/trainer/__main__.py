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
    from lorry.trainer.process import work

    sys.exit(work(Path(sys.argv[1])))
