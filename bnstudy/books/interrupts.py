"""Holds Ctrl-C back while something is made that must not be half made."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def holding_interrupts() -> Iterator[None]:
    """Let a process that starts inside never see Ctrl-C, and this one see it afterwards.

    Signals that are held back stay so in a new process; ignoring them here would lose the user's.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows: `serve` ignores them
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # its start would let them through
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
