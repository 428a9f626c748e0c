"""The look of every figure: one place for colors, sizes and type."""

import contextlib
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

INK, MUTED, GRID = "#1b1f24", "#5b636d", "#e3e6ea"

COLORS = ("#0072b2", "#d55e00", "#009e73", "#7a4f9e", "#b58900", "#56a4d6", "#a03060", "#4d4d4d")
"""Told apart by people with each kind of color blindness (after Okabe & Ito 2008), dark enough for lines."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
"""A second channel beside color, for print in gray."""

WIDTH = 7.4  # inches: two columns of a journal

RC: dict[Any, Any] = {
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "figure.constrained_layout.use": True,
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
    lines = textwrap.wrap(text, 84)
    room = [" "] if key else []
    figure.suptitle("\n".join(lines + room), x=0.01, ha="left", fontsize=11, fontweight="bold")
    if key:
        handles = [Line2D([], [], color=c, marker=m, ms=5, label=label) for label, (c, m) in key.items()]
        below = 1 - (0.02 + 0.19 * len(lines)) / figure.get_figheight()  # inches: margin and lines of type
        legend = figure.legend(
            handles=handles, loc="upper left", bbox_to_anchor=(0.003, below), ncols=len(key)
        )
        legend.set_frame_on(False)
        legend.set_in_layout(False)


def tidy(axes: Axes) -> None:
    """Leave only the lines that carry something."""
    sns.despine(ax=axes)
    axes.grid(visible=True, axis="y")
    axes.set_axisbelow(True)
