"""Configurations of other systems, read as recipes: one file a system."""
