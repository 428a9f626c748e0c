"""Throughput here: complete trials as bnstudy trains them, beside what a reader would write."""

import importlib.util
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnstudy.books import provenance, schedule
from bnstudy.books.executors import Done, Failed, Pool
from bnstudy.books.ledger import Ledger
from bnstudy.books.storage import open_storage
from bnstudy.commands import bench_steps, peers
from bnstudy.commands.peers import CASES, Case
from bnstudy.design import Ablation, across
from bnstudy.errors import BnstudyError, unknown
from bnstudy.packs import Job, Pack, Result, plan
from bnstudy.recipe import Recipe
from bnstudy.training import data, work
from bnstudy.words import counted

RATES = (0.03, 0.1, 0.3, 0.5, 1, 2, 3, 10)
PACK_SIZES = (2, 4, 8, 16)
OPERATORS = 12
"""Told by name, of those that take most of a step."""

Say = Callable[[str], None]


def measure(
    workers: int,
    epochs: int,
    data_dir: Path | None,
    say: Say,
    case: str = "bn-lenet",
    *,
    repetitions: int = 3,
    pack_sizes: bool = False,
    operators: bool = False,
) -> dict[str, Any]:
    """Return images a second of each peer, the median of interleaved repetitions, and their ratios.

    Every peer trains the recipe of `case` on all of Fashion-MNIST with `workers` cores; its rate counts
    training images over the wall time of everything it does for them. Beside them the cores' speed in a
    large float32 matrix product is measured, and how much of it bnstudy's training steps reach; if asked,
    these steps in packs of other sizes, and their time by operator.
    """
    if case not in CASES:
        raise unknown("case", case, CASES)
    if importlib.util.find_spec("d2l"):
        peers.check_d2l()
    asked = Asked(CASES[case], data.fetch(data_dir, say), workers, epochs)
    jobs = {"bnstudy": work.run_pack, "plain": peers.plain_loop, "steps": bench_steps.speed}
    jobs |= {"peak": bench_steps.products} | ({"operators": bench_steps.operators} if operators else {})
    pools: dict[str, Pool] = {}
    try:
        for name, run in jobs.items():
            pools[name] = Pool(run, ["cpu"] * workers)
            _warm(pools[name], workers)
        planned = len(_packs(asked)[0].trials)
        sizes = [size for size in PACK_SIZES if size != planned] if pack_sizes else []
        whole, speeds = _peers(pools, asked, case, say), _speeds(pools, asked, sizes)
        seen = _interleaved(whole | speeds, repetitions, say)
        spent = _finish(pools["operators"], _packs(asked), asked.images)[0].provenance if operators else {}
    finally:
        for pool in pools.values():
            pool.close()
    return {
        "case": case,
        "recipe": {**asked.case.recipe(epochs).as_dict(), "lr": list(RATES)},
        "workers": workers,
        "epochs": epochs,
        **_compared({name: seen[name] for name in whole}),
        **_of_peak(seen, asked.case.recipe(epochs)),
        "pack": planned,
        "pack_sizes": {str(n): seen["steps" if n == planned else _of(n)] for n in PACK_SIZES if pack_sizes},
        **spent,
        "provenance": {**provenance.code(), **provenance.host()},
    }


@dataclass(frozen=True)
class Asked:
    """One measurement."""

    case: Case
    images: Path
    workers: int
    epochs: int


def _peers(pools: Mapping[str, Pool], asked: Asked, case: str, say: Say) -> dict[str, Callable[[], float]]:
    """Return what trains whole trials, by name; `d2l` where it is installed."""
    whole = {
        "bnstudy": lambda: _packed(pools["bnstudy"], asked, say),
        "plain": lambda: _plain(pools["plain"], asked),
    }
    if importlib.util.find_spec("d2l"):
        whole["d2l"] = lambda: peers.d2l_rate(asked.images, asked.epochs, case)
    return whole


def _speeds(pools: Mapping[str, Pool], asked: Asked, sizes: Sequence[int]) -> dict[str, Callable[[], float]]:
    """Return what measures steps, as planned and in packs of these sizes, and matrix products, by name."""

    def packed(size: int) -> Callable[[], float]:
        packs = tuple(Pack((pack.trials * 2)[:size], pack.shares_images) for pack in _packs(asked))
        return lambda: _speed(pools["steps"], packs, asked.images)

    return {
        "steps": lambda: _speed(pools["steps"], _packs(asked), asked.images),
        "peak": lambda: _speed(pools["peak"], _packs(asked), asked.images),
        **{_of(size): packed(size) for size in sizes},
    }


def _of(size: int) -> str:
    return f"packs of {size}"


def _interleaved(
    measured: Mapping[str, Callable[[], float]], repetitions: int, say: Say
) -> dict[str, list[float]]:
    """Return the rates of each peer, one after the other and again, so that all see the same machine."""
    seen: dict[str, list[float]] = {name: [] for name in measured}
    for repetition in range(repetitions):
        for name, rate in measured.items():
            seen[name].append(rate())
            unit = "GFLOP/s" if name == "peak" else "images/s"
            say(f"{repetition + 1}/{repetitions} {name}: {seen[name][-1]:,.0f} {unit}")
    return seen


def _compared(seen: Mapping[str, list[float]]) -> dict[str, Any]:
    """Return each peer's median rate, and how many times that of another bnstudy's is."""
    rates = {name: statistics.median(values) for name, values in seen.items()}
    ratios = {
        f"bnstudy to {name}": rates["bnstudy"] / rate for name, rate in rates.items() if name != "bnstudy"
    }
    return {"images_per_second": rates, "repetitions": dict(seen), "ratios": ratios}


def _of_peak(seen: Mapping[str, list[float]], recipe: Recipe) -> dict[str, Any]:
    """Return the rate of training steps alone, the speed of matrix products, and the share reached.

    The three are of one repetition each time, and the share is the median of theirs.
    """
    shares = [
        rate * bench_steps.mflop(recipe) / 1e3 / peak
        for rate, peak in zip(seen["steps"], seen["peak"], strict=True)
    ]
    steps = statistics.median(seen["steps"])
    return {
        "training_images_per_second": steps,
        "not_training": 1 - statistics.median(seen["bnstudy"]) / steps,
        "peak_gflops": statistics.median(seen["peak"]),
        "share_of_peak": statistics.median(shares),
    }


def _design(case: Case, workers: int, epochs: int, sample: bool = False) -> Ablation:
    """Return a design that is one full pack a worker."""
    shares = case.shares_images
    rates = RATES if shares else RATES[:1]
    return Ablation(
        name="bench",
        question="How fast is this machine?",
        source="",
        factors=(across("lr", *rates) if shares else across("flush_denormals", True),),
        seeds=range(workers * (1 if shares else len(RATES))),
        base=case.recipe(epochs, sample),
    )


def _packs(asked: Asked) -> tuple[Pack, ...]:
    """Return the packs that are measured, one a worker."""
    return plan(_design(asked.case, asked.workers, asked.epochs))


def _warm(pool: Pool, workers: int) -> None:
    """Give each worker a small pack, so that no peer pays for imports and compiled loops."""
    _finish(pool, plan(_design(Case(), workers, 1, sample=True)), None)


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
        design = _design(asked.case, asked.workers, asked.epochs)
        start = time.perf_counter()
        run = schedule.Run(design, ledger, storage, pool, images=asked.images)
        tally = run.execute()
        for reason in tally.failed.values():
            raise BnstudyError(f"The measurement failed: {reason}.")
        return tally.images / (time.perf_counter() - start)


def _plain(pool: Pool, asked: Asked) -> float:
    """Run one plain loop a core."""
    packs = _packs(asked)
    start = time.perf_counter()
    _finish(pool, packs, asked.images)
    recipe = packs[0].trials[0].arm.recipe
    return len(packs) * recipe.train_images * asked.epochs / (time.perf_counter() - start)


def _speed(pool: Pool, packs: tuple[Pack, ...], images: Path | None) -> float:
    """Return the speed of all workers at once, each by its own clock."""
    results = _finish(pool, packs, images)
    return sum(float(result.provenance["speed"]) for result in results)


def text(measured: dict[str, Any]) -> str:
    """Return a measurement as text."""
    rates, seen = measured["images_per_second"], measured["repetitions"]
    cores, epochs = counted(measured["workers"], "core"), counted(measured["epochs"], "epoch")
    repetitions = len(seen["bnstudy"])
    lines = [f"{measured['case']}, {cores}, {epochs} a trial; median and range of {repetitions}"]
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
    for size, sized in measured["pack_sizes"].items():
        lines.append(f"  In packs of {size:>2}: {statistics.median(sized):8,.0f} images/s")
    return "\n".join([*lines, *_by_operator(measured.get("operators", {}))])


def _by_operator(spent: Mapping[str, float]) -> list[str]:
    """Return the operators that take most of a step, the rest in one line."""
    if not spent:
        return []
    step, most = sum(spent.values()), dict(list(spent.items())[:OPERATORS])
    shown = most | {"all others": step - sum(most.values())}
    return [
        f"  A step of one worker takes {step:.0f} ms, profiled:",
        *(f"    {name:32} {each:6.1f} ms {each / step:5.0%}" for name, each in shown.items()),
    ]
