"""How rows are laid out in files: one file a format."""
