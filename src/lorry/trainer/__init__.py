"""What runs on the machine: model, loop, checkpoints, methods."""
