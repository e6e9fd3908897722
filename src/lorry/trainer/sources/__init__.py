"""Where a model comes from: a Hub id, a folder, a GGUF file or a package becomes one folder that everything reads."""
