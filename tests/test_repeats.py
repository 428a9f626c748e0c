"""A ledger merged from two machines by concatenation: nothing counts twice, and what disagrees is told."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import fakes
import pytest
from typer.testing import CliRunner

from bnstudy.books.ledger import Ledger, Record
from bnstudy.cli import app
from bnstudy.judgement.repeats import repeats, told
from bnstudy.outcome import Outcome

ABLATION = fakes.design(seeds=3)
HERE = {"host_cpu": "A", "torch": "2.14", "commit": "abc", "recorded": "2026-03-01T00:00:00+00:00"}
THERE = HERE | {"host_cpu": "B", "recorded": "2026-03-02T00:00:00+00:00"}
LOSSES = tuple(2.3 - 0.01 * n for n in range(20))


def record(trial: int, provenance: dict[str, Any], **changes: Any) -> Record:
    outcome = {"status": "ok", "precise_test_accuracy": 0.8, "first_losses": LOSSES} | changes
    return Record.of("lr-sweep", ABLATION.trials[trial], Outcome(**outcome), provenance)


def read(folder: Path, *records: Record) -> list[Record]:
    ledger = Ledger(folder / "lr-sweep.jsonl", pytest.fail)
    ledger.path.unlink(missing_ok=True)
    ledger.append(records)
    return ledger.records()


def parted(step: int, by: float) -> tuple[float, ...]:
    """The losses of a training that parts at a step."""
    return (*LOSSES[:step], *(loss * (1 + by) for loss in LOSSES[step:]))


def test_a_trial_with_the_same_outcome_twice_is_one(tmp_path: Path) -> None:
    records = read(tmp_path, *(record(n, where) for where in (HERE, THERE) for n in range(3)))
    assert [each.judged.level for each in repeats(records)] == ["L0"] * 3
    assert told(records) == ["3 trials recorded again with the same outcome to the last bit"]
    assert len(Ledger(tmp_path / "lr-sweep.jsonl").frame(ABLATION)) == 3
    assert told(read(tmp_path, *(record(n, HERE) for n in range(3)))) == []
    lost = record(0, THERE, status="lost", precise_test_accuracy=None)
    assert told(read(tmp_path, record(0, HERE), lost)) == [], "a failure is no second outcome"


@pytest.mark.parametrize(
    ("there", "changes", "level", "reason"),
    [
        (
            HERE,
            {"precise_test_accuracy": 0.81},
            "failed",
            "environment is the same, and precise_test_acc",
        ),
        (HERE | {"commit": "def"}, {"test_accuracy": 0.1}, "failed", "the environment is the same"),
        (THERE, {"first_losses": parted(3, 1e-6), "precise_test_accuracy": 0.81}, "L1", ""),
        (THERE, {"first_losses": parted(0, 0.01)}, "failed", "step 0 is more than 0.0001 apart"),
        (
            THERE,
            {"first_losses": parted(7, 0.01)},
            "not shown",
            "part at step 7; `bnstudy verify` tells",
        ),
        (THERE, {"first_losses": (), "precise_test_accuracy": 0.7}, "failed", "step 0"),
    ],
)
def test_different_outcomes_are_judged_like_a_training_that_is_repeated(
    tmp_path: Path, there: dict[str, Any], changes: dict[str, Any], level: str, reason: str
) -> None:
    [repeat] = repeats(read(tmp_path, record(0, there, **changes), record(0, HERE)))
    assert (repeat.judged.level, reason in repeat.judged.reason) == (level, True), repeat.judged
    notes = told([repeat.counts, repeat.other])
    assert "1 trial recorded again with another outcome, the first record counts" in notes[0]
    assert len(notes) == 1 + (level != "L1")


def test_the_mean_difference_of_many_decides_like_verify(tmp_path: Path) -> None:
    """Equal first steps, and a mean that is off by two points: a fault that shows later."""
    for by, verdict in ((0.02, "failed"), (0.0, "within tolerance")):
        others = [
            record(n, THERE, first_losses=parted(2, 1e-6), precise_test_accuracy=0.8 + by + n * 1e-5)
            for n in range(12)
        ]
        [note] = told(read(tmp_path, *(record(n, HERE) for n in range(12)), *others))
        assert note.endswith(f"together {verdict}")


def test_the_order_of_the_lines_changes_nothing(tmp_path: Path) -> None:
    """Whoever merges must not choose among outcomes; neither may records without a date."""
    old = {"host_cpu": "A"}
    records = [
        record(n, where, precise_test_accuracy=0.5 + 0.1 * i)
        for n in range(9)
        for i, where in enumerate((THERE, HERE, old, old | {"host_cpu": "B"}))
    ]
    records += [record(9, THERE, status="lost"), record(9, HERE, status="crashed")]
    expected = None
    for seed in range(5):
        random.Random(seed).shuffle(records)
        read(tmp_path, *records)
        ledger = Ledger(tmp_path / "lr-sweep.jsonl")
        frames = ledger.frame(ABLATION).to_csv(), ledger.frame().to_csv(), told(ledger.records())
        expected = expected or frames
        assert frames == expected
    kept = ledger.recorded()
    assert {kept[ABLATION.trials[n].id].provenance["host_cpu"] for n in range(9)} <= {"A", "B"}
    assert all("recorded" not in kept[ABLATION.trials[n].id].provenance for n in range(9)), "older ones first"
    assert kept[ABLATION.trials[9].id].outcome.status == "lost", "the newest of what failed"


def test_status_and_judge_tell_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "rates.py").write_text(RATES)
    (tmp_path / "results" / "paper").mkdir(parents=True)
    trials = [
        replace(record(n, where, precise_test_accuracy=accuracy), ablation="rates")
        for n in range(2)
        for where, accuracy in ((HERE, 0.8), (THERE, 0.8 + n * 0.1))
    ]
    Ledger(tmp_path / "results" / "paper" / "rates.jsonl", pytest.fail).append(trials)
    options = ["--ablations", "own", "--profile", "paper"]
    for words in (
        ["status", "--why"],
        ["status"],
        ["status", "--json"],
        ["judge", "rates"],
        ["judge", "rates", "--json"],
    ):
        shown = CliRunner().invoke(app, [*words, *options])
        text = " ".join((shown.stdout + shown.stderr).split())
        assert shown.exit_code == 0, text
        assert "1 trial recorded again with the same outcome to the last bit" in text, words
        assert "1 trial recorded again with another outcome, the first record counts" in text, words


RATES = """
from bnstudy.design import Ablation, Factor, Level, across

ablation = Ablation(
    question="Which rates train?",
    source="d2l 8.5",
    factors=(Factor("norm", levels=(Level("bn"), Level("affine", norm="affine"))), across("lr", 0.3, 3, 300)),
    seeds=range(3),
)
"""
