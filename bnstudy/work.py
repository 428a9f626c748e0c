"""What a worker does: train one pack from its description, and say how."""

import functools
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from bnstudy import data, machine
from bnstudy.design import Trial
from bnstudy.outcome import Outcome
from bnstudy.packs import Job, Pack, Result
from bnstudy.train import Report, train_pack


def run_pack(job: Job, report: Report) -> Result:
    """Train a pack on its device; `report` is called with images trained, a few times a second.

    A pack that does not fit into memory is halved, never its batches; a trial that does not fit alone is
    `not run`. Any other error is the caller's.
    """
    machine.prepare(job.device)
    images = _images(job.pack.trials[0].arm.recipe.data, job.images, job.device)
    start = time.perf_counter()
    trained = _train(job.pack, images, job.device, _throttled(report))
    facts = {
        **machine.facts(job.device),
        "kernels": "fused" if machine.fuses(job.device) else "framework",
        "data_sha256": images.sha256,
        "wall_seconds": round(time.perf_counter() - start, 3),
        "peak_memory_bytes": machine.peak_memory_bytes(job.device),
    }
    return Result(tuple(trained), facts)


@functools.cache
def _images(name: str, path: Path | None, device: str) -> data.ImageSet:
    """Return the images, read once a process and kept on the device."""
    return data.load(name, path).to(device)


def _train(pack: Pack, images: data.ImageSet, device: str, report: Report) -> Sequence[Outcome]:
    recipes = [trial.arm.recipe for trial in pack.slots]
    seeds = [trial.seed for trial in pack.slots]
    try:
        outcomes = train_pack(
            recipes,
            seeds,
            images,
            shares_images=pack.shares_images,
            device=device,
            fused=machine.fuses(device),
            report=report,
        )
        return outcomes[: len(pack.trials)]
    except (RuntimeError, MemoryError) as error:
        if not _is_out_of_memory(error):
            raise
        # Halving happens below: inside this block the exception would keep the tensors alive.
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
    if len(pack.trials) == 1:
        return [Outcome(status="not run", reason=f"does not fit into the memory of {device}")]
    return [o for half in _halves(pack) for o in _train(half, images, device, report)]


def _is_out_of_memory(error: RuntimeError | MemoryError) -> bool:
    """Return whether memory ran out; PyTorch has a class for that on a GPU, and only a text on a CPU."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in str(error)


def _halves(pack: Pack) -> tuple[Pack, Pack]:
    middle = len(pack.trials) // 2
    first: tuple[Trial, ...] = pack.trials[:middle]
    return Pack(first, pack.shares_images), Pack(pack.trials[middle:], pack.shares_images)


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
