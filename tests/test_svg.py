"""A figure inside of a page has ids of its own, the page's colors, and nothing that runs."""

import xml.etree.ElementTree as ET

import pytest
from drawn import drawing
from handmade import by_rate, like_the_paper

from bnstudy.errors import BnstudyError
from bnstudy.plots import style, svg
from bnstudy.plots.figures import Drawing
from bnstudy.reporting import report

HOSTILE = """<?xml version="1.0"?>
<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 10 5"
 onload="a()">
 <metadata>x</metadata><style>* {fill: red}</style><script>alert(1)</script>
 <defs><clipPath id="p1"><rect x="0.123456" y="0"/></clipPath><path id="m1" d="M 0.123456 1
L 2 3"/></defs>
 <g id="unused" clip-path="url(#p1)"><use xlink:href="#m1" style="fill: #1b1f24; stroke: #FFFFFF"/></g>
 <a xlink:href="javascript:alert(1)"><text onclick="a()">1 &lt; 2</text></a>
</svg>"""


def test_ids_are_the_figures_own_and_only_where_something_refers_to_them() -> None:
    found = svg.inline(HOSTILE, "drawing-a", "words", (20, 10))
    assert found.box == "0 0 10 5"
    ids = {node.get("id") for node in ET.fromstring(found.element).iter() if node.get("id")}
    assert ids == {"drawing-a", "drawing-a-p1", "drawing-a-m1"}
    assert 'href="#drawing-a-m1"' in found.element and "url(#drawing-a-p1)" in found.element


def test_colors_are_those_of_the_page_and_numbers_as_long_as_they_show() -> None:
    found = svg.inline(HOSTILE, "a", "words", (20, 10)).element
    assert "fill: var(--ink); stroke: var(--plate)" in found
    assert 'd="M 0.12 1 L 2 3"' in found and 'x="0.12"' in found


def test_nothing_runs_leads_elsewhere_or_styles_the_page() -> None:
    found = svg.inline(HOSTILE, "a", 'what <it> "shows"', (20, 10)).element
    for word in ("script", "onload", "onclick", "javascript", "<style", "metadata", "xmlns"):
        assert word not in found
    assert "1 &lt; 2</text>" in found
    assert ET.fromstring(found).get("aria-label") == 'what <it> "shows"'


def test_what_is_no_svg_is_told() -> None:
    with pytest.raises(BnstudyError, match="no SVG that can be read"):
        svg.inline("<svg", "a", "", (1, 1))


def test_every_color_of_a_real_figure_follows_the_page() -> None:
    figure = report.picture(Drawing(*vars(drawing(by_rate(), like_the_paper)).values()))
    found = svg.inline(figure.svg, "a", figure.alt, (figure.width, figure.height)).element
    assert "var(--series-1)" in found and "var(--muted)" in found
    assert not [color for color in (*style.COLORS, style.INK, style.MUTED, "#ffffff") if color in found]
    assert len(found) < len(figure.svg)
