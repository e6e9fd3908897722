"""Rows become batches: reading, formats, validation, rendering, masking, packing."""
