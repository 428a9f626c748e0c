"""A translation is whole: every text of the code and of the project's ablations, and no other."""

import re
import string

import polib
import pytest
import translatable

from bnstudy.books import language
from bnstudy.books.places import PAPER
from bnstudy.reporting import references

LANGUAGES = language.languages()[1:]
TEXTS = translatable.texts()
WORKS = references.load(PAPER / "references.yml")


def parts(text: str) -> set[str]:
    """Return the names of what is filled in."""
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def works(text: str) -> set[str]:
    return references.used([references.cited(text, WORKS)])


def test_there_is_a_chinese_translation() -> None:
    assert LANGUAGES == ["zh"]


@pytest.mark.parametrize("name", LANGUAGES)
def test_every_text_is_translated(name: str) -> None:
    missing = {text: where for text, where in TEXTS.items() if text not in language.translations(name)}
    assert missing == {}, f"add these to bnstudy/translations/{name}.po"


@pytest.mark.parametrize("name", LANGUAGES)
def test_no_translation_is_of_a_text_that_is_gone(name: str) -> None:
    gone = set(language.translations(name)) - set(TEXTS)
    assert gone == set(), f"take these out of bnstudy/translations/{name}.po"


@pytest.mark.parametrize("name", LANGUAGES)
def test_translations_keep_what_is_filled_in(name: str) -> None:
    """A placeholder that is lost would lose a number, one that is new would raise an error."""
    held = language.translations(name)
    assert {text: held[text] for text in held if parts(held[text]) != parts(text)} == {}


@pytest.mark.parametrize("name", LANGUAGES)
def test_translations_keep_commands_and_the_works_that_they_name(name: str) -> None:
    held = language.translations(name)
    code = re.compile(r"`[^`]+`")
    assert {t: held[t] for t in held if set(code.findall(t)) != set(code.findall(held[t]))} == {}
    assert {t: held[t] for t in held if works(t) != works(held[t])} == {}


@pytest.mark.parametrize("name", LANGUAGES)
def test_a_translation_file_has_each_text_once_and_is_what_editors_save(name: str) -> None:
    path = language.FOLDER / f"{name}.po"
    catalog = polib.pofile(str(path), wrapwidth=110)
    entries = [entry.msgid for entry in catalog]
    assert len(entries) == len(set(entries))
    assert str(catalog) == path.read_text(encoding="utf-8")
