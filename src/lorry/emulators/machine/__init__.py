"""Emulated machines: a tree of processes with its own folder, environment, SSH server and first process each."""
