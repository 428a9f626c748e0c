"""A report says what it was made from, and so whether it is of the present ledgers."""

from dataclasses import replace
from pathlib import Path

import pytest
from handmade import by_rate, like_the_paper, write
from typer.testing import CliRunner

from bnstudy.books import language, registry
from bnstudy.books.places import Place
from bnstudy.cli import app
from bnstudy.design import Ablation
from bnstudy.factors import tuned
from bnstudy.reporting import freshness, page, report

ROOT = Path(__file__).parent.parent
SWEEP = replace(by_rate(), name="sweep")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "results", "paper", pytest.fail)


def html(place: Place, *ablations: Ablation) -> str:
    return page.render(report.gather(ablations, place), freshness.inputs(ablations, place))


@pytest.mark.parametrize("spoken", language.languages())
def test_the_committed_report_is_of_the_committed_ledgers(spoken: str) -> None:
    """What CI holds against the study of record: `make report` mends it."""
    place = Place(ROOT / "results", "paper", pytest.fail)
    ablations = [ablation.at("paper") for ablation in registry.find().ablations.values()]
    with language.speaking(spoken):
        page = ROOT / "paper" / freshness.page_name()
        assert freshness.why_stale(page, freshness.inputs(ablations, place, ROOT / "paper")) == ""
    assert any(place.folder.glob("*.jsonl")) and (ROOT / "paper" / "report.pdf").exists()


@pytest.mark.slow
@pytest.mark.parametrize("spoken", language.languages())
def test_the_report_of_record_can_be_made_again(
    spoken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the committed ledgers and texts, as `make report` does."""
    monkeypatch.chdir(ROOT)
    result = CliRunner().invoke(app, ["report", "--lang", spoken, "-o", str(tmp_path)])
    assert result.exit_code == 0, result.output
    with language.speaking(spoken):
        made, kept = (
            freshness.made_from(folder / freshness.page_name()) for folder in (tmp_path, ROOT / "paper")
        )
    assert made == kept
    if spoken == language.ENGLISH:
        assert (tmp_path / "report.pdf").read_bytes()[:5] == b"%PDF-"


def test_the_inputs_are_embedded_and_tell_what_changed(place: Place, tmp_path: Path) -> None:
    write(place.folder, SWEEP, like_the_paper)
    file = tmp_path / "report.html"
    now = freshness.inputs([SWEEP], place)
    assert freshness.why_stale(file, now) == freshness.NOT_MADE
    file.write_text(html(place, SWEEP), encoding="utf-8")
    assert freshness.made_from(file) == now and freshness.why_stale(file, now) == ""
    other = freshness.inputs([replace(SWEEP, file="# another margin")], place)
    assert freshness.why_stale(file, other) == "changed since: file sweep"
    assert freshness.state(file, other, "sweep") == "stale"
    elsewhere = freshness.inputs([SWEEP], replace(place, profile="quick"))
    assert freshness.why_stale(file, elsewhere) == "of the paper profile"
    assert freshness.state(file, elsewhere, "sweep") == "none"


def test_what_is_no_report_is_stale_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("<html>")
    assert "is no report that bnstudy made" in freshness.why_stale(
        tmp_path / "report.html", {"profile": "paper"}
    )


def test_a_text_of_the_report_is_one_of_its_inputs(place: Place, tmp_path: Path) -> None:
    paper = tmp_path / "paper"
    (paper / "discussion").mkdir(parents=True)
    (paper / "discussion" / "sweep.md").write_text("It is so.")
    before = freshness.inputs([SWEEP], place, paper)
    (paper / "discussion" / "sweep.md").write_text("It is not so.")
    after = freshness.inputs([SWEEP], place, paper)
    assert {name for name in after if before[name] != after[name]} == {"paper discussion/sweep.md"}


def test_a_search_is_an_input_of_an_ablation_that_has_one(place: Place) -> None:
    assert "search sweep" not in freshness.inputs([SWEEP], place)
    searched = replace(SWEEP, factors=(*SWEEP.factors[:1], tuned("lr", 0.1, 1)))
    before = freshness.inputs([searched], place)
    (place.folder / "tune").mkdir(parents=True)
    (place.folder / "tune" / "sweep.jsonl").write_text("{}")
    after = freshness.inputs([searched], place)
    assert {name for name in after if before[name] != after[name]} == {"search sweep"}
