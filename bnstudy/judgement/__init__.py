"""Judges: from records to intervals and verdicts, and the sentences that say them."""
