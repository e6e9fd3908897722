"""Servers that act like clouds, on loopback, whose machines are real local processes."""
