"""Dated notes: read, judged, weighed, and asked about."""
