"""How rows become examples and a batch becomes a loss: one file a method."""
