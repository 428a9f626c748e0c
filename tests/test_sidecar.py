"""A sidecar tells whether its figure is of the present records, and nothing else makes it stale."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from handmade import Measured, crashed, outcome, records, two_arms, write

from bnstudy.books.ledger import Record
from bnstudy.claims import Claim, at_least
from bnstudy.commands import study
from bnstudy.design import Ablation
from bnstudy.outcome import Outcome
from bnstudy.plots import sidecar
from bnstudy.recipe import Recipe


def by_hand(arm: Mapping[str, str], seed: int) -> Outcome:
    return outcome(0.5 + 0.01 * seed)


def held(ablation: Ablation, measured: Measured, **provenance: object) -> dict[str, Record]:
    return {record.trial: record for record in records(ablation, measured, **provenance)}


def test_a_sidecar_says_what_was_drawn() -> None:
    ablation = two_arms()
    beside = sidecar.content(ablation, held(ablation, by_hand), "quick", "abc123")
    assert beside == {
        "ablation": "made",
        "profile": "quick",
        "question": "Does it matter?",
        "trials": sorted(trial.id for trial in ablation.trials),
        "data_hash": beside["data_hash"],
        "design_hash": beside["design_hash"],
        "commit": "abc123",
    }
    json.dumps(beside, allow_nan=False)


def test_records_of_other_designs_are_not_in_the_sidecar() -> None:
    more, fewer = two_arms(seeds=5), two_arms(seeds=3)
    assert sidecar.content(fewer, held(more, by_hand), "quick", None) == sidecar.content(
        fewer, held(fewer, by_hand), "quick", None
    )


def test_the_hash_follows_outcomes_and_not_provenance() -> None:
    ablation = two_arms()
    before = sidecar.data_hash(held(ablation, by_hand))
    assert sidecar.data_hash(held(ablation, by_hand, host_cpu="another")) == before
    changed = held(ablation, lambda arm, seed: outcome(0.5 + 0.01 * seed + (1e-9 if seed == 4 else 0)))
    assert sidecar.data_hash(changed) != before
    crash = held(ablation, lambda arm, seed: crashed() if seed == 4 else by_hand(arm, seed))
    assert sidecar.data_hash(crash) != before


def test_the_hash_is_pinned() -> None:
    """Golden: sidecars are committed with their figures, and a new field of outcomes must keep them."""
    record = Record("made", "0" * 16, {}, 0, Recipe(), Outcome(status="ok", test_accuracy=0.5), {})
    assert sidecar.data_hash({record.trial: record}) == "d80555b81c7ed982"


def test_a_figure_is_stale_when_its_records_are_no_longer_those(tmp_path: Path) -> None:
    place = study.Place(tmp_path, "quick", pytest.fail)
    ablation = two_arms(seeds=3)

    def why(some: Ablation = ablation) -> str:
        return study.stale_figure(some, place, place.ledger("made").recorded())

    assert why() == "not drawn yet"
    write(place.folder, replace(ablation, seeds=range(2)), by_hand)
    study.draw(study.judge(ablation, place), place)
    assert why() == ""
    write(place.folder, replace(ablation, seeds=(2,)), by_hand)
    assert why() == "drawn from 4 trials, 6 are recorded"
    study.draw(study.judge(ablation, place), place)
    path = place.folder / "figures" / "made.json"
    beside = json.loads(path.read_text())
    path.write_text(json.dumps(beside | {"data_hash": "0"}))
    assert why() == "its records have changed"
    path.write_text(json.dumps(beside))
    assert why(replace(ablation, question="Does it?")) == "its question, labels, claims or kind have changed"
    for damage in ("", "[]", "{}", '{"trials": 3}'):
        path.write_text(damage)
        assert why() == f"its sidecar {path} cannot be read"


def test_the_hash_of_a_design_follows_what_is_drawn_and_not_where_it_was_recorded() -> None:
    ablation = two_arms(Claim("It helps.", factor="network", effect=at_least(0.01)))
    before = sidecar.design_hash(ablation)
    assert sidecar.design_hash(replace(ablation, source="elsewhere", seeds=range(2))) == before
    for changed in (
        {"figure": "effects"},
        {"figure": by_hand},
        {"claims": (Claim("It helps.", factor="network", effect=at_least(0.02)),)},
        {"factors": (ablation.factors[0].only(["bn"]),), "claims": ()},
    ):
        assert sidecar.design_hash(replace(ablation, **changed)) != before


def test_an_own_figure_is_stale_when_its_source_changes() -> None:
    def other(drawing: object) -> None:
        pass

    ablation = two_arms(figure=by_hand)
    assert sidecar.design_hash(ablation) == sidecar.design_hash(two_arms(figure=by_hand))
    assert sidecar.design_hash(ablation) != sidecar.design_hash(two_arms(figure=other))
