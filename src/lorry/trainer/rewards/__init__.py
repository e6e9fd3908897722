"""What an answer is worth: one file a kind of reward."""
