"""How one answer is scored: one file a metric."""
