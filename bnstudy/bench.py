"""Throughput here: complete trials as bnstudy trains them, beside what a reader would write."""

import importlib.util
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from bnstudy import data, evaluate, machine, nets, optim, provenance, schedule, work
from bnstudy.design import Ablation, across
from bnstudy.errors import BnstudyError, unknown
from bnstudy.executors import Done, Failed, Pool
from bnstudy.ledger import Ledger
from bnstudy.outcome import Outcome
from bnstudy.packs import Job, Pack, Result, plan
from bnstudy.recipe import BN_LENET, Recipe
from bnstudy.storage import open_storage
from bnstudy.words import counted

RATES = (0.03, 0.1, 0.3, 0.5, 1, 2, 3, 10)
REPETITIONS = 3
Say = Callable[[str], None]


@dataclass(frozen=True)
class Case:
    """A recipe to measure with: what differs from BN-LeNet at batch 256, and how the packs are made."""

    changes: Mapping[str, Any] = field(default_factory=dict)
    shares_images: bool = True

    def recipe(self, epochs: int, sample: bool = False) -> Recipe:
        """Return the recipe for trials of that many epochs."""
        small = {"data": "sample", "train_images": 1600, "validation_images": 400} if sample else {}
        return BN_LENET.replace(epochs=epochs, **self.changes, **small)


CASES = {
    "bn-lenet": Case(),
    "own-images": Case(shares_images=False),
    "batch-128": Case({"batch_size": 128}),
    "no-norm": Case({"norm": "none"}),
    "padded": Case({"padding": 2}),
    "max-pool": Case({"pool": "max"}),
    "adam": Case({"optimizer": "adam"}),
    "dropout": Case({"dropout": 0.5}),
}


def measure(
    workers: int, epochs: int, data_dir: Path | None, say: Say, case: str = "bn-lenet"
) -> dict[str, Any]:
    """Return images a second of each peer, the median of interleaved repetitions, and their ratios.

    Every peer trains the recipe of `case` on all of Fashion-MNIST with `workers` cores; its rate counts
    training images over the wall time of everything it does for them. Beside them the cores' speed in a
    large float32 matrix product is measured, and how much of it bnstudy's training steps reach.
    """
    if case not in CASES:
        raise unknown("case", case, CASES)
    images = data.fetch(data_dir, say)
    jobs = {"bnstudy": work.run_pack, "plain": plain_loop, "steps": _steps, "peak": _products}
    pools = {name: Pool(run, ["cpu"] * workers) for name, run in jobs.items()}
    asked = Asked(CASES[case], images, workers, epochs)
    peers = {
        "bnstudy": lambda: _packed(pools["bnstudy"], asked, say),
        "plain": lambda: _plain(pools["plain"], asked),
    }
    if importlib.util.find_spec("d2l"):
        peers["d2l"] = lambda: _d2l(images, epochs, case)
    speeds = {name: lambda name=name: _speed(pools[name], asked) for name in ("steps", "peak")}
    try:
        for pool in pools.values():
            _warm(pool, workers)
        seen = _interleaved(peers | speeds, say)
    finally:
        for pool in pools.values():
            pool.close()
    return {
        "case": case,
        "recipe": {**asked.case.recipe(epochs).as_dict(), "lr": list(RATES)},
        "workers": workers,
        "epochs": epochs,
        **_compared({name: seen[name] for name in peers}),
        **_of_peak(seen, asked.case.recipe(epochs)),
        "provenance": {**provenance.code(), **provenance.host()},
    }


@dataclass(frozen=True)
class Asked:
    """One measurement."""

    case: Case
    images: Path | None
    workers: int
    epochs: int


def _interleaved(peers: Mapping[str, Callable[[], float]], say: Say) -> dict[str, list[float]]:
    """Return the rates of each peer, one after the other and again, so that all see the same machine."""
    seen: dict[str, list[float]] = {name: [] for name in peers}
    for repetition in range(REPETITIONS):
        for name, peer in peers.items():
            seen[name].append(peer())
            unit = "GFLOP/s" if name == "peak" else "images/s"
            say(f"{repetition + 1}/{REPETITIONS} {name}: {seen[name][-1]:,.0f} {unit}")
    return seen


def _compared(seen: Mapping[str, list[float]]) -> dict[str, Any]:
    """Return each peer's median rate, and how many times that of another bnstudy's is."""
    rates = {name: statistics.median(values) for name, values in seen.items()}
    ratios = {
        f"bnstudy to {name}": rates["bnstudy"] / rate for name, rate in rates.items() if name != "bnstudy"
    }
    return {"images_per_second": rates, "repetitions": dict(seen), "ratios": ratios}


def mflop(recipe: Recipe) -> float:
    """Return the arithmetic of one image through LeNet, forward and backward, in its matrix products.

    Three times those of the forward pass, less the gradient of the pixels; an addition counts.
    """
    first = 24 + 2 * recipe.padding
    second = first // 2 - 4
    pixels = first**2 * 6 * 25
    others = second**2 * 16 * 150 + 16 * (second // 2) ** 2 * 120 + 120 * 84 + 84 * 10
    return 2 * (2 * pixels + 3 * others) / 1e6


def _of_peak(seen: Mapping[str, list[float]], recipe: Recipe) -> dict[str, Any]:
    """Return the rate of training steps alone, the speed of matrix products, and the share reached.

    The three are of one repetition each time, and the share is the median of theirs.
    """
    shares = [
        rate * mflop(recipe) / 1e3 / peak for rate, peak in zip(seen["steps"], seen["peak"], strict=True)
    ]
    steps = statistics.median(seen["steps"])
    return {
        "training_images_per_second": steps,
        "not_training": 1 - statistics.median(seen["bnstudy"]) / steps,
        "peak_gflops": statistics.median(seen["peak"]),
        "share_of_peak": statistics.median(shares),
    }


def _design(asked: Asked, sample: bool = False) -> Ablation:
    """Return a design that is one full pack a worker."""
    shares = asked.case.shares_images
    rates = RATES if shares else RATES[:1]
    return Ablation(
        name="bench",
        question="How fast is this machine?",
        source="",
        factors=(across("lr", *rates) if shares else across("flush_denormals", True),),
        seeds=range(asked.workers * (1 if shares else len(RATES))),
        base=asked.case.recipe(asked.epochs, sample),
    )


def _warm(pool: Pool, workers: int) -> None:
    """Give each worker a small pack, so that no peer pays for imports and compiled loops."""
    _finish(pool, plan(_design(Asked(Case(), None, workers, 1), sample=True)), None)


def _finish(pool: Pool, packs: tuple[Pack, ...], images: Path | None) -> list[Result]:
    """Run one pack on each worker to its end, and return what came back."""
    waiting, left, results = deque(packs), len(packs), []
    while left:
        while waiting and pool.free():
            pool.submit(Job(waiting.popleft(), "cpu", images))
        for event in pool.events(1.0):
            if isinstance(event, Failed):
                raise BnstudyError(f"The measurement failed: {event.reason}.")
            if isinstance(event, Done):
                results.append(event.result)
                left -= 1
    return results


def _packed(pool: Pool, asked: Asked, say: Say) -> float:
    """Run complete trials through queue, workers and ledger."""
    with tempfile.TemporaryDirectory() as folder:
        storage = open_storage(Path(folder), say)
        ledger = Ledger(Path(folder) / "bench.jsonl")
        start = time.perf_counter()
        run = schedule.Run(_design(asked), ledger, storage, pool, images=asked.images)
        tally = run.execute()
        for reason in tally.failed.values():
            raise BnstudyError(f"The measurement failed: {reason}.")
        return tally.images / (time.perf_counter() - start)


def _plain(pool: Pool, asked: Asked) -> float:
    """Run one plain loop a core."""
    packs = plan(_design(asked))
    start = time.perf_counter()
    _finish(pool, packs, asked.images)
    recipe = packs[0].trials[0].arm.recipe
    return len(packs) * recipe.train_images * asked.epochs / (time.perf_counter() - start)


def _speed(pool: Pool, asked: Asked) -> float:
    """Return the speed of all workers at once, each by its own clock."""
    results = _finish(pool, plan(_design(asked)), asked.images)
    return sum(float(result.provenance["speed"]) for result in results)


def _steps(job: Job, report: Callable[[int], None]) -> Result:
    """Take training steps of a pack for some seconds, and return images a second."""
    machine.prepare(job.device)
    trials = job.pack.slots
    recipe = trials[0].arm.recipe
    images = data.load(recipe.data, job.images)
    net = nets.build(
        [t.arm.recipe for t in trials], [t.seed for t in trials], fused=machine.fuses(job.device)
    )
    optimizer = optim.build(net, [t.arm.recipe for t in trials])
    shape = (recipe.batch_size,) if job.pack.shares_images else (recipe.batch_size, len(trials))
    torch.set_flush_denormal(recipe.flush_denormals)

    def step() -> None:
        index = torch.randint(recipe.train_images, shape)
        entropy, _ = evaluate.losses(net, images, index)
        optimizer.step(torch.autograd.grad(entropy.mean(0).sum(), optimizer.parameters))

    rate = _per_second(step) * recipe.batch_size * len(trials)
    torch.set_flush_denormal(False)
    return Result((), {"speed": rate})


def _products(job: Job, report: Callable[[int], None]) -> Result:
    """Multiply large float32 matrices for some seconds, and return GFLOP a second."""
    machine.prepare(job.device)
    a = torch.ones(2048, 2048)
    return Result((), {"speed": _per_second(lambda: a @ a) * 2 * 2048**3 / 1e9})


def _per_second(act: Callable[[], object], seconds: float = 5.0) -> float:
    """Return how often a second `act` can be done, after one time that does not count."""
    act()
    count, start = 0, time.perf_counter()
    while (passed := time.perf_counter() - start) < seconds:
        act()
        count += 1
    return count / passed


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
    net = textbook_lenet(recipe)
    optimizer = (torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.SGD)(
        net.parameters(), recipe.lr
    )
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


def textbook_lenet(recipe: Recipe = BN_LENET) -> nn.Sequential:
    """Return the textbook's concise LeNet (d2l 7.6 and 8.5.5) of a case, for one trial."""

    def norm(channels: int, kind: type[nn.Module]) -> nn.Module:
        return nn.Identity() if recipe.norm == "none" else kind(channels)

    pool = nn.MaxPool2d if recipe.pool == "max" else nn.AvgPool2d
    side = 5 if recipe.padding else 4
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 5, padding=recipe.padding), norm(6, nn.BatchNorm2d), nn.Sigmoid(), pool(2)),
        *(nn.Conv2d(6, 16, 5), norm(16, nn.BatchNorm2d), nn.Sigmoid(), pool(2), nn.Flatten()),
        *(nn.Linear(16 * side**2, 120), norm(120, nn.BatchNorm1d), nn.Sigmoid(), nn.Dropout(recipe.dropout)),
        *(nn.Linear(120, 84), norm(84, nn.BatchNorm1d), nn.Sigmoid(), nn.Linear(84, 10)),
    )


def _d2l(images: Path, epochs: int, case: str) -> float:
    """Run `d2l`'s own `train_ch6` end to end in a fresh process, and return its rate."""
    command = [sys.executable, "-m", "bnstudy.textbook", str(images), str(epochs), case]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
        raise BnstudyError(f"d2l's own loop failed: {reason}. Mend or uninstall d2l, which is optional.")
    return float(done.stdout.split()[-1])


def text(measured: dict[str, Any]) -> str:
    """Return a measurement as text."""
    rates, seen = measured["images_per_second"], measured["repetitions"]
    cores, epochs = counted(measured["workers"], "core"), counted(measured["epochs"], "epoch")
    lines = [f"{measured['case']}, {cores}, {epochs} a trial; median and range of {REPETITIONS}"]
    for name, rate in rates.items():
        spread = f"{min(seen[name]):,.0f} to {max(seen[name]):,.0f}"
        lines.append(f"  {name:8} {rate:8,.0f} images/s ({spread})")
    lines += [f"  {name}: {ratio:.1f} times" for name, ratio in measured["ratios"].items()]
    lines.append(
        f"  Training steps alone pass {measured['training_images_per_second']:,.0f} images/s: evaluation and "
        f"the books take {measured['not_training']:.0%} of a trial."
    )
    lines.append(
        f"  They reach {measured['share_of_peak']:.0%} of the {measured['peak_gflops']:,.0f} GFLOP/s of "
        "large float32 matrix products."
    )
    return "\n".join(lines)
