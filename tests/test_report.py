"""The report's content comes from the ledgers, says what is missing, and leaves nothing out."""

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest
from handmade import crashed, diverged, outcome, table, two_arms, write

from bnstudy import chapter
from bnstudy.books import registry
from bnstudy.books.places import Place
from bnstudy.claims import Claim, at_least, contains, equal_within
from bnstudy.design import Ablation
from bnstudy.outcome import Outcome
from bnstudy.plots.drawing import Drawing
from bnstudy.reporting import arm_table, recorded, report
from bnstudy.reporting.recorded import Number
from bnstudy.reporting.report import Report

CLAIMS = (
    Claim("It gains a point.", factor="network", effect=at_least(0.01), refs=("C13",)),
    Claim("It is equal.", factor="network", effect=equal_within(0.01)),
)


def measured(arm: Mapping[str, str], seed: int) -> Outcome:
    mean, wave = (0.8, 3) if arm["network"] == "bn" else (0.7, 2)
    return outcome(round(mean + 0.004 * (seed % wave), 4))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path, "paper", pytest.fail)


def ablation(**more: object) -> Ablation:
    return two_arms(*CLAIMS, source="d2l-en 8.5 exercise 2; claims C13, C22", **more)  # type: ignore[arg-type]


def made(place: Place, *ablations: Ablation) -> Report:
    return report.gather(ablations, place)


def test_a_complete_ledger_is_judged_drawn_and_counted(place: Place) -> None:
    write(place.folder, ablation(), measured)
    found = made(place, ablation())
    [section] = found.sections
    assert (section.state, section.preview, section.finished, section.declared) == ("complete", "", 10, 10)
    assert section.command == f"bnstudy run made{place.options}" and section.exercises == (2,)
    assert section.answer.endswith(section.findings[0].sentence)
    assert [f.verdict.result for f in section.findings] == ["supported", "refuted"]
    assert [f.anchor for f in section.findings] == ["made-1", "made-2"]
    assert "95% interval" in section.findings[0].effect and "80% power" in section.findings[0].power
    assert section.figure is not None and "without BN 70.2%" in section.figure.alt


def test_the_figure_is_svg_of_the_size_it_says(place: Place) -> None:
    write(place.folder, ablation(), measured)
    [section] = made(place, ablation()).sections
    assert section.figure is not None
    root = ET.fromstring(section.figure.svg)
    assert root.tag.endswith("svg")
    wide, high = (float(str(root.get(side)).removesuffix("pt")) * 4 / 3 for side in ("width", "height"))
    assert (section.figure.width, section.figure.height) == pytest.approx((wide, high), abs=1)


def test_the_table_has_each_arm_with_its_mean_interval_and_seeds(place: Place) -> None:
    write(place.folder, ablation(), measured)
    [section] = made(place, ablation()).sections
    assert section.table is not None and section.table.factors == ("network",)
    assert section.table.outcomes[0] == "test accuracy (statistics recomputed)"
    values = [measured({"network": "bn"}, seed).precise_test_accuracy or 0 for seed in range(5)]
    [line] = [line for line in section.table.lines if line.levels == ("with BN",)]
    mean = line.means[0]
    assert mean is not None and mean.value == pytest.approx(fmean(values)) and line.seeds == 5
    assert mean.low is not None and mean.low < mean.value and mean.interval.endswith("%")


def test_the_table_has_each_outcome_once_and_no_accuracy_above_all() -> None:
    """What a claim compares with is a column, too; what equals another in every trial is not."""
    compared = Claim("It is the same.", outcome="test_accuracy", against="train_accuracy", effect=at_least(0))
    other = Claim("This, too.", outcome="test_accuracy", against="mean_test_accuracy", effect=at_least(0))
    rows = table(
        two_arms(compared, other), lambda arm, seed: outcome(0.9, train_accuracy=1 - 0.2 * (seed == 0))
    )
    rows["mean_test_accuracy"] = rows["test_accuracy"]
    held = arm_table.of(Drawing(two_arms(compared, other), rows, ""))
    assert "training accuracy (running averages)" in held.outcomes
    assert "mean test accuracy of the last three epochs" not in held.outcomes
    mean = held.lines[0].means[held.outcomes.index("training accuracy (running averages)")]
    assert mean is not None and (mean.high, mean.interval[-6:]) == (1.0, "100.0%")


def test_an_empty_ledger_has_no_answer_and_the_command_that_fills_it(place: Place) -> None:
    found = made(place, ablation())
    [section] = found.sections
    assert (section.state, section.finished, section.answer, section.figure) == ("empty", 0, "", None)
    assert section.command == f"bnstudy run made{place.options}"
    assert found.checklist == () and found.origins.records == 0


def test_an_incomplete_ledger_is_a_preview_that_counts(place: Place) -> None:
    some = lambda arm, seed: None if seed == 4 and arm["network"] == "bn" else measured(arm, seed)  # noqa: E731
    write(place.folder, ablation(), some)
    [section] = made(place, ablation()).sections
    assert (section.state, section.preview) == ("preview", "preview: 9 of 10 trials")
    assert all(finding.verdict.preview for finding in section.findings)
    assert section.figure is not None and "preview: 9 of 10 trials" in section.figure.svg


def test_what_diverged_or_failed_is_told_as_a_limit(place: Place) -> None:
    def mixed(arm: Mapping[str, str], seed: int) -> Outcome:
        return {0: diverged(), 1: crashed()}.get(seed, measured(arm, seed))

    write(place.folder, ablation(), mixed)
    [section] = made(place, ablation()).sections
    assert section.diverged == 2 and section.finished == 8
    assert "2 trials diverged" in " ".join(section.limits) and "2 trials failed" in " ".join(section.limits)


def test_the_claims_of_the_chapter_find_their_findings(place: Place) -> None:
    write(place.folder, ablation(), measured)
    found = {each.claim.id: each for each in made(place, ablation()).claims}
    assert [finding.anchor for _, finding in found["C13"].findings] == ["made-1"]
    assert not found["C13"].bearing
    assert not found["C22"].findings and [section.name for section in found["C22"].bearing] == ["made"]
    assert not found["C2"].findings and not found["C2"].bearing


def test_sections_that_answer_exercises_come_first_in_their_order(place: Place) -> None:
    other = replace(ablation(), name="other", source="elsewhere")
    first = replace(ablation(), name="first", source="d2l-en 8.5 exercise 1")
    assert [s.name for s in made(place, other, ablation(), first).sections] == ["first", "made", "other"]


def test_what_has_records_comes_before_what_has_none(place: Place) -> None:
    empty, held = (replace(ablation(), name=name, source="elsewhere") for name in ("empty", "held"))
    write(place.folder, held, measured)
    assert [s.name for s in made(place, empty, held).sections] == ["held", "empty"]


def test_verdicts_that_count_are_those_of_complete_ledgers_where_there_are_any(place: Place) -> None:
    whole, part, none = (replace(ablation(), name=name) for name in ("whole", "part", "none"))
    write(place.folder, part, lambda arm, seed: measured(arm, seed) if seed else None)
    assert [s.name for s in made(place, whole, part, none).judged] == ["part"]
    write(place.folder, whole, measured)
    assert [s.name for s in made(place, whole, part, none).judged] == ["whole"]


def test_the_origins_are_those_of_the_records(place: Place) -> None:
    facts = {"commit": "0" * 40, "clean": False, "host_cpu": "A processor", "cores": 2, "torch": "2.6.0"}
    more = {"wall_seconds": 8.0, "pack": {"size": 4}, "peak_memory_bytes": 2**30, "data_sha256": "ab" * 32}
    write(place.folder, ablation(), measured, **facts, **more)
    found = made(place, ablation())
    origins = found.origins
    assert [(c.name, c.clean, c.records) for c in origins.commits] == [("0" * 40, False, 10)]
    assert origins.machines == (("A processor, 2 cores", 10),)
    assert dict(origins.versions)["torch"] == (("2.6.0", 10),)
    assert origins.core_hours == pytest.approx(10 * 2 / 3600) and origins.largest_memory == 2**30
    told = {item.question: item.answer for item in found.checklist}
    assert told["Was it as committed?"] == "Not for some records of 0000000000."
    assert "torch 2.6.0" in told["With which dependencies?"]


def test_published_numbers_are_percentiles_of_our_seeds(place: Place) -> None:
    claim = Claim("It was typical.", factor="network", effect=contains({"bn": 0.804, "affine": 0.9}, 0.0005))
    with_numbers = two_arms(claim, seeds=5)
    write(place.folder, with_numbers, measured)
    [section] = made(place, with_numbers).sections
    bn, affine = section.numbers
    assert (bn.name, bn.below, bn.equal, bn.seeds, bn.percentile, bn.inside) == ("bn", 2, 2, 5, 60.0, True)
    assert (affine.below, affine.percentile, affine.inside) == (5, 100.0, False)


def test_without_trials_a_published_number_has_no_percentile() -> None:
    assert Number("made", "S4b", "test_accuracy", 0.83, 0, 0, 0).percentile is None


def test_every_published_system_is_told_with_what_it_printed() -> None:
    found = {system.name: system for system in recorded.systems([])}
    assert len(found) == 14
    assert dict(found["S4b"].printed)["test accuracy (running averages)"] == "83.0%"
    assert found["S0a"].printed == () and "norm=batch_norm_scratch" in found["S0a"].recipe
    assert len(recorded.runs([])) == 3 * 16


def test_what_all_arms_share_has_its_value_and_its_reason() -> None:
    sweep = registry.find().get("lr-sweep").at("quick")
    held = {each.field: each for each in report.held.of(sweep)}
    assert "lr" not in held and "norm" not in held
    assert held["batch_size"].value == "256" and held["batch_size"].why == "as in the chapter"
    assert held["epochs"].why == "cut down by the profile"


def test_the_ablations_name_exercises_and_claims_that_the_chapter_has() -> None:
    ablations = registry.find().ablations.values()
    named = {number for ablation in ablations for number in chapter.exercises(ablation.source)}
    assert named == {exercise.number for exercise in chapter.EXERCISES}
    refs = {ref for a in ablations for c in a.claims for ref in c.refs}
    refs |= {ref for a in ablations for ref in chapter.named_claims(a.source)}
    assert refs <= {claim.id for claim in chapter.CLAIMS}
