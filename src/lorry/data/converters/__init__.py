"""What makes rows to train on of what people have: one file a converter."""
