"""The fonts of figures: matplotlib's own, and behind it one that has the glyphs of the language spoken.

For Chinese that is the first of `CHINESE` that this machine has; `pip install 'bnstudy[chinese]'` brings one
(Noto Sans CJK, SIL Open Font License 1.1).
"""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

from matplotlib.font_manager import fontManager

from bnstudy.books import language
from bnstudy.errors import BnstudyError

OWN = "DejaVu Sans"
"""It comes with matplotlib."""

PACKAGE, FILE = "noto_cjk_sans_otc", "NotoSansCJK-Regular.ttc"
"""The package of the extra `chinese`, and its font."""

CHINESE = (
    "Noto Sans CJK SC",
    "Source Han Sans SC",
    "Noto Sans SC",
    "PingFang SC",
    "Hiragino Sans GB",
    "Microsoft YaHei",
    "SimHei",
    "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei",
    "Droid Sans Fallback",
    "Noto Sans CJK JP",  # the one face of the collection that matplotlib before 3.11 sees
)
"""Sans-serif fonts with simplified Chinese glyphs: of Linux, macOS and Windows."""


def families() -> tuple[str, ...]:
    """Return the families to look for glyphs in, all of which this machine has; raises `BnstudyError` where
    it has none for the language spoken."""
    return (OWN, _chinese()) if language.current() == "zh" else (OWN,)


def heavy() -> str:
    """Return the weight of headlines: bold, but in Chinese, whose fonts often have no bold face: it would be
    that of the Latin words alone."""
    return "normal" if language.current() == "zh" else "bold"


@cache
def _chinese() -> str:
    spec = find_spec(PACKAGE)
    if spec is not None and spec.origin is not None:
        fontManager.addfont(Path(spec.origin).with_name(FILE))
    held = set(fontManager.get_font_names())
    found = next((name for name in CHINESE if name in held), None)
    if found is None:
        raise BnstudyError(
            "Figures in Chinese need a font with Chinese glyphs, and this machine has none of "
            f"{', '.join(CHINESE[:-1])}; `pip install 'bnstudy[chinese]'` brings the first."
        )
    return found
