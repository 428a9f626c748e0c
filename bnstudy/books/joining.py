"""Joining a Ray cluster, and whether one is there."""

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

from bnstudy.errors import BnstudyError

ADDRESS = "127.0.0.1:6379"
"""Where `ray start --head` listens unless it is told otherwise."""

REACH_SECONDS = 10
"""Ray itself tries a dead address for more than five minutes."""


def address_of(asked: str | None) -> str:
    """Return which cluster is meant: the one asked for, the environment's, or this machine's."""
    return asked or os.environ.get("RAY_ADDRESS") or ADDRESS


@contextmanager
def joined(address: str) -> Iterator[Any]:
    """Yield Ray, connected to a cluster until the block ends.

    Ray prints the deaths of nodes and workers to standard output, which is the results' alone, and takes
    SIGTERM, which must end a run like Ctrl-C.
    """
    try:
        import ray
    except ImportError:
        raise BnstudyError(
            "--executor ray needs Ray, which is not installed: pip install 'bnstudy[ray]'."
        ) from None
    _reach(address)
    asked = signal.getsignal(signal.SIGTERM)
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        try:
            ray.init(address, log_to_driver=False, logging_level=logging.CRITICAL)
        except Exception as error:
            reason = " ".join(str(error).split())[:300]
            raise BnstudyError(f"Cannot join the Ray cluster at {address}: {reason}") from error
        finally:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, asked)
        try:
            yield ray
        finally:
            ray.shutdown()


def _reach(address: str) -> None:
    """Raise `BnstudyError` where nobody listens at `host:port`."""
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal() and int(port) < 1 << 16) or "://" in host:
        raise BnstudyError(
            f"--ray-address {address!r} is no address: it must be host:port of the head, as {ADDRESS}, and "
            "this machine one of the cluster's."
        )
    if reason := unreachable(address):
        raise BnstudyError(
            f"No Ray cluster answers at {address} ({reason}). `ray start --head` starts one "
            "on this machine, --ray-address HOST:PORT names another."
        )


def unreachable(address: str) -> str:
    """Return why nobody answers at an address, or nothing."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), REACH_SECONDS).close()
    except OSError as error:
        return str(error.strerror or error)
    return ""
