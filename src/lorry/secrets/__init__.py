"""Secrets: where they come from (`found`), and the one filter that keeps them out of everything written (`masking`)."""
