"""The facts of a run: its folder, its events, the store of all runs."""
