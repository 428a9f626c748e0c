"""The page says what the report's content says, escaped, whatever state the ledgers are in."""

import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest
from handmade import by_rate, like_the_paper, outcome, write
from typer.testing import CliRunner

from bnstudy.books import registry
from bnstudy.books.places import PAPER, Place
from bnstudy.claims import Claim, largest_workable, ratio_at_least
from bnstudy.cli import app
from bnstudy.design import Ablation
from bnstudy.reporting import freshness, page, report

CLAIM = Claim(
    "It allows rates 5 times as large.",
    factor="network",
    outcome=largest_workable("lr"),
    effect=ratio_at_least(5),
    refs=("C13",),
)
SWEEP = replace(by_rate(CLAIM), name="sweep", source="d2l-en 8.5 exercise 2", question="How large?")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "results", "paper", pytest.fail)


def html(place: Place, *ablations: Ablation) -> str:
    return page.render(report.gather(ablations, place), freshness.inputs(ablations, place))


def text(html: str) -> str:
    """Return what a page says, without its elements."""
    body = re.sub(r"<(script|style|svg)\b.*?</\1>", " ", html.partition("<body>")[2], flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())


def test_a_complete_ledger_is_answered_without_the_word_preview(place: Place) -> None:
    write(place.folder, SWEEP, like_the_paper)
    made = text(html(place, SWEEP))
    [section] = report.gather([SWEEP], place).sections
    assert section.measured and section.primary is not None
    for said in (section.question, section.measured, section.primary.claim, section.primary.effect[1:]):
        assert made.count(said) >= 2, said  # among the answers and in its section
    assert section.primary.power in made and section.command in made
    assert "review" not in made.replace("a preview may change", "")


def test_an_empty_ledger_says_so_with_the_command(place: Place) -> None:
    made = text(html(place, SWEEP))
    assert f"Nothing is recorded yet. bnstudy run sweep{place.options}" in made
    assert "Claims, written down before the runs It allows rates 5 times as large." in made
    assert "undecided" not in made.partition("Methods Design")[0].replace("claims undecided", "")
    assert "not run yet It allows rates 5 times as large. sweep" in made


def test_an_incomplete_ledger_is_marked_beside_every_verdict(place: Place) -> None:
    some = replace(SWEEP, seeds=range(3))
    write(place.folder, some, like_the_paper)
    made = html(place, SWEEP)
    assert "Preview: 24 of 40 trials." in text(made)
    assert made.count('class="chip preview"') == 3  # the answer, the verdict, the chapter's claim
    assert "24 of 40 trials of the paper profile are recorded" in text(made)


def test_ablations_that_are_not_run_make_no_preview_of_the_others(place: Place) -> None:
    write(place.folder, SWEEP, like_the_paper)
    other = replace(SWEEP, name="other")
    assert "1 of 2 ablations are recorded in full" in text(html(place, SWEEP, other))
    assert "Preview." not in text(html(place, SWEEP, other))
    assert "recorded in full" not in text(html(place, SWEEP))
    assert "recorded in full" not in text(html(replace(place, profile="quick"), SWEEP)), (
        "never judged for good"
    )


def test_the_claims_of_the_chapter_link_to_their_findings_or_say_that_there_are_none(place: Place) -> None:
    write(place.folder, SWEEP, like_the_paper)
    made = html(place, SWEEP)
    [section] = report.gather([SWEEP], place).sections
    claims = dict(re.findall(r'<li id="(C\d+)">(.*?)</li>', made, flags=re.DOTALL))
    assert len(claims) == 22
    assert 'href="#sweep-1"' in claims["C13"] and f"> {section.findings[0].verdict.result}<" in claims["C13"]
    assert "No declared claim judges it." in claims["C2"]


def test_words_of_an_ablations_file_are_escaped_everywhere(place: Place) -> None:
    hostile = "<script>alert(1)</script>"
    claim = replace(CLAIM, text=f"{hostile}.", refs=(hostile,))
    ablation = replace(SWEEP, question=hostile, source=hostile, claims=(claim,), file=f'"""a\n\n{hostile}"""')
    write(place.folder, ablation, like_the_paper)
    made = html(place, ablation)
    assert hostile not in made and made.count("&lt;script&gt;alert(1)&lt;/script&gt;") > 8
    assert made.count("<script") == made.count("</script>") == 2


def test_the_templates_hold_no_result() -> None:
    """Numbers in them are rules (95% intervals) and designs (50,000 images), and never an accuracy."""
    written = "".join(path.read_text() for path in (PAPER / "templates").glob("*.html"))
    percents = set(re.findall(r"[\d.]+%", re.sub(r"\{%.*?%\}", "", written)))
    assert percents <= {"95%", "90%", "80%", "50%"}
    assert not re.findall(r"\b0\.\d+|\b\d+\.\d+ points", written)


def test_the_command_writes_one_file_and_status_says_whether_it_is_of_the_records(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ablation = registry.find().get("bias-removal").at("smoke")
    write(Path("results/smoke"), ablation, lambda arm, seed: outcome(0.8 + seed / 100))
    runner = CliRunner()
    shown = runner.invoke(app, ["report", "--profile", "smoke"])
    assert (shown.exit_code, shown.stdout) == (0, "paper/report.pdf\npaper/report.html\n")
    assert sorted(path.name for path in Path("paper").iterdir()) == ["report.html", "report.pdf"]
    status = runner.invoke(app, ["status", "--profile", "smoke"]).stdout
    assert "report paper/report.html: of these records" in status and "stale" not in status
    ledger = Path("results/smoke/bias-removal.jsonl")
    ledger.write_bytes(b"".join(ledger.read_bytes().splitlines(keepends=True)[:-1]))
    status = runner.invoke(app, ["status", "--profile", "smoke"]).stdout
    assert "report paper/report.html: changed since: ledger bias-removal" in " ".join(status.split())
    assert re.search(r"bias-removal .* stale\n", status)


def test_a_folder_that_cannot_be_written_is_told(place: Place, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    words = ["report", "--profile", "smoke", "--results", str(place.results), "-o", str(tmp_path / "file")]
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == 1 and "Cannot write" in str(shown.exception)
