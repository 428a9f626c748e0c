"""What a run shows while it runs: a live line on a terminal, plain lines elsewhere; always standard error."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bnstudy.words import clock, counted

if TYPE_CHECKING:
    from rich.console import Console

    from bnstudy.books.schedule import Tally

    Notify = Callable[[Tally], None]

PLAIN_SECONDS = 10
WINDOW_SECONDS = 60


class Speed:
    """Images a second over the last minute, so that the time left follows the machine."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, int]] = []

    def of(self, images: int) -> float:
        """Return the speed, given all images trained up to now."""
        now = time.monotonic()
        self.seen = [(at, n) for at, n in self.seen if now - at < WINDOW_SECONDS and n <= images]
        self.seen.append((now, images))
        (start, first), (end, last) = self.seen[0], self.seen[-1]
        return (last - first) / (end - start) if end > start else 0.0


def describe(tally: Tally, speed: float) -> str:
    """Return how far a run is: trials, images a second, time left."""
    parts = [f"{tally.recorded}/{tally.total} trials"]
    if speed > 0:
        left = max(0, tally.images_planned - tally.images) / speed
        parts += [f"{speed:,.0f} images/s", f"{clock(left)} left"]
    if tally.retried:
        parts.append(f"{counted(len(tally.retried), 'pack')} started again")
    if tally.failed:
        parts.append(f"{len(tally.failed)} failed")
    return " · ".join(parts)


@contextmanager
def shown(console: Console, name: str) -> Iterator[Notify]:
    """Yield what to call with each tally of a run."""
    speed = Speed()
    if not console.is_interactive:  # a file, a pipe, or a terminal that cannot move its cursor
        yield _plain(console, name, speed)
        return
    from rich.progress import BarColumn, Progress, TextColumn

    columns = TextColumn("[bold]{task.description}"), BarColumn(), TextColumn("{task.fields[text]}")
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(name, total=None, text="starting workers")

        def show(tally: Tally) -> None:
            bar.update(
                task,
                total=tally.images_planned,
                completed=tally.images,
                text=describe(tally, speed.of(tally.images)),
            )

        yield show


def _plain(console: Console, name: str, speed: Speed) -> Notify:
    """Return what prints a line at the start, every few seconds, and at the end."""
    last = -float("inf")

    def show(tally: Tally) -> None:
        nonlocal last
        rate = speed.of(tally.images)
        ended = tally.recorded + len(tally.failed) >= tally.total
        if ended or time.monotonic() - last >= PLAIN_SECONDS:
            last = time.monotonic()
            console.print(f"{name}: {describe(tally, rate)}", highlight=False, markup=False, soft_wrap=True)

    return show
