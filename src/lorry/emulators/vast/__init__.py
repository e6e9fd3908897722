"""A server that acts like Vast.ai's API."""
