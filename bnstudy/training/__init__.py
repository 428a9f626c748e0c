"""Trains: a recipe becomes a packed network, and that an outcome. No files, no queue, no verdicts."""
