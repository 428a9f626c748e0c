"""The claims of every ablation can be judged and told, whatever the records say."""

import random
from collections import defaultdict
from collections.abc import Mapping

import pytest
from handmade import diverged, outcome, table

from bnstudy.books import registry
from bnstudy.claims import Claim
from bnstudy.design import Ablation
from bnstudy.judgement import sentences
from bnstudy.judgement.verdicts import judge
from bnstudy.outcome import MAPS, Outcome

ABLATIONS = registry.find().ablations


def named(claims: tuple[Claim, ...]) -> dict[str, set[str]]:
    """Return the entries of fields of numbers by name that claims look at."""
    entries = defaultdict(set)
    for claim in claims:
        for each in (claim.outcome, claim.against):
            field, _, key = (each if isinstance(each, str) else each.outcome if each else "").partition(".")
            if field in MAPS:
                entries[field].add(key)
    return entries


def invented(ablation: Ablation, arm: Mapping[str, str], seed: int) -> Outcome:
    """Return numbers that mean nothing, with a difference between arms and one between seeds."""
    draw = random.Random(f"{sorted(arm.items())}{seed}").gauss
    better = random.Random(str(sorted(arm.items()))).uniform(0, 0.05)
    measured = outcome(round(0.8 + better + draw(0, 0.01), 4), epochs=3)
    numbers = {"train_loss": 0.4 + draw(0, 0.05), "test_accuracy": 0.75 + better + draw(0, 0.03)}
    numbers |= {"precise_train_accuracy": 0.9 + draw(0, 0.01), "first_losses": (2.3, 2.2 + draw(0, 1e-4))}
    numbers |= {"online_train_loss": (0.5, 0.3 + draw(0, 0.01)), "precise_train_loss": 0.4 + draw(0, 0.05)}
    numbers |= {"online_train_accuracy": (0.7, 0.8, 0.9 + draw(0, 0.01)), "epochs_to_85": 3 + int(draw(0, 2))}
    maps = {f: {key: 0.5 + draw(0, 0.01) for key in keys} for f, keys in named(ablation.claims).items()}
    return Outcome(**vars(measured) | numbers | maps)


@pytest.mark.parametrize("profile", ["quick", "paper"])
@pytest.mark.parametrize("name", sorted(ABLATIONS))
def test_claims_are_judged_and_told(name: str, profile: str) -> None:
    ablation = ABLATIONS[name].at(profile)
    frame = table(ablation, lambda arm, seed: invented(ablation, arm, seed))
    judged = judge(ablation, frame, profile != "paper")
    assert len(judged) == len(ablation.claims) > 0
    for verdict in judged:
        texts = (
            sentences.sentence(verdict),
            sentences.power(verdict),
            sentences.answer(ablation, frame, verdict),
        )
        assert "nan" not in " ".join(texts).split() and verdict.claim.text.rstrip(".") in texts[0]
        if profile == "paper":
            assert not verdict.reason or "share of it" in verdict.reason, "the design has what a claim needs"


@pytest.mark.parametrize("name", sorted(ABLATIONS))
def test_a_study_in_which_everything_diverges_decides_nothing_by_chance(name: str) -> None:
    ablation = ABLATIONS[name].at("quick")
    judged = judge(ablation, table(ablation, lambda arm, seed: diverged()), True)
    tests = [v for v in judged if v.p is not None and v.claim.measure.summary is None]
    assert all(v.result == "undecided" for v in tests)
