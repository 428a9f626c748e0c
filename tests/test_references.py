"""What the study cites exists once, with authors, year and how far it was checked, and is found in texts."""

import re
from pathlib import Path

import pytest

from bnstudy.errors import BnstudyError
from bnstudy.reporting.references import Citation, cited, load, used

ROOT = Path(__file__).parent.parent
WORKS = ROOT / "paper" / "references.yml"
SOURCES = sorted([*ROOT.glob("ablations/*.py"), *ROOT.glob("bnstudy/**/*.py"), ROOT / "README.md"])

NAMED = re.compile(r"(?:[A-Z][\w'-]+|al\.)\s+\(?(?:19|20)\d\d[a-z]?\b")
"""Anything that looks like an author and a year."""
KNOWN = load(WORKS)
NO_WORKS = {"NeurIPS 2021"}


def test_every_work_is_whole() -> None:
    works = KNOWN
    assert {key: work.key for key, work in works.items() if work.key != key} == {}
    for key, work in works.items():
        family = work.authors[0].partition(",")[0].lower().replace(" ", "")
        assert key == f"{family}{work.year}", "a key is the first author's family name and the year"
        assert work.title and work.venue and all(", " in author for author in work.authors)
        assert re.match(r"(full text|abstract|record|code|not checked)\b", work.checked), key


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_every_work_that_the_code_names_is_listed(path: Path) -> None:
    text = path.read_text()
    left = " ".join(piece for piece in cited(text, KNOWN) if isinstance(piece, str))
    assert [found for found in NAMED.findall(left) if found not in NO_WORKS] == []


def test_a_name_that_is_not_listed_is_noticed() -> None:
    """The pattern of the test above: one that finds nothing would pass for ever."""
    for text in ("(Ness 2022)", "Somebody et al. (1999)", "Ioffe &\nSzegedy 2016"):
        left = "".join(piece for piece in cited(text, KNOWN) if isinstance(piece, str))
        assert NAMED.findall(left), text


def test_works_are_found_as_texts_name_them() -> None:
    works = KNOWN
    pieces = cited("By Ioffe &\nSzegedy (2015, section 3) and (Iyer, Hanin & Rolnick 2023).", works)
    assert pieces == (
        "By ",
        Citation("Ioffe &\nSzegedy (2015", "ioffe2015"),
        ", section 3) and (",
        Citation("Iyer, Hanin & Rolnick 2023", "iyer2023"),
        ").",
    )
    assert used([pieces]) == {"ioffe2015", "iyer2023"}
    assert cited("Zwangli 2019, Wang 2021b", works) == ("Zwangli 2019, Wang 2021b",)


def test_an_entry_reads_as_in_a_list_of_references() -> None:
    work = KNOWN["yang2019"]
    assert work.check.startswith("Checked: abstract: gradients") and work.check.endswith("trainable.")
    assert KNOWN["boyd2004"].check == "Not checked."
    assert work.label == "Yang et al. 2019"
    assert work.entry == (
        "Yang, G., Pennington, J., Rao, V., Sohl-Dickstein, J. & Schoenholz, S. S. (2019). A Mean Field "
        "Theory of Batch Normalization. ICLR 2019."
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [("a: [", "Cannot read the references"), ("a: {author: [B]}", "has no 'date'"), ("- a", "Cannot read")],
)
def test_a_damaged_list_is_told(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "references.yml").write_text(text)
    with pytest.raises(BnstudyError, match=said):
        load(tmp_path / "references.yml")


def test_a_missing_list_is_told(tmp_path: Path) -> None:
    with pytest.raises(BnstudyError, match="Cannot read the references"):
        load(tmp_path / "references.yml")
