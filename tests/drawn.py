"""Figures of records made by hand, and what can be read off them."""

import itertools
from collections.abc import Iterator

import matplotlib as mpl
import numpy as np
from handmade import Measured, table
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from bnstudy.design import Ablation
from bnstudy.judgement import parties
from bnstudy.plots import figures, style
from bnstudy.plots.figures import Drawing


def drawing(ablation: Ablation, measured: Measured, preview: str = "") -> Drawing:
    """Return what a figure is drawn from."""
    return Drawing(ablation, parties.finished(table(ablation, measured)), preview)


def drawn(ablation: Ablation, measured: Measured, preview: str = "") -> Figure:
    """Return the ablation's figure."""
    return figures.draw(drawing(ablation, measured, preview))


def points(axes: Axes, marker: str, hollow: bool = True) -> set[tuple[float, float]]:
    """Return the positions of the markers of one arm that are, or are not, joined by a line."""
    lines = [x for x in axes.lines if x.get_marker() == marker and (x.get_linestyle() == "None") == hollow]
    return {(float(x), float(y)) for line in lines for x, y in np.asarray(line.get_xydata())}


def bars(axes: Axes) -> list[tuple[list[float], list[float]]]:
    """Return the ends of the thick intervals, x and y."""
    lines = [line for line in axes.lines if line.get_linewidth() == 3.5]
    return [(list(map(float, line.get_xdata())), list(map(float, line.get_ydata()))) for line in lines]


def ticks(axes: Axes) -> list[str]:
    """Return the labels of the x axis, in order."""
    return [label.get_text() for label in axes.get_xticklabels()]


def texts(figure: Figure) -> str:
    """Return everything that is written."""
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def written(axes: Axes) -> list[str]:
    """Return what is written beside an axes' lines, each as one line."""
    return [" ".join(text.get_text().split()) for text in axes.texts]


def boxes(figure: Figure) -> dict[str, mpl.transforms.Bbox]:
    """Return where each text of a figure is, in pixels, without the arrows of annotations."""
    with style.applied():
        figure.draw_without_rendering()
    beyond = {id(label) for axes in figure.axes for label in _beyond(axes)}
    found = [
        t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip() and id(t) not in beyond
    ]
    return {f"{place}: {text.get_text()}": Text.get_window_extent(text) for place, text in enumerate(found)}


def _beyond(axes: Axes) -> Iterator[Text]:
    """Yield the labels of ticks that lie beyond the ends of their axis, which are not drawn."""
    for axis in (axes.xaxis, axes.yaxis):
        low, high = sorted(axis.get_view_interval())
        room = 1e-9 * (high - low)
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
            if not low - room <= tick.get_loc() <= high + room:
                yield from (tick.label1, tick.label2)


def misplaced(figure: Figure) -> list[str | tuple[str, str]]:
    """Return the texts that reach over the edges of the page, and the pairs that cover each other; the
    headline, which keeps lines free, covers none."""
    found, page = boxes(figure), figure.bbox
    out: list[str | tuple[str, str]] = [
        text
        for text, box in found.items()
        if box.x0 < -1 or box.y0 < -1 or box.x1 > page.x1 + 1 or box.y1 > page.y1 + 1
    ]
    others = [(text, box.padded(-1)) for text, box in found.items() if not text.endswith("\n ")]
    for (a, here), (b, there) in itertools.combinations(others, 2):
        if here.overlaps(there):
            out.append((a, b))
    return out
