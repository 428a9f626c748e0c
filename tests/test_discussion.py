"""A person's text is filled in from the records, and fails where they no longer say what it leans on."""

import io
import re
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean, stdev

import pytest
from handmade import outcome, two_arms, write
from pypdf import PdfReader

from bnstudy.books import language, registry
from bnstudy.books.places import PAPER, Place
from bnstudy.claims import Claim, at_least, equal_within
from bnstudy.errors import BnstudyError
from bnstudy.judgement import sentences
from bnstudy.outcome import Outcome
from bnstudy.reporting import article, discussion, judging, page, report
from bnstudy.reporting.discussion import FENCE
from bnstudy.reporting.judging import Judged

ABLATION = two_arms(
    Claim("It gains a point.", factor="network", effect=at_least(0.01)),
    Claim("It is equal.", factor="network", effect=equal_within(0.01)),
)

GAIN = '[gain]\nclaim = "It gains a point."\nverdict = "supported"\n'
PLAIN = '[plain]\noutcome = "precise_test_accuracy"\nat = {network = "affine"}\n'


def measured(arm: Mapping[str, str], seed: int) -> Outcome:
    mean, wave = (0.8, 3) if arm["network"] == "bn" else (0.7, 2)
    return outcome(round(mean + 0.004 * (seed % wave), 4))


def judged(folder: Path, profile: str = "paper", *, seeds: int = 5) -> dict[str, Judged]:
    place = Place(folder / "results", profile, pytest.fail)
    write(place.folder, ABLATION, lambda arm, seed: measured(arm, seed) if seed < seeds else None)
    return {"made": judging.judge(ABLATION, place)}


def text(folder: Path, head: str, body: str, name: str = "made") -> Path:
    (folder / "texts").mkdir(exist_ok=True)
    (folder / "texts" / f"{name}.md").write_text(f"{FENCE}\n{head}{FENCE}\n{body}")
    return folder / "texts"


def test_numbers_come_from_the_records(tmp_path: Path) -> None:
    body = (
        "It gains {gain.effect}\n({gain.interval}; {gain.seeds} seeds): {gain.verdict}.\n\nOr {plain.mean}."
    )
    found = discussion.load(text(tmp_path, GAIN + PLAIN, body), judged(tmp_path))
    differences = [
        100 * (measured({"network": "bn"}, s).precise_test_accuracy or 0)
        - 100 * (measured({"network": "affine"}, s).precise_test_accuracy or 0)
        for s in range(5)
    ]
    first, second = found["made"].paragraphs
    assert first.startswith(f"It gains +{fmean(differences):.2f} points (95% interval +")
    assert first.endswith("; 5 seeds): supported.")
    values = [measured({"network": "affine"}, s).precise_test_accuracy or 0 for s in range(5)]
    assert second == f"Or {100 * fmean(values):.1f}%."


def test_the_numbers_of_arms_have_interval_spread_and_ends(tmp_path: Path) -> None:
    body = "{plain.interval}, {plain.spread}, {plain.least}, {plain.most}, {plain.seeds}"
    [found] = discussion.load(text(tmp_path, PLAIN, body), judged(tmp_path))["made"].paragraphs
    values = [measured({"network": "affine"}, s).precise_test_accuracy or 0 for s in range(5)]
    interval, spread, least, most, seeds = found.split(", ")
    assert " to " in interval and spread == f"{100 * stdev(values):.2f} points"
    assert (least, most, seeds) == ("70.0%", "70.4%", "5")


def test_a_changed_verdict_fails_and_names_file_claim_and_both(tmp_path: Path) -> None:
    texts = text(tmp_path, GAIN.replace("supported", "refuted"), "It loses.")
    with pytest.raises(BnstudyError) as told:
        discussion.load(texts, judged(tmp_path))
    said = str(told.value)
    assert str(texts / "made.md") in said and "'It gains a point.' of made" in said
    assert "is supported and no longer refuted" in said and said.count("\n") == 0


@pytest.mark.parametrize(("profile", "seeds"), [("quick", 5), ("paper", 4)])
def test_nothing_is_said_of_an_incomplete_ledger(tmp_path: Path, profile: str, seeds: int) -> None:
    """Its verdict may still change: a text on it is not compared with it either."""
    texts = text(tmp_path, GAIN.replace("supported", "refuted"), "It loses.")
    assert discussion.load(texts, judged(tmp_path, profile, seeds=seeds)) == {}


def test_an_abstract_leans_on_ablations_by_name(tmp_path: Path) -> None:
    texts = text(tmp_path, GAIN + 'of = "made"\n', "So {gain.effect}.", "abstract")
    assert discussion.load(texts, judged(tmp_path))["abstract"].paragraphs[0].startswith("So +")
    assert discussion.load(texts, {}) == {}


@pytest.mark.parametrize("translated", [True, False])
def test_a_text_is_told_in_the_report_s_language_if_it_is_translated(
    translated: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of it, its numbers included, or nothing."""
    told, body = sentences.EFFECTS[""], "By {gain.effect}."
    known = {told: f"X {told}"} | ({body: "Y {gain.effect}."} if translated else {})
    entries = "\n".join(f'msgid "{text}"\nmsgstr "{other}"\n' for text, other in known.items())
    (tmp_path / f"x{translated}.po").write_text(entries)
    monkeypatch.setattr(language, "FOLDER", tmp_path)
    texts, of = text(tmp_path, GAIN, body), judged(tmp_path)
    with language.speaking(f"x{translated}"):
        assert sentences.effect(of["made"].verdicts[0]).startswith("X +")
        said = discussion.load(texts, of)["made"]
    start, spoken = ("Y X +", f"x{translated}") if translated else ("By +", "en")
    assert said.paragraphs[0].startswith(start) and said.language == spoken


def test_the_page_and_the_article_show_it(tmp_path: Path) -> None:
    place = Place(tmp_path / "results", "paper", pytest.fail)
    write(place.folder, ABLATION, measured)
    texts = text(tmp_path, GAIN, "Seen by Galloway et al. 2019, too: {gain.effect}.")
    text(tmp_path, GAIN + 'of = "made"\n', "In short: {gain.verdict}.", "abstract")
    found = report.gather([ABLATION], place, texts)
    [section] = found.sections
    [said], [short] = section.discussion.paragraphs, found.abstract.paragraphs
    assert short == "In short: supported." and re.search(r"too: \+\d", said)
    html = re.sub(r"<[^>]*>", "", page.render(found, {}))
    pdf = "".join(each.extract_text() for each in PdfReader(io.BytesIO(article.pdf(found))).pages)
    for shown in (said, short):
        assert shown in html and "".join(shown.split()) in "".join(pdf.split())


def test_a_text_on_an_ablation_that_is_not_there_is_left_out(tmp_path: Path) -> None:
    assert discussion.load(text(tmp_path, "", "Words.", "other"), judged(tmp_path)) == {}


@pytest.mark.parametrize(
    ("head", "body", "said"),
    [
        (GAIN, "{gain.efect}", r"\{gain.efect\} does not exist; gain has verdict, finding, effect"),
        (GAIN, "{gains.effect}", "No claim or number named 'gains'. Did you mean 'gain'"),
        (GAIN, "{gain}", "'{gain}' is no placeholder"),
        (GAIN, "a } b", "is no placeholder"),
        (GAIN.replace("a point", "two points"), "", "made has no claim 'It gains two points.'"),
        (PLAIN.replace("precise_test", "precise"), "", "no outcome is named 'precise_accuracy'"),
        (PLAIN.replace('"affine"', '"afine"'), "", "No level of factor 'network' named 'afine'"),
        ("[a]\nclaim = 'It is equal.'\n", "", "neither a claim with its verdict nor an outcome"),
        ("[a]\nother = 1\n", "", "Cannot read the discussion"),
        ("[a\n", "", "Cannot read the discussion"),
        ("a = 1\n", "", "Cannot read the discussion"),
    ],
)
def test_a_text_that_cannot_be_filled_in_fails(tmp_path: Path, head: str, body: str, said: str) -> None:
    with pytest.raises(BnstudyError, match=said) as told:
        discussion.load(text(tmp_path, head, body), judged(tmp_path))
    assert str(told.value).count("\n") == 0


def test_a_text_without_its_lines_is_told(tmp_path: Path) -> None:
    (tmp_path / "made.md").write_text("Only words.")
    with pytest.raises(BnstudyError, match="needs two lines of"):
        discussion.load(tmp_path, {})


def test_a_number_that_the_records_do_not_hold_fails(tmp_path: Path) -> None:
    head = '[none]\noutcome = "tracked_test_accuracy.0.1"\n'
    with pytest.raises(BnstudyError, match=r"\{none.mean\} cannot be told from the records"):
        discussion.load(text(tmp_path, head, "{none.mean}"), judged(tmp_path))


def test_the_projects_own_texts_are_about_its_ablations() -> None:
    """Names of claims, arms and outcomes in them exist, whether their ledgers are complete or not."""
    found = registry.find().ablations
    for path in (PAPER / "discussion").glob("*.md"):
        read = discussion.read(path)
        assert path.stem == "abstract" or path.stem in found
        discussion.check(read, found)


def test_an_answer_of_the_projects_own_has_at_most_two_sentences() -> None:
    for path in set((PAPER / "discussion").glob("*.md")) - {PAPER / "discussion" / "abstract.md"}:
        answer = discussion.read(path).paragraphs[0]
        assert answer.endswith(".") and len(re.findall(r"[.?!](?= |$)", answer)) <= 2, answer
