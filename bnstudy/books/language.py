"""The language in which a report is written: English as the code and the ablations say it, or another, by one
file of translations in gettext's format, `translations/<language>.po`, which editors such as Poedit open."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path

from bnstudy.errors import unknown

ENGLISH = "en"
FOLDER = Path(__file__).parents[1] / "translations"

_CURRENT: ContextVar[str] = ContextVar("language", default=ENGLISH)


def languages() -> list[str]:
    """Return the languages there are, English first: `en`, `zh`."""
    return [ENGLISH, *sorted(path.stem for path in FOLDER.glob("*.po"))]


def file(language: str) -> Path:
    """Return the file of the translations into a language."""
    return FOLDER / f"{language}.po"


def current() -> str:
    """Return the language that is spoken here."""
    return _CURRENT.get()


def suffix() -> str:
    """Return what the language spoken adds to the name of a file: `.zh`; nothing for English."""
    return "" if current() == ENGLISH else f".{current()}"


@contextmanager
def speaking(language: str) -> Iterator[None]:
    """Tell everything inside of the block in a language, or raise `BnstudyError` where there is none such."""
    if language not in languages():
        raise unknown("language", language, languages())
    token = _CURRENT.set(language)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def tell(text: str, /, **parts: object) -> str:
    """Return a text in the language that is spoken, its parts, `{name}` each, filled in.

    What has no translation, as the words of somebody's own ablation, stays as it is.
    """
    told = translations(current()).get(text, text)
    return told.format(**parts) if parts else told


@cache
def translations(language: str) -> Mapping[str, str]:
    """Return the translation of each text into a language; English has none."""
    if language == ENGLISH:
        return {}
    import polib

    catalog = polib.pofile(str(file(language)), encoding="utf-8")
    return {entry.msgid: entry.msgstr for entry in catalog.translated_entries()}
