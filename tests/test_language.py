"""A text is told in the language spoken, or in its own words where nobody has translated it."""

from pathlib import Path

import pytest

from bnstudy.books import language
from bnstudy.books.language import speaking, tell
from bnstudy.errors import BnstudyError

GERMAN = """
msgid ""
msgstr "Content-Type: text/plain; charset=UTF-8\\n"

msgid "{value} times, {level}% interval {low} to {high}"
msgstr "{low} bis {high} ({level} %), {value}-mal"

msgid "not done yet"
msgstr ""
"""


@pytest.fixture
def german(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "de.po").write_text(GERMAN, encoding="utf-8")
    monkeypatch.setattr(language, "FOLDER", tmp_path)
    language.translations.cache_clear()


def test_english_is_what_the_code_says() -> None:
    assert language.current() == "en"
    assert tell("{value} times", value=3) == "3 times"
    assert tell("braces {stay} where nothing is filled in") == "braces {stay} where nothing is filled in"


@pytest.mark.usefixtures("german")
def test_a_translation_may_turn_its_parts_around() -> None:
    with speaking("de"):
        told = tell("{value} times, {level}% interval {low} to {high}", value=3, level=95, low=1, high=9)
    assert told == "1 bis 9 (95 %), 3-mal"
    assert language.current() == "en"


@pytest.mark.usefixtures("german")
def test_what_nobody_translated_stays_in_its_own_words() -> None:
    with speaking("de"):
        assert tell("with {anything}", anything=1) == "with 1"
        assert tell("not done yet") == "not done yet"


@pytest.mark.usefixtures("german")
def test_a_language_without_translations_is_refused_with_those_there_are() -> None:
    with pytest.raises(BnstudyError, match="'fr'"), speaking("fr"):
        pass
    assert language.languages() == ["en", "de"]
