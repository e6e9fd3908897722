"""Bytes between here and a machine: a link, the commands that run over it, and files that nobody over there is trusted with."""
