"""Trains: a recipe becomes a packed network, and that an outcome. No queue, no ledger, no verdicts."""
