"""What the agent knows: when a dead trainer is worth another try, why a GPU idles, how events survive a full disk."""
