"""What is fine on this machine, what is not, and what to do."""

import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from bnstudy.books import provenance
from bnstudy.commands.study import cores
from bnstudy.errors import BnstudyError
from bnstudy.outcome import Outcome
from bnstudy.recipe import Recipe
from bnstudy.training import data, machine, train
from bnstudy.words import counted

NEEDED_BYTES = 1_500_000_000
"""Memory a worker takes: PyTorch, the images, and the activations of 8 trials at batch 256 (1.46 GB seen
with the framework's operations, 1.0 GB with our own loops)."""


@dataclass(frozen=True)
class Finding:
    """One thing looked at; `state` is fine, note or broken."""

    what: str
    state: str
    found: str
    advice: str = ""


def examine(results: Path, data_dir: Path | None) -> list[Finding]:
    """Return all findings, in the order in which a run would meet them."""
    checks: list[Callable[[], Iterator[Finding]]] = [
        _versions,
        _processor,
        _gpus,
        lambda: _data(data_dir),
        lambda: _results(results),
        _determinism,
    ]
    return [finding for check in checks for finding in check()]


def _versions() -> Iterator[Finding]:
    facts = provenance.host()
    names = ("python", "torch", "optuna", "pandas", "numpy")
    yield Finding("versions", "fine", ", ".join(f"{name} {facts.get(name)}" for name in names))


def _processor() -> Iterator[Finding]:
    count, memory = cores(), psutil.virtual_memory().available
    name, vectors = provenance.host()["host_cpu"], torch.backends.cpu.get_cpu_capability()
    yield Finding("processor", "fine", f"{name}, {counted(count, 'core')}, {vectors}")
    enough = memory >= count * NEEDED_BYTES
    yield Finding(
        "memory",
        "fine" if enough else "note",
        f"{memory / 1e9:.1f} GB free",
        "" if enough else _fewer_workers(count, memory),
    )
    if not machine.fuses("cpu"):
        advice = "Training works, about half as fast: pip install numba."
        yield Finding("kernels", "note", "Numba is not installed", advice)
    if platform.libc_ver()[0] != "glibc":
        yield Finding("allocator", "note", f"not glibc ({sys.platform})", "Training works, more slowly.")


def _fewer_workers(count: int, memory: int) -> str:
    needed, fit = count * NEEDED_BYTES / 1e9, max(1, memory // NEEDED_BYTES)
    return f"{counted(count, 'worker')} may take {needed:.1f} GB; use fewer: --workers {fit}."


def _gpus() -> Iterator[Finding]:
    cards, usable = provenance.gpus(), torch.cuda.is_available()
    if cards and not usable:
        yield Finding(
            "GPU",
            "note",
            f"{', '.join(cards)}, unused",
            "This PyTorch has no CUDA, or the driver is too old for it: install another PyTorch or driver.",
        )
    else:
        found = ", ".join(machine.devices("cuda")) if usable else "none"
        yield Finding("GPU", "fine", found, "" if usable else "The CPU is used; that is enough.")


def _data(data_dir: Path | None) -> Iterator[Finding]:
    sources = {source.kind: source for source in data.where(data_dir)}
    if data_dir is not None and not sources["data-dir"].available:
        advice = "Give a folder with the four files, or leave --data-dir out."
        yield Finding("images", "broken", f"--data-dir: {sources['data-dir'].note}", advice)
        return
    ready = [source.kind for source in sources.values() if source.available]
    if "cache" in ready:
        yield Finding("images", "fine", f"{data.cache_file()}, checked")
    elif ready:
        found = f"not fetched yet; to be tried in this order: {', '.join(ready)}"
        yield Finding("images", "note", found, "`bnstudy data` fetches them, `bnstudy run` too.")
    else:
        advice = "Give a folder with the four files as --data-dir; the smoke profile needs none."
        yield Finding("images", "broken", "there is no source of Fashion-MNIST", advice)


def _results(results: Path) -> Iterator[Finding]:
    folder = next(path for path in [results.absolute(), *results.absolute().parents] if path.exists())
    try:
        probe = folder / ".bnstudy-probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        yield Finding(
            "results", "broken", f"{folder}: {error.strerror}", "Choose another folder with --results."
        )
        return
    free = shutil.disk_usage(folder).free
    state, advice = ("fine", "") if free > 100_000_000 else ("note", "Less than 100 MB are free.")
    yield Finding("results", state, f"{results} can be written, {free / 1e9:.0f} GB free", advice)


def _determinism() -> Iterator[Finding]:
    """Train the same trial in two packs on the sample: its numbers must not depend on its company."""
    try:
        same = alone_or_not()
    except BnstudyError as error:
        yield Finding("determinism", "broken", str(error), "Install bnstudy again.")
        return
    yield Finding(
        "determinism",
        "fine" if same else "note",
        "a trial's numbers are the same bits in packs of 2 and 5"
        if same
        else "packs change a trial's last bits",
        "" if same else "Results are right, but `show --rerun` agrees within rounding only.",
    )


def alone_or_not() -> bool:
    """Return whether a trial is bitwise the same in a pack of 2 and in another place of a pack of 5."""
    machine.prepare("cpu")
    images = data.load("sample")
    recipe = Recipe(data="sample", train_images=320, validation_images=100, batch_size=64, epochs=1)

    def outcome(rates: tuple[float, ...], slot: int) -> Outcome:
        recipes = [recipe.replace(lr=rate) for rate in rates]
        fused = machine.fuses("cpu")
        return train.train_pack(recipes, [7] * len(rates), images, shares_images=True, fused=fused)[slot]

    return outcome((0.5, 3), 0) == outcome((30, 0.1, 1, 0.5, 100), 3)
