"""A server that acts like RunPod's REST API v2."""
