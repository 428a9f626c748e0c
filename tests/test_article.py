"""The article shows what the report says: whole, as text, and the same bytes from the same ledgers."""

import io
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from handmade import made as made_ablation
from handmade import outcome, two_arms, write
from pypdf import PdfReader

from bnstudy.books import registry
from bnstudy.books.places import PAPER, Place
from bnstudy.claims import Claim, at_least, equal_within
from bnstudy.design import Ablation, Factor, Level
from bnstudy.errors import BnstudyError
from bnstudy.judgement.origins import Commit
from bnstudy.outcome import Outcome
from bnstudy.reporting import article, report
from bnstudy.reporting.discussion import Said
from bnstudy.reporting.report import Report

EXAMPLE = Path(__file__).parent.parent / "results" / "example"

CLAIMS = (
    Claim("It gains a point.", factor="network", effect=at_least(0.01), refs=("C13",)),
    Claim("It is equal.", factor="network", effect=equal_within(0.01)),
)


def measured(arm: Mapping[str, str], seed: int) -> Outcome:
    mean, wave = (0.6, 3) if arm["network"] == "bn" else (0.7, 2)
    return outcome(round(mean + 0.004 * (seed % wave), 4))


def gathered(folder: Path, *ablations: Ablation) -> Report:
    place = Place(folder, "paper", pytest.fail)
    for ablation in ablations:
        write(place.folder, ablation, measured)
    return report.gather(ablations, place)


def read(pdf: bytes) -> str:
    """Return the text of a PDF in one line, minus signs as hyphens, words that were parted whole again."""
    pages = [page.extract_text() for page in PdfReader(io.BytesIO(pdf)).pages]
    joined = re.sub(r"(?<=[a-z])[\u00ad\u2010]\s*\n", "", "\n".join(pages))
    return " ".join(joined.replace("\u2212", "-").split())


def squeezed(text: str) -> str:
    """Return a text without spaces: a PDF's are where its layout has them."""
    return "".join(text.split())


def links(pdf: bytes) -> Iterator[str]:
    """Yield the addresses that a PDF links to."""
    for page in PdfReader(io.BytesIO(pdf)).pages:
        for note in page.get("/Annots") or []:
            yield str(note.get_object().get("/A", {}).get("/URI", ""))


@pytest.fixture(scope="module")
def example() -> Report:
    """Real records: the example's ledger."""
    place = Place(EXAMPLE, "quick", pytest.fail)
    return report.gather([registry.find().ablations["lr-sweep"].at("quick")], place)


@pytest.fixture(scope="module")
def example_pdf(example: Report) -> bytes:
    return article.pdf(example)


def test_every_verdict_of_real_records_is_in_its_words(example: Report, example_pdf: bytes) -> None:
    text = squeezed(read(example_pdf))
    [section] = example.sections
    assert squeezed(section.answer) in text and squeezed(section.preview) in text
    for finding in section.findings:
        for told in (finding.claim, finding.effect, finding.power, finding.verdict.result):
            assert squeezed(told) in text, told
    assert section.table is not None
    for line in section.table.lines:
        for mean in line.means:
            assert mean is None or squeezed(f"{mean.text} ({mean.interval.replace('%', '')})") in text


def test_it_has_its_parts_and_says_what_it_is(example: Report, example_pdf: bytes) -> None:
    reader = PdfReader(io.BytesIO(example_pdf))
    assert reader.metadata is not None and reader.metadata.title == " ".join(article.TITLE)
    assert "/StructTreeRoot" in reader.trailer["/Root"], "tagged, for those who listen to it"
    text = read(example_pdf)
    for part in ("Abstract", "Answers at a glance", "claims", "published systems", "Methods"):
        assert part in text
    assert "All numbers are of the quick profile" in text
    assert 5 <= len(reader.pages) <= 12
    assert example.origins.ledgers[0].sha256[:16] in text


def test_only_works_that_the_text_names_are_listed(example_pdf: bytes) -> None:
    text = read(example_pdf)
    assert "Iyer, G., Hanin, B. & Rolnick, D. (2023)." in text, "named by the ablation's file"
    assert "Holm, S. (1979)." in text, "named by the methods"
    assert "Van Ness, M." not in text, "named by another ablation"
    assert "https://arxiv.org/abs/1502.03167" in set(links(example_pdf))


def test_the_same_ledgers_give_the_same_bytes(example: Report, example_pdf: bytes) -> None:
    assert article.pdf(example) == example_pdf


HOSTILE = (
    '#eval("1 + 1")',
    "$x^2$",
    "a ] b",
    "[",
    "*bold*",
    "@ioffe2015",
    "\\",
    "// gone?",
    "<tag>",
    "#",
    "\x07",
    "批量",
)


@pytest.mark.filterwarnings("ignore:Glyph")  # matplotlib's font, in the figure, has no Chinese
def test_text_of_a_file_is_shown_and_never_read_as_markup(tmp_path: Path) -> None:
    names = " ".join(HOSTILE)
    network = Factor(
        "network",
        control=Level("affine", label=f"{names} off", norm="affine"),
        treatments=(Level("bn", label=f"{names} on", norm="batch_norm"),),
        varies=("norm",),
    )
    claims = [Claim(f"Claimed {name} of it.", factor="network", effect=at_least(0.01)) for name in HOSTILE]
    ablation = made_ablation(network, claims=tuple(claims), question=f"Asked {names} of it?", source=names)
    found = gathered(tmp_path, replace(ablation, file=f'r"""First.\n\nExpected: {names} of it.\n"""\n'))
    text = squeezed(read(article.pdf(found)))
    for told in (f"Asked {names} of it?", f"Expected: {names} of it.", *(claim.text for claim in claims)):
        assert squeezed(told) in text
    assert squeezed(f"{names} on") in text, "the level's label, in the table of arms"


def test_what_a_person_says_is_shown_with_its_works(tmp_path: Path) -> None:
    found = gathered(tmp_path, two_arms(*CLAIMS, seeds=3))
    [section] = found.sections
    said = replace(section, discussion=Said(("As Galloway et al. 2019 found.", "And `more`.")))
    text = read(article.pdf(replace(found, sections=(said,), abstract=Said(("All in one.",)))))
    assert "As Galloway et al. 2019 found." in text and "And more." in text
    assert "Galloway, A., Golubeva, A." in text
    assert "All in one." in text and "one run of a notebook" not in text, "in place of the made abstract"


def test_below_the_title_many_commits_are_counted(tmp_path: Path) -> None:
    found = gathered(tmp_path, two_arms(*CLAIMS, seeds=3))
    for count, told in ((1, "made by code 0000000000 of May"), (3, "made by code of 3 commits, named under")):
        commits = tuple(Commit(f"{n}" * 40, "May", True, 2) for n in range(count))
        origins = replace(found.origins, commits=commits)
        assert told in article.content(replace(found, origins=origins), {})["made"]


def test_negative_numbers_have_a_minus_sign(tmp_path: Path) -> None:
    pages = PdfReader(io.BytesIO(article.pdf(gathered(tmp_path, two_arms(*CLAIMS)))))
    text = " ".join(page.extract_text() for page in pages.pages)
    assert "\u22129." in text and not re.search(r"[ (]-\d", text)


def test_a_long_table_stands_behind_the_text(tmp_path: Path) -> None:
    many = Factor("dropout", levels=tuple(Level(f"{n}", dropout=n / 100) for n in range(20)))
    (network,) = two_arms().factors
    found = gathered(tmp_path, made_ablation(network, many, claims=CLAIMS))
    text = read(article.pdf(found))
    assert text.index("Methods") < text.index("Tables of arms") < text.index("Arms of made")


def test_without_records_it_says_what_is_missing(tmp_path: Path) -> None:
    ablations = [ablation.at("smoke") for ablation in registry.find().ablations.values()]
    found = report.gather(ablations, Place(tmp_path, "smoke", pytest.fail))
    text = read(article.pdf(found))
    assert text.count("No trials are recorded.") >= 7
    assert "No claim was declared." in text and text.count("No trials are recorded.") > 20, "of the chapter's"
    assert "Not recorded here:" in text and "lr-sweep" in text


def test_a_mistake_in_the_template_is_told_with_its_line(tmp_path: Path) -> None:
    paper = Path(shutil.copytree(PAPER, tmp_path / "paper"))
    (paper / "templates" / "article.typ").write_text("#let a = 1\n#nothing\n")
    with pytest.raises(BnstudyError, match=r"unknown variable: nothing; mend the template, line 2\.$"):
        article.pdf(gathered(tmp_path, two_arms(*CLAIMS)), paper)
