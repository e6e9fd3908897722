"""Readers: files of each kind become raw rows, each with the place where it stands."""
