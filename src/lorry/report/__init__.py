"""What came out: summary, report, model card, provenance."""
