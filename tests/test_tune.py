"""`bnstudy tune`, and `run` at tuned values, with real trainings of a second each."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from fakes import seen
from typer.testing import CliRunner

from bnstudy.books.ledger import Ledger
from bnstudy.cli import app
from bnstudy.commands import tune

TUNED = """
from bnstudy.claims import Claim, at_least
from bnstudy.design import Ablation, Profile, tuned
from bnstudy.levels import NORM

ablation = Ablation(
    question="Is it worth it, each at its own rate?",
    source="my own",
    factors=(NORM, tuned("lr", 0.01, 100)),
    seeds=range(2),
    claims=(Claim("It gains a point.", factor="norm", effect=at_least(0.01)),),
    smoke=Profile(
        base={"data": "sample", "train_images": 128, "validation_images": 64, "batch_size": 64, "epochs": 1}
    ),
)
"""
CROSSED = TUNED.replace("tuned", "across")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with two ablations."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ablations").mkdir()
    (tmp_path / "ablations" / "own_rates.py").write_text(TUNED)
    (tmp_path / "ablations" / "crossed.py").write_text(CROSSED)
    return tmp_path


def bnstudy(*words: str) -> Result:
    options = ["--profile", "smoke", *([] if words[0] == "show" else ["--ablations", "ablations"])]
    return CliRunner().invoke(app, [*words, *options], env={"COLUMNS": "100"})


def shown(*words: str) -> Any:
    result = bnstudy(*words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_run_tunes_first_and_trains_every_arm_at_its_own_value(here: Path) -> None:
    planned = shown("plan", "own-rates")
    assert planned["missing_trials"] == 4 and planned["tuned"]["norm=bn,lr=tuned"] == {}
    assert "to be tuned first, for each arm: lr" in bnstudy("plan", "own-rates").output

    ran = bnstudy("run", "own-rates", "--workers", "1")
    assert ran.exit_code == 0, ran.output
    assert "own-rates, tuning, round 2 of 2" in ran.stderr and "It gains a point." in ran.stdout
    found = json.loads(Path("results/smoke/tune/own-rates.json").read_text())
    rates = {arm["arm"]: arm["changes"]["lr"] for arm in found["arms"]}
    assert found["budget"] == 16 and [arm["points"] for arm in found["arms"]] == [16, 16]
    records = Ledger(Path("results/smoke/own-rates.jsonl")).records()
    assert {(f"norm={r.arm['norm']}", r.recipe.lr) for r in records} == set(rates.items())
    assert {r.seed for r in records} == {0, 1}
    searched = Ledger(Path("results/smoke/tune/own-rates.jsonl")).records()
    assert {r.seed for r in searched} == {1000, 1001} and len(searched) == 64

    edges = [arm["arm"] for arm in found["arms"] if arm["at_edge"]]
    assert all(f"The best of {arm}, lr=" in ran.stderr for arm in edges)
    assert ("is at the edge of what was searched" in ran.stderr) == bool(edges)
    assert bnstudy("show", searched[0].trial).exit_code == 0

    planned = shown("plan", "own-rates")
    assert planned["missing_trials"] == 0
    assert planned["arms"][1]["differs_from_control"]["lr"] == rates["norm=bn"]
    assert f"tuned to lr={rates['norm=affine']:g}" in bnstudy("plan", "own-rates").output
    assert [each["recorded"] for each in shown("list")["ablations"] if each["name"] == "own-rates"] == ["4/4"]
    assert [each["missing"] for each in shown("status") if each["name"] == "own-rates"] == [0]
    told = bnstudy("compare", "own-rates:norm=bn", "own-rates:norm=affine")
    assert told.exit_code == 0 and "lr" in told.output

    before = Path("results/smoke/own-rates.jsonl").read_bytes()
    again = bnstudy("run", "own-rates")
    assert again.exit_code == 0 and "worker" not in again.stderr
    assert Path("results/smoke/own-rates.jsonl").read_bytes() == before


def test_tune_searches_nuisance_factors_and_its_workers_change_nothing(here: Path) -> None:
    """Two workers and one: the same points with the same bits."""
    found = shown("tune", "crossed", "--budget", "9", "--workers", "2", "--results", "two")
    assert [arm["arm"] for arm in found["arms"]] == ["norm=affine", "norm=bn"]
    assert {arm["points"] for arm in found["arms"]} == {9} and found["seeds"] == [1000, 1001]
    assert all(0.01 <= float(arm["best"]["lr"]) <= 100 for arm in found["arms"])
    assert shown("tune", "crossed", "--budget", "9", "--workers", "1", "--results", "one") == found
    one, two = (seen(Ledger(Path(f"{each}/smoke/tune/crossed.jsonl"))) for each in ("one", "two"))
    assert one == two and len(one) == 2 * 9 * 2

    told = bnstudy("tune", "crossed", "--budget", "9", "--results", "two")
    assert told.exit_code == 0 and "worker" not in told.stderr  # nothing is trained again
    assert "validation accuracy" in told.stdout and "seeds 1000 and 1001" in " ".join(told.stdout.split())


def test_what_cannot_be_tuned_is_one_sentence(here: Path) -> None:
    result = bnstudy("tune", "placebo")
    assert result.exit_code == 1 and "placebo has nothing to tune" in str(result.exception)
    assert not Path("results").exists()


def test_a_best_value_at_the_edge_is_told() -> None:
    arm = {
        "arm": "norm=bn",
        "best": {"lr": "100"},
        "changes": {"lr": 100.0},
        "score": 0.5,
        "points": 16,
        "at_edge": ["lr"],
    }
    value = {
        "ablation": "a",
        "question": "?",
        "profile": "quick",
        "budget": 16,
        "seeds": [1000, 1001],
        "arms": [arm],
    }
    told = " ".join(tune.text(value).split())
    assert "at the edge of lr" in told
    assert "The best of norm=bn, lr=100, is at the edge of what was searched: widen it in a's file." in told
    assert "edge" not in tune.text(value | {"arms": [arm | {"at_edge": []}]})
