"""Figures inside of a page: SVG whose ids are its own, whose colors follow the page, of a known size."""

import re
import xml.etree.ElementTree as ET
from typing import NamedTuple

from markupsafe import Markup

from bnstudy.errors import BnstudyError
from bnstudy.plots import style

VARIABLES = {
    style.INK: "--ink",
    style.MUTED: "--muted",
    style.GRID: "--grid",
    "#ffffff": "--plate",
    **{color: f"--series-{place}" for place, color in enumerate(style.COLORS, 1)},
}
"""The page's variable for each color of a figure: dark pages give it another value."""

_COLOR = re.compile("|".join(VARIABLES), re.IGNORECASE)
_REFERENCE = re.compile(r"(url\(#|^#)([^)]+)")
_LONG = re.compile(r"-?\d+\.\d{3,}")
_DRAWN = ("d", "x", "y", "points")
"""Attributes in points: a hundredth of one is finer than any screen, and takes half of the bytes."""

_LEFT_OUT = ("metadata", "style", "script", "title")


class Inline(NamedTuple):
    """A figure as an element of a page, and the box of its coordinates."""

    element: Markup
    box: str


def inline(text: str, prefix: str, alt: str, size: tuple[int, int]) -> Inline:
    """Return a figure's SVG (text of a file) as an element of a page.

    prefix: starts every id, so that figures in one page never share one; alt: read to those who do not see
    it; size: width and height in pixels, which keep its place while the page loads. The drawing is a group
    with the id `<prefix>`, which a smaller copy can use.
    """
    try:
        root = ET.fromstring(text)
    except ET.ParseError as error:
        raise BnstudyError(f"A figure is no SVG that can be read: {error}.") from error
    for parent in list(root.iter()):
        for child in [child for child in parent if _short(child.tag) in _LEFT_OUT]:
            parent.remove(child)
    width, height = map(str, size)
    box = root.get("viewBox", f"0 0 {width} {height}")
    values = (value for node in root.iter() for value in node.attrib.values())
    used = {name for value in values for _, name in _REFERENCE.findall(value)}
    for node in root.iter():
        _own(node, prefix, used)
    group = ET.Element("g", {"id": prefix})
    group.extend(list(root))
    frame = {"viewBox": box, "width": width, "height": height}
    outer = ET.Element("svg", frame | {"role": "img", "aria-label": alt, "class": "drawing"})
    outer.append(group)
    return Inline(Markup(ET.tostring(outer, encoding="unicode")), box)


def _short(name: str) -> str:
    """Return a name without its namespace."""
    return name.rpartition("}")[2]


def _own(node: ET.Element, prefix: str, used: set[str]) -> None:
    """Give an element the names of a page: no namespace, ids with the prefix and only where something refers
    to them, colors by variable, and no more digits than show; nothing that runs or leads elsewhere."""
    node.tag, node.tail = _short(node.tag), None
    node.text = node.text if node.tag in ("text", "tspan") else None
    held = {_short(name): value for name, value in node.attrib.items()}
    node.attrib.clear()
    for name, value in held.items():
        elsewhere = name == "href" and not value.startswith("#")
        if elsewhere or name.startswith("on") or (name == "id" and value not in used):
            continue
        if name == "style":
            value = _COLOR.sub(lambda found: f"var({VARIABLES[found[0].lower()]})", value)
        elif name in _DRAWN:
            value = _LONG.sub(lambda found: f"{float(found[0]):.2f}", " ".join(value.split()))
        value = f"{prefix}-{value}" if name == "id" else _REFERENCE.sub(rf"\g<1>{prefix}-\g<2>", value)
        node.set(name, value)
