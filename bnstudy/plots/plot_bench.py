"""The figure of a measurement: whole trials of each peer, and training steps by the size of their packs."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from bnstudy.plots import style
from bnstudy.words import counted

LABELS = {
    "bnstudy": "bnstudy",
    "plain": "plain loops,\none a core",
    "d2l": "the textbook's\ntrain_ch6",
}
THOUSANDS = FuncFormatter(lambda rate, _: f"{rate / 1e3:g}")


def benchmark(measured: Mapping[str, Any]) -> Figure:
    """Return the figure of what `bench.measure` returned; every repetition is a mark."""
    curve = measured["pack_sizes"]
    with style.applied():
        panels = 2 if curve else 1
        figure, axes = plt.subplots(1, panels, figsize=(style.WIDTH, 2.3), squeeze=False)
        _peers(axes[0, 0], measured)
        if curve:
            _pack_sizes(axes[0, 1], measured)
        cores, epochs = counted(measured["workers"], "core"), counted(measured["epochs"], "epoch")
        style.headline(
            figure,
            f"Training {measured['case']} on {measured['provenance'].get('host_cpu') or 'this machine'}",
            reading=f"{cores}, {epochs} a trial. Each mark is one repetition, a line or number their median; "
            "all were measured in turns.",
        )
        rates = measured["images_per_second"]
        told = "; ".join(f"{LABELS[name]} {rate:,.0f}".replace("\n", " ") for name, rate in rates.items())
        figure.set_label(f"Training images a second, whole trials: {told}.")
        return figure


def _peers(axes: Axes, measured: Mapping[str, Any]) -> None:
    rates, looks = measured["images_per_second"], style.palette(list(LABELS))
    for place, (name, seen) in enumerate(measured["repetitions"].items()):
        _marks(axes, [place] * len(seen), seen, looks[name], across=True)
        ratio = f", {rates['bnstudy'] / rates[name]:.1f} times slower" if name != "bnstudy" else ""
        text = f"{rates[name] / 1e3:.1f}{ratio}"
        axes.annotate(text, (max(seen), place), (7, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(rates)), [LABELS[name] for name in rates])
    axes.set_ylim(len(rates) - 0.5, -0.5)
    axes.set_xlim(0, 1.25 * max(map(max, measured["repetitions"].values())))
    axes.xaxis.set_major_formatter(THOUSANDS)
    axes.set_title("Whole trials")
    axes.set_xlabel("thousand training images a second")
    style.tidy(axes, grid="x")


def _pack_sizes(axes: Axes, measured: Mapping[str, Any]) -> None:
    sizes = [int(size) for size in measured["pack_sizes"]]
    rates = list(measured["pack_sizes"].values())
    look = style.look(0)
    for size, seen in zip(sizes, rates, strict=True):
        _marks(axes, [size] * len(seen), seen, look)
    medians = [statistics.median(seen) for seen in rates]
    axes.plot(sizes, medians, color=look.color)
    if measured["pack"] in sizes:
        at = medians[sizes.index(measured["pack"])]
        axes.annotate("planned", (measured["pack"], at), (0, -22), textcoords="offset points", ha="center")
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(sizes))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda size, _: f"{size:g}"))
    axes.yaxis.set_major_formatter(THOUSANDS)
    axes.set_ylim(0, 1.1 * max(map(max, rates)))
    axes.set_title("Training steps alone")
    axes.set_xlabel("trials a pack")
    axes.set_ylabel("thousand a second")
    style.tidy(axes)


def _marks(
    axes: Axes, places: Sequence[float], rates: Sequence[float], look: style.Look, *, across: bool = False
) -> None:
    x, y = (rates, places) if across else (places, rates)
    axes.plot(x, y, look.marker, color=look.color, mfc="none", ms=5, clip_on=False)
