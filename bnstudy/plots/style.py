"""The look of every figure: one place for colors, sizes and type."""

import contextlib
import math
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal, NamedTuple

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

from bnstudy.books import language
from bnstudy.plots import fonts

INK, MUTED, GRID = "#1b1f24", "#5b636d", "#e3e6ea"

COLORS = ("#0072b2", "#d55e00", "#009e73", "#7a4f9e", "#b58900", "#56a4d6", "#a03060", "#4d4d4d")
"""Told apart by people with each kind of color blindness (after Okabe & Ito 2008), dark enough for lines."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
"""A second channel beside color, for print in gray."""

DASHES: tuple[Any, ...] = ("-", (0, (4, 1.6)), (0, (1.2, 1.4)), (0, (6, 1.6, 1.2, 1.6)))
"""A third one, for the levels of a second factor in the same panel."""

WIDTH = 7.4  # inches: two columns of a journal
HEADLINE: dict[str, Any] = {"fontsize": 11}
SMALL: dict[str, Any] = {"fontsize": 8, "color": MUTED}
TYPE = 8.5  # points, of everything else
LINE = 1.2 / 72  # inches a point of type, from one line to the next

RC: dict[Any, Any] = {
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "figure.constrained_layout.use": True,
    "font.sans-serif": [fonts.OWN, "Verdana", "sans-serif"],
    "font.size": TYPE,
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


class Look(NamedTuple):
    """How an arm is told from the others, in color and in gray."""

    color: str
    marker: str
    dash: Any = "-"


@contextlib.contextmanager
def applied() -> Iterator[None]:
    """Draw with the project's look inside the block, and restore what was."""
    look = RC if language.current() == language.ENGLISH else RC | _type()
    with mpl.rc_context(), sns.axes_style("ticks", look), mpl.rc_context(look):
        yield


def _type() -> dict[Any, Any]:
    """Return the fonts of Chinese: what is there, and for vector figures what macOS and Windows have."""
    return {
        "font.family": [*fonts.families(), "sans-serif"],
        "font.sans-serif": [fonts.OWN, "PingFang SC", "Microsoft YaHei", "sans-serif"],
        "axes.titleweight": fonts.heavy(),
    }


def look(place: int, dash: int = 0) -> Look:
    """Return the look of the level at this place of its factor; no two of 64 are alike."""
    shifted = place + place // len(COLORS)
    return Look(COLORS[place % len(COLORS)], MARKERS[shifted % len(MARKERS)], DASHES[dash % len(DASHES)])


def palette(names: Sequence[str]) -> dict[str, Look]:
    """Return a look for each name, in order."""
    return {name: look(place) for place, name in enumerate(names)}


def headline(figure: Figure, text: str, key: Mapping[str, Look] | None = None, reading: str = "") -> None:
    """Make a figure higher and write its question over it, left; below, smaller, how to read its marks, and
    the key of labels to looks."""
    type_ = {**HEADLINE, "fontweight": fonts.heavy()}
    lines = wrapped(text, WIDTH - 0.2, **type_)
    small = wrapped(reading, WIDTH - 0.2, fontsize=SMALL["fontsize"]) if reading else []
    columns = _columns(list(key or {}))
    line = HEADLINE["fontsize"] * LINE
    notes = len(small) * SMALL["fontsize"] * LINE
    blank = math.ceil(notes / line) + (1 + math.ceil(len(key) / columns) if key else 0)
    figure.set_figheight(figure.get_figheight() + (len(lines) + blank) * line)
    figure.suptitle("\n".join(lines + [" "] * blank), x=0.01, ha="left", **type_)
    below, height = 0.02 + (len(lines) + 0.1) * line, figure.get_figheight()
    if small:
        note = figure.text(0.01, 1 - below / height, "\n".join(small), va="top", **SMALL)
        note.set_in_layout(False)
    if key:
        _key(figure, key, columns, 1 - (below + notes) / height)


def _key(figure: Figure, key: Mapping[str, Look], columns: int, top: float) -> None:
    handles = [
        Line2D([], [], color=look.color, marker=look.marker, ls=look.dash, ms=5, label=label)
        for label, look in key.items()
    ]
    legend = figure.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(0.003, top), ncols=columns, handlelength=2.6
    )
    legend.set_frame_on(False)
    legend.set_in_layout(False)


def wrapped(text: str, inches: float, *, fontsize: float = TYPE, fontweight: str = "normal") -> list[str]:
    """Return the lines of a text, each as long as the width allows; a single word may be longer."""
    if re.search(_IDEOGRAPH, text):
        return _wrapped_anywhere(text, inches, fontsize, fontweight)
    ways = (textwrap.wrap(text, letters, break_long_words=False) for letters in range(140, 0, -1))
    fits = (way for way in ways if all(width(line, fontsize, fontweight) <= inches for line in way))
    return next(fits, text.split())


_IDEOGRAPH = r"[\u2e80-\uffff]"
_OPENING, _CLOSING = (
    r"[\u201c\u300a\uff08]",
    r"[\u201d\u3001\u3002\u300b\uff01\uff09\uff0c\uff1a\uff1b\uff1f]",
)
_PIECE = re.compile(
    rf"\s*{_OPENING}*(?:(?!{_OPENING}|{_CLOSING}){_IDEOGRAPH}|[^\s\u201c\u201d\u2e80-\uffff]+){_CLOSING}*"
)
"""What a line is never broken inside of: an ideograph or a word, with the punctuation that belongs to it."""


def _wrapped_anywhere(text: str, inches: float, fontsize: float, fontweight: str) -> list[str]:
    """Return the lines of a text in Chinese, which may be broken between any two ideographs."""
    lines = [""]
    for piece in _PIECE.findall(text):
        if lines[-1] and width(lines[-1] + piece, fontsize, fontweight) > inches:
            lines.append("")
        lines[-1] += piece if lines[-1] else piece.lstrip()
    return lines


def _columns(labels: Sequence[str]) -> int:
    """Return how many columns of a key fit beside each other; matplotlib makes the first ones longer."""
    widths = np.array([width(label) + 0.7 for label in labels])  # line and gaps
    fits = (n for n in range(len(labels), 1, -1) if sum(c.max() for c in np.array_split(widths, n)) < WIDTH)
    return next(fits, 1)


def width(text: str, fontsize: float = TYPE, fontweight: str = "normal") -> float:
    """Return how long a line of text is, in inches."""
    return _width(text, fontsize, fontweight, fonts.families())


@lru_cache(maxsize=4096)
def _width(text: str, fontsize: float, fontweight: str, families: Sequence[str]) -> float:
    font = FontProperties(size=fontsize, weight=fontweight, family=list(families))
    return float(TextToPath().get_text_width_height_descent(text, font, ismath=False)[0]) / 72


def title(axes: Axes, text: str, reading: str = "") -> None:
    """Write over a panel what it shows, and below that, smaller, how to read its marks."""
    axes.set_title(text, pad=16 if reading else 6)
    if reading:
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
    """Return the values moved, where they must, to lie at least `gap` from each other; in order given.

    Values too close to each other spread around their mean.
    """
    order = sorted(range(len(values)), key=lambda i: values[i])
    groups: list[list[int]] = []
    centers: list[float] = []
    for place in order:
        groups.append([place])
        centers.append(values[place])
        while len(groups) > 1 and centers[-1] - centers[-2] < gap * (len(groups[-1]) + len(groups[-2])) / 2:
            last = groups.pop()
            groups[-1] += last
            centers[-2:] = [sum(values[i] for i in groups[-1]) / len(groups[-1])]
    moved = list(values)
    for group, center in zip(groups, centers, strict=True):
        for step, place in enumerate(group):
            moved[place] = center + (step - (len(group) - 1) / 2) * gap
    return moved


def thinned(labels: Sequence[str], places: Sequence[float], gap: float = 0.08) -> list[str]:
    """Return labels at ascending places (in inches) with those blanked that would touch the one before."""
    kept, free = [], -math.inf
    for label, place in zip(labels, places, strict=True):
        half = width(label) / 2
        fits = bool(label) and place - half >= free
        kept.append(label if fits else "")
        free = place + half + gap if fits else free
    return kept


def tidy(axes: Axes, *, grid: Literal["x", "y"] = "y") -> None:
    """Leave only the lines that carry something, and grid lines at the ticks of one axis."""
    sns.despine(ax=axes, left=grid == "x")
    axes.grid(visible=False)
    axes.grid(visible=True, axis=grid)
    axes.set_axisbelow(True)
