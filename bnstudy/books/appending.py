"""Files that only grow: written at the end in one piece or not at all, and read from the beginning."""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path


def tail(path: Path) -> bytes:
    """Return what follows the last newline of a file: nothing, a whole line or a torn one."""
    with suppress(FileNotFoundError), path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        length = 1
        while True:
            file.seek(max(0, size - length))
            _, newline, tail = file.read().rpartition(b"\n")
            if newline or length >= size:
                return tail
            length *= 1024
    return b""


def append(path: Path, data: bytes) -> None:
    """Write at the end of a file and flush to disk; after an `OSError` the file is as it was."""
    with path.open("ab", buffering=0) as file:
        write(file, data, flush=True)


def write(file: FileIO, data: bytes, *, flush: bool) -> None:
    """Write at the end of an open file; after an `OSError` it is as it was."""
    size = file.seek(0, os.SEEK_END)
    rest = memoryview(data)
    try:
        while rest:  # one write; after a short one the next makes the system say why
            rest = rest[file.write(rest) :]
        if flush:
            os.fsync(file.fileno())
    except OSError:
        with suppress(OSError):  # at worst a torn line stays, which the next start sets aside
            file.truncate(size)
        raise


@contextmanager
def reading() -> Iterator[None]:
    """Read many lines without looking for garbage among them, which takes a third of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
