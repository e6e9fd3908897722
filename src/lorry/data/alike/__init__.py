"""Rows that say nearly the same: sketched, searched for, and compared."""
