"""What the commands show is true, aligned and readable, and the same for machines as for people."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from handmade import SMALL, by_rate, crashed, diverged, made, outcome, two_arms, write

from bnstudy.claims import Claim, at_least, largest_workable, ratio_at_least
from bnstudy.commands import study, views
from bnstudy.commands.study import Place
from bnstudy.design import Ablation, Factor, Level
from bnstudy.outcome import Outcome


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "results", "quick", pytest.fail)


def good(arm: Mapping[str, str], seed: int) -> Outcome:
    return outcome(0.8 + 0.01 * seed if arm["network"] == "bn" else 0.7)


# Tables


def test_a_table_is_aligned_without_blank_lines() -> None:
    rows = [{"name": "a", "n": 7, "share": 0.5}, {"name": "longer", "n": 1234, "share": None}]
    assert views.table(rows, ("name", "n", "share")).splitlines() == [
        "name        n    share",
        "──────────────────────",
        "a           7   0.5000",
        "longer   1234        -",
    ]


def test_a_cell_is_shown_as_it_is() -> None:
    """Neither what looks like markup nor what looks like the name of an emoji is replaced."""
    head, _, row = views.table([{"name": ":smile: [bold]x[/bold]"}], ("name",)).splitlines()
    assert (head, row) == ("name", ":smile: [bold]x[/bold]")


def test_a_table_without_rows_is_its_head() -> None:
    assert views.table([], ("name", "n")).splitlines()[0].split() == ["name", "n"]


@pytest.mark.parametrize("columns", [40, 60, 100, 200])
def test_a_table_fits_the_terminal_and_cuts_nothing(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    path = "/a/very/long/path/" + "deep/" * 20
    lines = views.table([{"what": "images", "found": path}], ("what", "found")).splitlines()
    assert max(map(len, lines)) <= columns
    assert path in "".join(line[8:].strip() for line in lines[2:]).replace(" ", "")


@pytest.mark.parametrize("variable", ["FORCE_COLOR", "NO_COLOR"])
def test_a_table_is_plain_text(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "1")
    assert "\x1b" not in views.table([{"name": "[bold]a[/bold]"}], ("name",))
    assert "[bold]a[/bold]" in views.table([{"name": "[bold]a[/bold]"}], ("name",))


# Plans


def test_a_plan_tells_where_factors_exist_and_that_some_arms_have_fewer_seeds(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    site = Factor(
        "site",
        levels=(Level("before"), Level("after", dropout_at="after_norms")),
        varies=("dropout_at",),
        where={"dropout": ("0.5",)},
    )
    dropout = Factor("dropout", levels=(Level("0"), Level("0.5", dropout=0.5, seeds=1)))
    ablation = Ablation(
        question="Where?", source="here", factors=(dropout, site), seeds=range(3), name="nested", base=SMALL
    )
    planned = views.planned(ablation, place, workers=1)
    assert planned["control"] == "dropout=0" and planned["trials"] == 3 + 1 + 1
    assert planned["factors"][1]["where"] == {"dropout": ["0.5"]}
    text = views.plan_text(planned)
    assert "before, after (where dropout is 0.5)" in text
    assert "quick profile: 3 arms x 3 seeds at most = 5 trials, in " in text
    listed = views.listing(ablation, place)
    assert (listed["trials"], listed["recorded"]) == ("5", "0/5")


def test_a_plan_counts_what_is_missing_and_why(place: Place) -> None:
    ablation = by_rate(seeds=3)

    def half(arm: Mapping[str, str], seed: int) -> Outcome | None:
        return None if seed == 2 else crashed() if (seed, arm["lr"]) == (1, "10") else good(arm, seed)

    write(place.folder, ablation, half)
    planned = views.planned(ablation, place, workers=2)
    assert planned["trials"] == 24 and planned["missing_trials"] == 8 + 2
    assert planned["why_missing"] == {"not recorded yet": 8, "crashed": 2}
    assert planned["control"] == "network=affine,lr=0.1"
    arms = {arm["arm"]: arm["differs_from_control"] for arm in planned["arms"]}
    assert arms["network=affine,lr=0.1"] == {} and len(arms) == 8
    assert arms["network=bn,lr=10"] == {"norm": "batch_norm", "lr": 10.0}
    text = views.plan_text(planned)
    assert "quick profile: 8 arms x 3 seeds = 24 trials, in " in text
    assert "missing: 10 trials in " in text and "(8 not recorded yet, 2 crashed)" in text


def test_the_control_of_a_plan_is_each_factors_control() -> None:
    ablation = two_arms()
    (network,) = ablation.factors
    turned = made(Factor("network", levels=network.levels[::-1], control=network.control, varies=("norm",)))
    planned = views.planned(turned, Place(Path("nowhere"), "quick", pytest.fail), 1)
    assert planned["control"] == "network=affine"
    assert planned["arms"][0] == {"arm": "network=bn", "differs_from_control": {"norm": "batch_norm"}}


def test_the_time_of_a_plan_is_that_of_the_recorded_packs(place: Place) -> None:
    """Packs of 4 x 640 images took 4 seconds each; 4 packs are left for 2 workers."""
    ablation = by_rate(seeds=3)
    assert views.planned(ablation, place, 2)["estimated_seconds"] is None
    write(place.folder, ablation, lambda arm, seed: good(arm, seed) if seed == 0 else None)
    planned = views.planned(ablation, place, 2)
    assert planned["missing_packs"] == 4
    assert planned["estimated_seconds"] == 4 * 4 / 2
    assert "time: about 8 seconds with 2 workers, at the speed" in views.plan_text(planned)
    many = views.planned(ablation, place, 64)
    assert (many["workers"], many["estimated_seconds"]) == (8, 2), "no more workers than halves of packs"


def test_records_without_a_time_are_no_reason_to_fail(place: Place) -> None:
    ablation = by_rate(seeds=2)
    for provenance in ({"wall_seconds": 0.0, "pack": {"size": 4}}, {"wall_seconds": 1.0}):
        write(place.folder, ablation, lambda arm, seed: good(arm, seed) if seed == 0 else None, **provenance)
        assert views.planned(ablation, place, 2)["estimated_seconds"] is None


def test_a_finished_plan_says_that_nothing_is_missing(place: Place) -> None:
    ablation = two_arms(seeds=1)
    write(place.folder, ablation, good)
    text = views.plan_text(views.planned(ablation, place, 2))
    assert text.endswith("2 arms x 1 seed = 2 trials, in 2 packs\nnothing is missing")


# States


def state(ablation: Ablation, place: Place) -> views.Row:
    return views.state(ablation, place)


def test_a_state_counts_done_missing_diverged_and_failed(place: Place) -> None:
    ablation = by_rate(seeds=2)

    def mixed(arm: Mapping[str, str], seed: int) -> Outcome | None:
        kinds = {"0.1": good(arm, seed), "1": diverged(), "10": crashed(), "100": None}
        return kinds[arm["lr"]]

    write(place.folder, ablation, mixed)
    found = state(ablation, place)
    why = found.pop("why")
    assert found.pop("repeated") == []
    assert found == {"name": "made", "done": 8, "missing": 8, "diverged": 4, "failed": 4, "figure": "none"}
    assert why == ["figure: not drawn yet", "4 trials crashed: RuntimeError: out of luck, 3 times"]


def test_a_state_of_nothing_has_nothing_to_report(place: Place) -> None:
    assert state(two_arms(), place)["why"] == []


def test_a_state_names_stale_revisions_and_strangers(place: Place) -> None:
    """Records of a raised revision are other trials than the design's: named, never silently mixed."""
    ablation = two_arms(seeds=2)
    raised = replace(ablation, base=SMALL.replace(revisions={**SMALL.revisions, "train": 7}))
    write(place.folder, raised, lambda arm, seed: good(arm, seed) if seed or arm["network"] == "bn" else None)
    write(place.folder, two_arms(seeds=4), lambda arm, seed: good(arm, seed) if seed == 3 else None)
    found = state(ablation, place)
    assert found["done"] == 0
    assert (
        found["why"][1:]
        == [
            "3 records of other revisions, stale: data=1, norms=1, nets=1, train=7, evaluate=1",
            "2 records of seeds or recipes that this design does not have",
        ]
        or "train=7" in found["why"][1]
    )


def test_a_state_tells_whether_the_figure_is_of_these_records(place: Place) -> None:
    ablation = two_arms(seeds=3)
    write(place.folder, replace(ablation, seeds=range(2)), good)
    study.draw(study.judge(ablation, place), place)
    assert (state(ablation, place)["figure"], state(ablation, place)["why"]) == ("of these records", [])
    write(place.folder, replace(ablation, seeds=(2,)), good)
    assert state(ablation, place)["figure"] == "stale"
    assert state(ablation, place)["why"] == ["figure: drawn from 4 trials, 6 are recorded"]


# Judgements


def judged(ablation: Ablation, place: Place) -> views.Row:
    return views.judgement(study.judge(ablation, place), place)


HELPS = Claim("BN helps.", factor="network", effect=at_least(0.05))


def test_a_judgement_reads_well(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    ablation = two_arms(HELPS, replace(HELPS, text="It does."), seeds=3)
    write(place.folder, ablation, good)
    value = judged(ablation, place)
    assert views.judgement_text(value | {"figure": "made.png"}).splitlines() == [
        "made: Does it matter?",
        "  Test accuracy (statistics recomputed), mean and 95% interval: with BN 81.0% (78.5 to 83.5); "
        "without BN 70.0% (70.0 to 70.0). BN helps. Supported: +11.00 points, 95% interval +8.52 to +13.48 "
        "(3 seeds). (preview: quick profile)",
        "  It does. Supported: +11.00 points, 95% interval +8.52 to +13.48 (3 seeds). "
        "(preview: quick profile)",
        "  figure: made.png",
    ]
    assert "3 seeds like these show a difference of" in views.judgement_text(value, power=True)


@pytest.mark.parametrize("columns", [60, 200])
def test_a_judgement_fits_the_terminal(columns: int, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    write(place.folder, two_arms(HELPS, seeds=3), good)
    text = views.judgement_text(judged(two_arms(HELPS, seeds=3), place), power=True)
    assert max(map(len, text.splitlines())) <= columns
    assert all(line.startswith("  ") for line in text.splitlines()[1:])


def test_a_judgement_of_nothing_says_what_to_do(place: Place) -> None:
    paper = replace(place, profile="paper")
    text = views.judgement_text(judged(two_arms(HELPS), paper))
    assert text.startswith(
        "made: Does it matter?\n  No trial is finished yet: bnstudy run made --profile paper --results "
    )


def test_an_ablation_without_claims_still_says_how_much_there_is(place: Place) -> None:
    write(place.folder, two_arms(seeds=1), good)
    assert views.judgement_text(judged(two_arms(seeds=1), place)).splitlines()[1] == (
        "  It has no claims to judge; 2 trials finished. (preview: quick profile)"
    )


def test_a_judgement_has_null_for_open_ends(place: Place) -> None:
    claim = Claim("More.", factor="network", outcome=largest_workable(), effect=ratio_at_least(5))
    ablation = by_rate(claim, seeds=2)
    write(place.folder, ablation, lambda arm, seed: outcome(0.9 if arm["network"] == "bn" else 0.1))
    (verdict,) = json.loads(json.dumps(judged(ablation, place), allow_nan=False))["verdicts"]
    assert verdict["high"] is None and verdict["low"] >= 0 and verdict["result"] == "undecided"
    assert verdict["claim"] == "More." and verdict["effect"]["margin"] == 5


def test_only_a_complete_paper_ledger_is_no_preview(place: Place) -> None:
    paper = replace(place, profile="paper")
    declared = two_arms(HELPS, seeds=5)
    write(paper.folder, declared, lambda arm, seed: good(arm, seed) if seed < 2 else None)
    assert judged(declared.at("paper"), paper)["preview"] == "preview: 4 of 10 trials"
    assert judged(declared.at("paper", seeds=2), paper)["preview"] == "preview: 4 of 10 trials"
    write(paper.folder, declared, lambda arm, seed: good(arm, seed) if seed >= 2 else None)
    assert judged(declared.at("paper"), paper)["preview"] == ""
    assert judged(declared.at("paper"), paper)["verdicts"][0]["preview"] is False


def test_a_failed_trial_keeps_a_ledger_from_being_complete(place: Place) -> None:
    paper, declared = replace(place, profile="paper"), two_arms(HELPS, seeds=3)
    write(paper.folder, declared, lambda arm, seed: crashed() if seed == 2 else good(arm, seed))
    assert judged(declared.at("paper"), paper)["preview"] == "preview: 4 of 6 trials"


def test_the_options_of_a_place_are_what_to_type() -> None:
    def options(results: str, profile: str) -> str:
        return Place(Path(results), profile, pytest.fail).options

    assert options("results", "quick") == ""
    assert options("my results", "smoke") == " --profile smoke --results 'my results'"


def test_a_level_without_trials_is_not_a_judgement(place: Place) -> None:
    """Records of levels that the profile leaves out are not the profile's."""
    three = Factor(
        "network", levels=[*two_arms().factors[0].levels, Level("none", norm="none")], varies=("norm",)
    )
    write(place.folder, made(three), good)
    assert judged(two_arms(seeds=2), place)["trials"] == 4
