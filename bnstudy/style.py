"""The look of every figure: one place for colors, sizes and type."""

import contextlib
import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.textpath import TextToPath
from matplotlib.ticker import FuncFormatter

INK, MUTED, GRID = "#1b1f24", "#5b636d", "#e3e6ea"

COLORS = ("#0072b2", "#d55e00", "#009e73", "#7a4f9e", "#b58900", "#56a4d6", "#a03060", "#4d4d4d")
"""Told apart by people with each kind of color blindness (after Okabe & Ito 2008), dark enough for lines."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
"""A second channel beside color, for print in gray."""

WIDTH = 7.4  # inches: two columns of a journal
HEADLINE: dict[str, Any] = {"fontsize": 11, "fontweight": "bold"}
SMALL: dict[str, Any] = {"fontsize": 7.5, "color": MUTED}

RC: dict[Any, Any] = {
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "figure.constrained_layout.use": True,
    "font.sans-serif": ["DejaVu Sans", "Verdana", "sans-serif"],  # the first comes with matplotlib
    "font.size": 8.5,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.6,
    "svg.hashsalt": "bnstudy",
    "svg.fonttype": "none",
}


@contextlib.contextmanager
def applied() -> Iterator[None]:
    """Draw with the project's look inside the block, and restore what was."""
    with mpl.rc_context(), sns.axes_style("ticks", RC), mpl.rc_context(RC):
        yield


def palette(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return a color and a marker for each name, in order."""
    return {name: (COLORS[i % len(COLORS)], MARKERS[i % len(MARKERS)]) for i, name in enumerate(names)}


def headline(figure: Figure, text: str, key: Mapping[str, tuple[str, str]] | None = None) -> None:
    """Write a figure's question over it, left, and below it the key of labels to colors and markers."""
    lines, columns = _wrapped(text), _columns(list(key or {}))
    room = [" "] * math.ceil(len(key or {}) / columns)
    figure.suptitle("\n".join(lines + room), x=0.01, ha="left", **HEADLINE)
    if key:
        handles = [Line2D([], [], color=c, marker=m, ms=5, label=label) for label, (c, m) in key.items()]
        below = 1 - (0.02 + 0.19 * len(lines)) / figure.get_figheight()  # inches: margin and lines of type
        legend = figure.legend(
            handles=handles, loc="upper left", bbox_to_anchor=(0.003, below), ncols=columns
        )
        legend.set_frame_on(False)
        legend.set_in_layout(False)


def _wrapped(text: str) -> list[str]:
    """Return the lines of a headline, each as long as the width allows."""
    ways = (textwrap.wrap(text, letters) for letters in range(120, 0, -1))
    return next(way for way in ways if all(_inches(line, **HEADLINE) < WIDTH - 0.2 for line in way))


def _columns(labels: Sequence[str]) -> int:
    """Return how many columns of a key fit beside each other; matplotlib makes the first ones longer."""
    widths = np.array([_inches(label, fontsize=RC["font.size"]) + 0.62 for label in labels])  # line and gaps
    fits = (n for n in range(len(labels), 1, -1) if sum(c.max() for c in np.array_split(widths, n)) < WIDTH)
    return next(fits, 1)


def _inches(text: str, fontsize: float, fontweight: str = "normal") -> float:
    font = FontProperties(size=fontsize, weight=fontweight)
    return float(TextToPath().get_text_width_height_descent(text, font, ismath=False)[0]) / 72


def title(axes: Axes, text: str, reading: str) -> None:
    """Write over a panel what it shows, and below that, smaller, how to read its marks."""
    axes.set_title(text, pad=16)
    note = axes.annotate(
        reading, (0, 1), xytext=(0, 5), xycoords="axes fraction", textcoords="offset points", **SMALL
    )
    note.set_in_layout(False)


def footnote(figure: Figure, text: str) -> None:
    """Write a small line at the lower right edge, with room of its own."""
    figure.supxlabel(text, x=0.995, ha="right", **SMALL)


def percent(axis: Axis) -> None:
    """Write the shares of an axis as per cent, with no more digits than they need."""
    axis.set_major_formatter(FuncFormatter(lambda share, _: f"{round(100 * share, 6):g}%"))


def apart(values: Sequence[float], gap: float) -> list[float]:
    """Return the values moved up, where they must, to lie at least `gap` from each other; in order given."""
    moved = list(values)
    order = sorted(range(len(values)), key=lambda i: values[i])
    for below, above in pairwise(order):
        moved[above] = max(moved[above], moved[below] + gap)
    return moved


def tidy(axes: Axes, *, grid: Literal["x", "y"] = "y") -> None:
    """Leave only the lines that carry something; grid lines at the ticks of one axis."""
    sns.despine(ax=axes)
    axes.grid(visible=False)
    axes.grid(visible=True, axis=grid)
    axes.set_axisbelow(True)
