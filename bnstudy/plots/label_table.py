"""The labels left of a figure's lines: a small table with a column for each factor, where what a line shares
with the one above is not written again."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from matplotlib.axes import Axes

from bnstudy.plots import style

UNIT = 0.22  # inches of a line without wrapped labels
GROUP = 0.45  # of such a line, between groups
GAP = 0.13  # inches between columns
LEAST = 0.75  # inches of the narrowest column that is wrapped further
MOST = 3.6  # inches of all columns: the rest of two journal columns is for the data


@dataclass(frozen=True)
class LabelTable:
    """Cells of text by line and column."""

    cells: Sequence[Sequence[str]]
    headers: Sequence[str] = ()
    most: float = MOST

    @cached_property
    def shown(self) -> list[list[str]]:
        """The cells, blank where the line above says the same in this and all earlier columns."""
        lines, above = [], ["\0"] * len(self.cells[0])
        for line in self.cells:
            same = next((c for c, (a, b) in enumerate(zip(line, above, strict=True)) if a != b), len(line))
            lines.append([""] * min(same, len(line) - 1) + list(line[min(same, len(line) - 1) :]))
            above = list(line)
        return lines

    @cached_property
    def widths(self) -> list[float]:
        """Inches of each column: the widest ones are wrapped until all fit."""
        widths = [max(map(style.width, column)) for column in self._columns()]
        while sum(widths) + GAP * len(widths) > self.most and max(widths) > LEAST:
            widest = widths.index(max(widths))
            widths[widest] *= 0.93
        return widths

    def _columns(self) -> list[list[str]]:
        heads = self.headers or [""] * len(self.cells[0])
        return [[head, *(line[c] for line in self.cells)] for c, head in enumerate(heads)]

    @cached_property
    def lines(self) -> list[list[list[str]]]:
        """The lines of each shown cell."""
        return [
            [style.wrapped(cell, width) if cell else [] for cell, width in zip(row, self.widths, strict=True)]
            for row in self.shown
        ]

    @cached_property
    def heights(self) -> list[float]:
        """The height of each line, in units; a wrapped label needs its group to be high enough."""
        heights = [1.0] * len(self.cells)
        for column in reversed(range(len(self.widths))):
            starts = [r for r, row in enumerate(self.shown) if row[column]]
            for start, end in zip(starts, [*starts[1:], len(heights)], strict=False):
                needed = (len(self.lines[start][column]) * style.TYPE * style.LINE + 0.06) / UNIT
                heights[end - 1] += max(0.0, needed - sum(heights[start:end]))
        return heights

    @cached_property
    def places(self) -> list[float]:
        """Where each line is, downward, in units; groups of the first column stand apart."""
        places, top = [], 0.0
        grouped = len(self.widths) > 1 and any(not row[0] for row in self.shown)
        for r, height in enumerate(self.heights):
            top += GROUP if grouped and r and self.shown[r][0] else 0.0
            places.append(top + 0.5)
            top += height
        return places

    @property
    def height(self) -> float:
        """Inches of all lines and their headers."""
        return UNIT * (self.places[-1] - 0.5 + self.heights[-1]) + (0.2 if any(self.headers) else 0.0)

    def draw(self, axes: Axes, *, written: bool = True) -> list[float]:
        """Write the table left of the axes, whose y it sets; return the place of each line."""
        left = -sum(self.widths) - GAP * len(self.widths)
        for c, width in enumerate(self.widths if written else ()):
            for r, row in enumerate(self.lines):
                if row[c]:
                    self._write(axes, left, self.places[r], "\n".join(row[c]))
            if any(self.headers):
                header = axes.annotate(
                    self.headers[c], (0, 1), (72 * left, 4), va="bottom", **_OUTSIDE, **style.SMALL
                )
                header.set_fontstyle("italic")
            left += width + GAP
        axes.set_yticks([])
        axes.set_ylim(self.places[-1] - 0.5 + self.heights[-1], -0.15)
        return self.places

    def _write(self, axes: Axes, left: float, place: float, text: str) -> None:
        """Write a cell whose first line is level with its place."""
        axes.annotate(
            text,
            (0, place),
            (72 * left, 0.54 * style.TYPE),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            va="top",
        )


_OUTSIDE: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points"}
