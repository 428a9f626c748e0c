"""Records can be looked up, trained again, compared and taken elsewhere, and nothing is lost on the way."""

import io
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from handmade import SMALL, by_rate, crashed, diverged, outcome, write

from bnstudy.commands import lookup
from bnstudy.commands.study import Place
from bnstudy.errors import BnstudyError
from bnstudy.outcome import Outcome
from bnstudy.packs import Job, Result

COPY = f"""
from bnstudy.design import Ablation, Factor, Level, across
from bnstudy.recipe import Recipe

ablation = Ablation(
    question="Does it matter?",
    source="by hand",
    factors=(
        Factor(
            "network",
            control=Level("affine", norm="affine"),
            treatments=(Level("bn"),),
            varies=("norm",),
        ),
        across("lr", 0.1, 1, 10, 100),
    ),
    seeds=range(5),
    base={SMALL!r},
)
"""


def good(arm: Mapping[str, str], seed: int) -> Outcome:
    return outcome((0.8 if arm["network"] == "bn" else 0.7) + 0.01 * seed)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A folder with a ledger of `by_rate`, whose first trial diverged and whose last crashed."""
    here = Place(tmp_path / "results", "paper", pytest.fail)

    def measured(arm: Mapping[str, str], seed: int) -> Outcome:
        if arm == {"network": "affine", "lr": "100"}:
            return diverged() if seed == 0 else crashed() if seed == 4 else good(arm, seed)
        return good(arm, seed)

    write(here.folder, by_rate(), measured)
    return here


@pytest.fixture
def ablations(tmp_path: Path) -> Path:
    """A folder with the ablation of that ledger as a file."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "made.py").write_text(COPY)
    return tmp_path / "own"


# One record


def test_a_record_is_found_by_the_beginning_of_its_id(place: Place) -> None:
    trial = by_rate().trials[3].id
    assert lookup.find(trial, place) == lookup.find(trial[:8], place)
    assert lookup.find(trial, place).trial == trial


def test_an_ambiguous_beginning_lists_what_it_may_mean(place: Place) -> None:
    with pytest.raises(BnstudyError, match=r"40 trials begin with ''; give more digits: [0-9a-f]{16}, "):
        lookup.find("", place)


def test_an_unknown_trial_is_an_error_that_says_where_trials_are_listed(place: Place) -> None:
    with pytest.raises(BnstudyError, match=r"No trial 'zzz' is recorded in .*paper; `bnstudy export NAME"):
        lookup.find("zzz", place)


def test_a_trial_of_two_ablations_is_one_trial(place: Place) -> None:
    twin = replace(by_rate(), name="twin")
    write(place.folder, twin, lambda arm, seed: good(arm, seed) if seed == 1 else None)
    trial = next(t for t in twin.trials if t.seed == 1).id
    assert lookup.find(trial, place).trial == trial


def test_a_record_is_shown_whole_with_its_nested_parts_indented(place: Place) -> None:
    record = lookup.find(by_rate().trials[3].id, place)
    text = lookup.record_text(json.loads(record.line()))
    lines = text.splitlines()
    assert f"trial: {record.trial}" in lines and "  lr: 100" in lines and "  padding: 0" in lines
    assert "  validation_accuracy: 0.085, 0.1" in lines
    assert "  weight_norms:" in lines and "    fc.weight: 1.5" in lines
    assert "  reason: -" in lines and "  finite: off" in lines
    assert "None" not in text and "{" not in text


# Trained again


def trained(monkeypatch: pytest.MonkeyPatch, change: object = None) -> list[Job]:
    """Have packs trained by hand; return what they were."""
    from bnstudy.training import work

    jobs: list[Job] = []

    def run_pack(job: Job, report: object) -> Result:
        jobs.append(job)
        trials = job.pack.trials
        outcomes = [good(dict(t.arm.levels), t.seed) for t in trials]
        if change is not None:
            outcomes = [replace(each, weight_norms={"fc.weight": change}) for each in outcomes]
        return Result(tuple(outcomes), {"device": "cpu"})

    monkeypatch.setattr(work, "run_pack", run_pack)
    return jobs


def test_a_trial_is_trained_again_in_its_place_of_as_large_a_pack(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = lookup.find(by_rate().trials[5].id, place)
    placed = replace(record, provenance={"pack": {"size": 8, "slot": 5, "shares_images": False}})
    jobs = trained(monkeypatch)
    came = lookup.rerun(placed, None, "cpu", pytest.fail)
    (job,) = jobs
    assert [t.id for t in job.pack.slots] == [record.trial] * 8 and not job.pack.shares_images
    assert came["bitwise"] and came["differences"] == {}
    assert lookup.rerun_text(came) == (
        f"Trial {record.trial}, trained again, gives the same outcome to the last bit."
    )


def test_what_differs_is_told_field_by_field(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    record = lookup.find(by_rate().trials[5].id, place)
    trained(monkeypatch, change=1.25)
    came = lookup.rerun(record, None, "cpu", pytest.fail)
    assert not came["bitwise"] and list(came["differences"]) == ["weight_norms"]
    assert lookup.rerun_text(came).splitlines() == [
        f"Trial {record.trial}, trained again, gives another outcome:",
        "  weight_norms:",
        "    recorded:",
        "      fc.weight: 1.5",
        "    rerun:",
        "      fc.weight: 1.25",
    ]


def test_what_is_not_finite_is_compared_as_it_is_recorded(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger has null for infinity: a rerun that overflows again is the same."""
    record = lookup.find(by_rate().trials[5].id, place)
    overflown = replace(record, outcome=replace(record.outcome, weight_norms={"fc.weight": None}))
    trained(monkeypatch, change=float("inf"))
    assert lookup.rerun(overflown, None, "cpu", pytest.fail)["bitwise"]


def test_a_trial_of_another_revision_is_not_trained_again(place: Place) -> None:
    record = lookup.find(by_rate().trials[5].id, place)
    revised = replace(record, recipe=record.recipe.replace(revisions={**record.recipe.revisions, "train": 7}))
    with pytest.raises(BnstudyError, match=r"is of revisions .*train=7.*: its numbers differ on purpose"):
        lookup.rerun(revised, None, "cpu", pytest.fail)


# Two records or arms


def test_arms_are_compared_by_their_means_over_seeds(place: Place, ablations: Path) -> None:
    found = lookup.compared("made:network=bn,lr=1", "made:network=affine,lr=1", place, ablations)
    assert found["differs_in"] == {"norm": {"a": "batch_norm", "b": "affine"}}
    assert len(found["a"]["trials"]) == 5 and found["a"]["seeds"] == [0, 1, 2, 3, 4]
    assert found["outcomes"][0]["outcome"] == "precise_test_accuracy"
    assert found["outcomes"][0]["a"] == pytest.approx(0.82)
    assert found["outcomes"][0]["a minus b"] == pytest.approx(0.1)
    assert found["validation_accuracy"]["a"][1] == pytest.approx(0.82)
    text = lookup.compare_text(found).splitlines()
    assert text[0] == "a: made:network=bn,lr=1 (mean of seeds 0, 1, 2, 3, 4)"
    assert text[2] == "recipes differ in: norm (batch_norm and affine)"
    assert text[6].split() == ["precise_test_accuracy", "0.8200", "0.7200", "0.1000"]
    json.dumps(found, allow_nan=False)


def test_a_comparison_says_what_diverged_and_leaves_out_what_crashed(place: Place, ablations: Path) -> None:
    found = lookup.compared("made:lr=100,network=affine", "made:network=bn,lr=100", place, ablations)
    assert found["a"]["status"] == {"diverged": 1, "ok": 3} and found["a"]["seeds"] == [0, 1, 2, 3]
    assert lookup.compare_text(found).startswith(
        "a: made:lr=100,network=affine (mean of seeds 0, 1, 2, 3, 1 diverged)"
    )


def test_trials_are_compared_by_their_ids(place: Place) -> None:
    a, b = (by_rate().trials[i].id for i in (4, 12))
    found = lookup.compared(a[:10], b, place)
    assert found["differs_in"] == {} and (found["a"]["seeds"], found["b"]["seeds"]) == ([0], [1])
    text = lookup.compare_text(found)
    assert f"b: {b} (seed 1)" in text and "recipes differ in: nothing" in text


def test_a_trial_that_never_finished_can_be_compared(place: Place) -> None:
    failed = next(t.id for t in by_rate().trials if t.seed == 4 and t.arm.name == "network=affine,lr=100")
    text = lookup.compare_text(lookup.compared(failed, by_rate().trials[4].id, place))
    assert f"a: {failed} (seed 4, 1 crashed)" in text
    assert text.splitlines()[6].split() == ["precise_test_accuracy", "-", "0.8000", "-"]


@pytest.mark.parametrize(
    ("arm", "told"),
    [
        ("made:network=bn", r"means 4 arms; name a level of lr, too: made:network=bn,lr=0\.1\."),
        ("made:", r"means 8 arms; name a level of network, lr, too: "),
        ("made:network=bm,lr=1", r"No level of factor 'network' named 'bm'\. Known: affine, bn\."),
        ("made:netwrok=bn,lr=1", r"No factor named 'netwrok'\. Did you mean 'network'\?"),
        ("made:network,lr=1", r"No level of factor 'network' named ''"),
        ("maid:network=bn,lr=1", r"No ablation named 'maid'\. Did you mean 'made'\?"),
    ],
)
def test_what_is_no_single_arm_is_an_error(place: Place, ablations: Path, arm: str, told: str) -> None:
    with pytest.raises(BnstudyError, match=told):
        lookup.compared(arm, arm, place, ablations)


def test_an_arm_without_records_is_an_error(place: Place, ablations: Path) -> None:
    elsewhere = replace(place, profile="quick")
    with pytest.raises(
        BnstudyError, match=r"Nothing is recorded of made:network=bn,lr=1 in .*quick; `bnstudy run made"
    ):
        lookup.compared("made:network=bn,lr=1", "made:network=bn,lr=10", elsewhere, ablations)


def test_records_of_another_revision_are_not_averaged_in(place: Place, ablations: Path) -> None:
    old = replace(by_rate(), base=SMALL.replace(revisions={**SMALL.revisions, "train": 7}))
    write(place.folder, old, lambda arm, seed: outcome(0.0))
    found = lookup.compared("made:network=bn,lr=1", "made:network=affine,lr=1", place, ablations)
    assert found["outcomes"][0]["a"] == pytest.approx(0.82)


# Tables


def test_nothing_recorded_is_an_error(place: Place) -> None:
    with pytest.raises(
        BnstudyError, match=r"Nothing is recorded of other in .*paper; `bnstudy run other --profile"
    ):
        lookup.recorded("other", place)


def test_csv_and_parquet_hold_every_value(place: Place, tmp_path: Path) -> None:
    """Lists and mappings are JSON, what is missing stays missing, numbers come back to the last bit."""
    frame = lookup.recorded("made", place)
    assert len(frame) == 40
    lookup.write_table(frame, tmp_path / "made.csv")
    lookup.write_table(frame, tmp_path / "made.parquet")
    assert (tmp_path / "made.csv").read_text() == lookup.csv(frame)
    texts = {"trial": str, "fingerprint": str, "lr": str}
    read = {
        "csv": pd.read_csv(tmp_path / "made.csv", dtype=texts, engine="python"),
        "parquet": pd.read_parquet(tmp_path / "made.parquet"),
    }
    for kind, table in read.items():
        assert list(table.columns) == list(frame.columns)
        for name in frame.columns:
            for before, after in zip(frame[name], table[name], strict=True):
                assert same(before, after), (kind, name, before, after)


def same(before: object, after: object) -> bool:
    if isinstance(before, tuple | dict):
        found = json.loads(str(after))
        return found == (list(before) if isinstance(before, tuple) else before)
    if before is None or before is pd.NA or before != before:
        return bool(pd.isna(after))  # type: ignore[call-overload]
    if before == "" and pd.isna(after):  # type: ignore[call-overload]
        return True  # csv has one word for empty and missing
    return bool(before == after)


def test_a_table_is_read_by_what_everyone_has(place: Place) -> None:
    table = pd.read_csv(io.StringIO(lookup.csv(lookup.recorded("made", place))))
    assert set(table.status) == {"ok", "diverged", "crashed"}
    means = table.groupby("network").precise_test_accuracy.mean()
    assert means["bn"] == pytest.approx(0.82)
    assert np.isnan(table.precise_test_accuracy[table.status == "crashed"]).all()


@pytest.mark.parametrize("name", ["made.xlsx", "made", "made.CSV.gz"])
def test_other_kinds_of_tables_are_refused(place: Place, tmp_path: Path, name: str) -> None:
    with pytest.raises(BnstudyError, match=r"a table is written as \.csv or \.parquet"):
        lookup.write_table(lookup.recorded("made", place), tmp_path / name)
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_place_that_cannot_be_written_is_told(place: Place, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "missing" / f"made.{suffix}"
    with pytest.raises(BnstudyError, match=f"Cannot write {path}: No such file or directory"):
        lookup.write_table(lookup.recorded("made", place), path)
