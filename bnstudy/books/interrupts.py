"""Holds Ctrl-C back while something is made that must not be half made."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def holding_interrupts() -> Iterator[None]:
    """Let a process that starts inside never see Ctrl-C, and this one see it, and SIGTERM, afterwards.

    Signals that are held back stay so in a new process; ignoring them here would lose the user's.
    """
    with _handled_later(), _blocked():
        yield


@contextmanager
def _handled_later() -> Iterator[None]:
    """Note signals and raise them again afterwards: a block of one thread leaves them to any other."""
    if threading.current_thread() is not threading.main_thread():  # the only one that Python interrupts
        yield
        return
    noted: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        noted.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
        for held in noted:
            signal.raise_signal(held)


@contextmanager
def _blocked() -> Iterator[None]:
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
