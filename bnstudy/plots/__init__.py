"""Draws: figures of records and verdicts, and what stands beside them."""
