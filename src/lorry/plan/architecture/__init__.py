"""What a model is made of: every tensor and every size, from its configuration alone."""
