"""What can be known to be wrong beforehand: one file a check."""
