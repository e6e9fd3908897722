"""What runs on the machine: model, loop, checkpoints, methods."""

import logging

# bitsandbytes says on every import that an optional kernel for the processor is not installed; PEFT imports it.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
