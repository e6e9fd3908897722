"""Questions that are answered from passages: read from their usual forms, and put so that answers cite."""
