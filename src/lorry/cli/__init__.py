"""Commands parse; `output` is the one place that prints."""
