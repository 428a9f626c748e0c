"""Throughput here: complete trials as bnstudy trains them, beside what a reader would write."""

import importlib.util
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from bnstudy import data, machine, provenance, schedule, work
from bnstudy.design import Ablation, across
from bnstudy.errors import BnstudyError
from bnstudy.executors import Done, Failed, Pool
from bnstudy.ledger import Ledger
from bnstudy.outcome import Outcome
from bnstudy.packs import Job, Pack, Result, plan
from bnstudy.recipe import BN_LENET
from bnstudy.words import counted

RATES = (0.03, 0.1, 0.3, 0.5, 1, 2, 3, 10)
REPETITIONS = 3
Say = Callable[[str], None]


def measure(workers: int, epochs: int, data_dir: Path | None, say: Say) -> dict[str, Any]:
    """Return images a second of each peer, the median of interleaved repetitions, and their ratios.

    Every peer trains BN-LeNet at batch 256 on all of Fashion-MNIST with `workers` cores; its rate counts
    training images over the wall time of everything it does for them.
    """
    images = data.fetch(data_dir, say)
    pools = {"bnstudy": Pool(work.run_pack, ["cpu"] * workers), "plain": Pool(plain_loop, ["cpu"] * workers)}
    peers = {
        "bnstudy": lambda: _packed(pools["bnstudy"], images, workers, epochs, say),
        "plain": lambda: _plain(pools["plain"], images, workers, epochs),
    }
    if importlib.util.find_spec("d2l"):
        peers["d2l"] = lambda: _d2l(images, epochs)
    try:
        for pool in pools.values():
            _warm(pool, workers)
        seen = _interleaved(peers, say)
    finally:
        for pool in pools.values():
            pool.close()
    return {
        "recipe": "BN-LeNet, batch 256, float32",
        "workers": workers,
        "epochs": epochs,
        **_compared(seen),
        "provenance": {**provenance.code(), **provenance.host()},
    }


def _interleaved(peers: Mapping[str, Callable[[], float]], say: Say) -> dict[str, list[float]]:
    """Return the rates of each peer, one after the other and again, so that all see the same machine."""
    seen: dict[str, list[float]] = {name: [] for name in peers}
    for repetition in range(REPETITIONS):
        for name, peer in peers.items():
            seen[name].append(peer())
            say(f"{repetition + 1}/{REPETITIONS} {name}: {seen[name][-1]:,.0f} images/s")
    return seen


def _compared(seen: Mapping[str, list[float]]) -> dict[str, Any]:
    """Return each peer's median rate, and how many times that of another bnstudy's is."""
    rates = {name: statistics.median(values) for name, values in seen.items()}
    ratios = {
        f"bnstudy to {name}": rates["bnstudy"] / rate for name, rate in rates.items() if name != "bnstudy"
    }
    return {"images_per_second": rates, "repetitions": dict(seen), "ratios": ratios}


def _design(epochs: int, seeds: int, sample: bool = False) -> Ablation:
    small = {"data": "sample", "train_images": 1600, "validation_images": 400} if sample else {}
    return Ablation(
        name="bench",
        question="How fast is this machine?",
        source="",
        factors=(across("lr", *RATES),),
        seeds=range(seeds),
        base=BN_LENET.replace(epochs=epochs, **small),
    )


def _warm(pool: Pool, workers: int) -> None:
    """Give each worker a small pack, so that no peer pays for imports."""
    packs = plan(_design(1, workers, sample=True))
    _finish(pool, packs, None)


def _finish(pool: Pool, packs: tuple[Pack, ...], images: Path | None) -> None:
    """Run one pack on each worker to its end."""
    waiting, left = deque(packs), len(packs)
    while left:
        while waiting and pool.free():
            pool.submit(Job(waiting.popleft(), "cpu", images))
        for event in pool.events(1.0):
            if isinstance(event, Failed):
                raise BnstudyError(f"The measurement failed: {event.reason}.")
            left -= isinstance(event, Done)


def _packed(pool: Pool, images: Path, workers: int, epochs: int, say: Say) -> float:
    """Run complete trials through queue, workers and ledger."""
    with tempfile.TemporaryDirectory() as folder:
        storage = schedule.open_storage(Path(folder), say)
        ledger = Ledger(Path(folder) / "bench.jsonl")
        start = time.perf_counter()
        run = schedule.Run(_design(epochs, workers), ledger, storage, pool, images=images)
        tally = run.execute()
        for reason in tally.failed.values():
            raise BnstudyError(f"The measurement failed: {reason}.")
        return tally.images / (time.perf_counter() - start)


def _plain(pool: Pool, images: Path, workers: int, epochs: int) -> float:
    """Run one plain loop a core."""
    packs = plan(_design(epochs, workers))
    start = time.perf_counter()
    _finish(pool, packs, images)
    recipe = packs[0].trials[0].arm.recipe
    return len(packs) * recipe.train_images * epochs / (time.perf_counter() - start)


def plain_loop(job: Job, report: Callable[[int], None]) -> Result:
    """Train the first trial of a pack as a reader would, over one tensor in memory, validating each epoch.

    Its one outcome holds the validation accuracies.
    """
    machine.prepare(job.device)
    trial = job.pack.trials[0]
    recipe = trial.arm.recipe
    images = data.load(recipe.data, job.images)
    pixels, labels = data.batch(images, torch.arange(len(images.images)))
    sizes = {"train_images": recipe.train_images, "validation_images": recipe.validation_images}
    split = data.split(images, trial.seed, **sizes)
    net = textbook_lenet()
    optimizer = torch.optim.SGD(net.parameters(), lr=recipe.lr)
    accuracies = []
    for epoch in range(recipe.epochs):
        net.train()
        order = split.train[data.order(len(split.train), trial.seed, epoch)]
        for index in torch.split(order, recipe.batch_size):
            optimizer.zero_grad()
            torch.autograd.backward(F.cross_entropy(net(pixels[index]), labels[index]))
            optimizer.step()
        net.eval()
        with torch.no_grad():
            right = [
                (net(pixels[index]).argmax(1) == labels[index]).sum().item()
                for index in torch.split(split.validation, recipe.batch_size)
            ]
        accuracies.append(sum(right) / len(split.validation))
    return Result((Outcome(status="ok", validation_accuracy=tuple(accuracies)),), {})


def textbook_lenet() -> nn.Sequential:
    """Return the textbook's concise BN-LeNet (d2l 8.5.6), for one trial."""
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 5), nn.BatchNorm2d(6), nn.Sigmoid(), nn.AvgPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.BatchNorm2d(16), nn.Sigmoid(), nn.AvgPool2d(2), nn.Flatten()),
        *(nn.Linear(256, 120), nn.BatchNorm1d(120), nn.Sigmoid()),
        *(nn.Linear(120, 84), nn.BatchNorm1d(84), nn.Sigmoid(), nn.Linear(84, 10)),
    )


def _d2l(images: Path, epochs: int) -> float:
    """Run `d2l`'s own `train_ch6` end to end in a fresh process, and return its rate."""
    command = [sys.executable, "-m", "bnstudy.textbook", str(images), str(epochs)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
        raise BnstudyError(f"d2l's own loop failed: {reason}. Mend or uninstall d2l, which is optional.")
    return float(done.stdout.split()[-1])


def text(measured: dict[str, Any]) -> str:
    """Return a measurement as text."""
    rates, seen = measured["images_per_second"], measured["repetitions"]
    cores, epochs = counted(measured["workers"], "core"), counted(measured["epochs"], "epoch")
    lines = [f"{measured['recipe']}, {cores}, {epochs} a trial; median and range of {REPETITIONS}"]
    for name, rate in rates.items():
        spread = f"{min(seen[name]):,.0f} to {max(seen[name]):,.0f}"
        lines.append(f"  {name:8} {rate:8,.0f} images/s ({spread})")
    lines += [f"  {name}: {ratio:.1f} times" for name, ratio in measured["ratios"].items()]
    return "\n".join(lines)
