"""What a worker does: train one pack from its description, and say how."""

import functools
import itertools
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from bnstudy import packs
from bnstudy.errors import DeviceLost
from bnstudy.outcome import Outcome
from bnstudy.packs import Job, Pack, Result
from bnstudy.recipe import Recipe
from bnstudy.training import data, machine
from bnstudy.training.train import Report, train_pack


def run_pack(job: Job, report: Report) -> Result:
    """Train a pack on its device; `report` is called with images trained, a few times a second.

    A pack that does not fit into memory is cut, never its batches; a trial that does not fit alone is
    `not run`. Raises `DeviceLost` where this process can use its GPU no more. Any other error is the
    caller's.
    """
    try:
        return _run(job, report)
    except RuntimeError as error:
        if machine.is_lost(error):
            raise DeviceLost(str(error).partition("\n")[0]) from error
        raise


def _run(job: Job, report: Report) -> Result:
    machine.prepare(job.device)
    images = _images(job.pack.trials[0].arm.recipe.data, job.images, job.device)
    parts = _parts(job.pack, images, job.device)
    start = time.perf_counter()
    trained, at_once = _train(parts, images, job.device, _throttled(report))
    facts = {
        **machine.facts(job.device),
        "kernels": "fused" if machine.fuses(job.device) else "framework",
        "slots_at_once": at_once,
        "data_sha256": images.sha256,
        "wall_seconds": round(time.perf_counter() - start, 3),
        "peak_memory_bytes": machine.peak_memory_bytes(job.device),
    }
    return Result(tuple(trained), facts)


@functools.cache
def _images(name: str, path: Path | None, device: str) -> data.ImageSet:
    """Return the images, read once a process and kept on the device."""
    return data.load(name, path).to(device)


def _train(
    parts: Sequence[Pack], images: data.ImageSet, device: str, report: Report
) -> tuple[list[Outcome], int]:
    """Return the outcomes of a pack's parts, cut again where they do not fit, and the most slots trained at
    once."""
    waiting, outcomes, at_once = deque(parts), list[Outcome](), 0
    while waiting:
        part = waiting.popleft()
        recipes, seeds = [t.arm.recipe for t in part.slots], [t.seed for t in part.slots]
        trained = _attempt(recipes, seeds, images, part.shares_images, device, report)
        if trained is not None:
            outcomes += trained[: len(part.trials)]
            at_once = max(at_once, len(part.slots))
        elif len(part.trials) > 1:
            waiting.extendleft(reversed(_cut(part, 2)))
        else:
            outcomes.append(Outcome(status="not run", reason=f"does not fit into the memory of {device}"))
    return outcomes, at_once


def _attempt(
    recipes: Sequence[Recipe],
    seeds: Sequence[int],
    images: data.ImageSet,
    shares_images: bool,
    device: str,
    report: Report = lambda images: None,
) -> list[Outcome] | None:
    """Return the outcomes of trials that train together, or `None` where memory ran out."""
    try:
        return train_pack(
            recipes,
            seeds,
            images,
            shares_images=shares_images,
            device=device,
            fused=machine.fuses(device),
            report=report,
        )
    except (RuntimeError, MemoryError) as error:
        if not machine.is_out_of_memory(error):
            raise
        # What follows is done below: inside this block the exception would keep the tensors alive.
    machine.free_memory(device)
    return None


def _parts(pack: Pack, images: data.ImageSet, device: str) -> list[Pack]:
    """Return a pack in as few and as equal parts as the device holds; a CPU's memory is not asked."""
    if not machine.has_own_memory(device):
        return [pack]
    recipe = packs.shape(pack.trials[0].arm.recipe)
    short = recipe.replace(train_images=min(recipe.train_images, 2 * recipe.batch_size), epochs=1, updates=0)
    fitting = _capacity(short, pack.shares_images, images, device)
    return _cut(pack, -(-len(pack.trials) // fitting))


def _cut(pack: Pack, count: int) -> list[Pack]:
    """Return a pack in parts that differ by one trial at the most."""
    ends = [len(pack.trials) * part // count for part in range(count + 1)]
    return [Pack(pack.trials[a:b], pack.shares_images) for a, b in itertools.pairwise(ends)]


@functools.cache
def _capacity(recipe: Recipe, shares_images: bool, images: data.ImageSet, device: str) -> int:
    """Return how many trials of a recipe train together on the device, tried once a process with a training
    of two steps and all its evaluations; at most as many as the plan ever packs."""

    def fits(slots: int) -> bool:
        seeds = [0] * slots if shares_images else list(range(slots))
        return _attempt([recipe] * slots, seeds, images, shares_images, device) is not None

    return largest(fits, packs.largest(recipe))


def largest(fits: Callable[[int], bool], most: int) -> int:
    """Return the largest number from 2 to `most` that fits, found by doubling and then by bisection; 1 where
    not even 2 do."""
    good, bad = 1, 2
    while fits(bad):
        if bad == most:
            return most
        good, bad = bad, min(2 * bad, most)
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if fits(middle) else (good, middle)
    return good


def _throttled(report: Report, seconds: float = 0.25) -> Callable[[int], None]:
    """Return a report that adds up what it is told and passes it on a few times a second."""
    waiting, last = 0, time.monotonic()

    def collect(images: int) -> None:
        nonlocal waiting, last
        waiting += images
        if time.monotonic() - last >= seconds:
            report(waiting)
            waiting, last = 0, time.monotonic()

    return collect
