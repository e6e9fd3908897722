"""Where a run can be followed besides lorry: one tracker a file."""
