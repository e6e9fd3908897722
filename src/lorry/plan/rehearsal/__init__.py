"""A rehearsal: the true code, rows and tokenizer on a small copy of the model, before anything is spent."""
