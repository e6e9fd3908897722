"""What a model is shown: images decoded ahead of the step that needs them, their features, their places among the tokens."""
