"""A clock for deadlines of others, which must not pass while nobody looks."""

import time

LONGEST_LOOK = 10.0
"""Seconds between two looks that count: a coordinator looks twice a second, and an append may take longer."""


class Awake:
    """Counts the seconds in which its owner was awake.

    Of a longer time between two looks it counts `LONGEST_LOOK`: this process may have been stopped (Ctrl-Z)
    and its workers with it, or the machine have slept. The date that people set does not matter.
    """

    def __init__(self) -> None:
        """Begin at 0."""
        self._seconds, self._last = 0.0, time.monotonic()

    def now(self) -> float:
        """Return the seconds since the beginning."""
        last, self._last = self._last, time.monotonic()
        self._seconds += min(self._last - last, LONGEST_LOOK)
        return self._seconds
