"""Every file in `ablations/` loads, plans, trains, and measures what its claims are about."""

import dataclasses
import re
from functools import cache

import pytest
import torch

from bnstudy.books import registry
from bnstudy.design import PROFILES, Ablation, Arm
from bnstudy.judgement.parties import Party, parties
from bnstudy.outcome import Outcome
from bnstudy.packs import images_of, plan
from bnstudy.plots import figures
from bnstudy.recipe import Recipe
from bnstudy.training import data, machine, train

TRIALS = {
    "architectures": 40,
    "batch-of-one": 32,
    "batch-size": 180,
    "bias-removal": 80,
    "bn-per-layer": 160,
    "bn-placement": 60,
    "convergence": 20,
    "depth": 240,
    "dropout-swap": 140,
    "fixed-affine": 120,
    "ghost-batch": 120,
    "lite-bn": 175,
    "lr-sweep": 220,
    "momentum": 60,
    "noise": 120,
    "placebo": 40,
    "quirks": 80,
    "replication": 250,
    "robustness": 20,
    "transforms": 130,
}
"""The study and the trials of each ablation at its full size, which are committed before they are run."""

OF_THE_PROSE = {
    f"C{n}" for n in (1, 2, 3, 4, 5, 7, 10, 11, 12, 13, 15, 16, 17, 18, 20, 22, 25, 27, 28, 29, 30, 31)
}
"""The chapter's claims that can be tested by training."""

FOUND = registry.find()
ABLATIONS = [pytest.param(each, id=name) for name, each in FOUND.ablations.items()]
every_ablation = pytest.mark.parametrize("ablation", ABLATIONS)


def named(ablation: Ablation) -> set[str]:
    """Return the chapter's claims that an ablation says it is about."""
    refs = {ref for claim in ablation.claims for ref in claim.refs}
    return refs | set(re.findall(r"\bC\d+\b", ablation.source))


def measured(ablation: Ablation) -> list[tuple[Party, Arm]]:
    """Return every party of every claim with the first of its arms."""
    return [
        (party, ablation.having(party.levels)[0])
        for claim in ablation.claims
        for party in parties(ablation, claim)
    ]


def chosen(ablation: Ablation) -> list[Arm]:
    """Return arms that have every level at least once, and those that claims are about."""
    arms, seen = {arm.levels: arm for _, arm in measured(ablation)}, set[tuple[str, str]]()
    for arm in (*arms.values(), *ablation.arms):
        if not seen.issuperset(arm.levels):
            arms[arm.levels] = arm
        seen |= set(arm.levels)
    return list(arms.values())


SMALL_NETS = ("lenet", "stack")


def two_steps(recipe: Recipe) -> Recipe:
    """Return a recipe cut down to two steps on a few small images."""
    batch = min(64 if recipe.net in SMALL_NETS else 4, recipe.batch_size)
    return recipe.replace(
        data="sample",
        train_images=2 * batch,
        validation_images=16,
        batch_size=batch,
        epochs=1,
        updates=min(2, recipe.updates),
        image_size=min(72, recipe.image_size),
    )


def few_images() -> data.ImageSet:
    """Return 200 training images of the sample and 16 to test on."""
    every = data.load("sample")
    kept = torch.cat([torch.arange(200), every.train_size + torch.arange(16)])
    return dataclasses.replace(every, images=every.images[kept], labels=every.labels[kept], train_size=200)


@cache
def trained(name: str) -> dict[tuple[tuple[str, str], ...], Outcome]:
    """Return the outcomes of two steps of the chosen arms of an ablation, small ones beside a second seed."""
    machine.prepare("cpu")
    images, outcomes = few_images(), {}
    for arm in chosen(FOUND.ablations[name]):
        seeds = [0, 1] if arm.recipe.net in SMALL_NETS else [0]
        recipes = [two_steps(arm.recipe)] * len(seeds)
        outcomes[arm.levels] = train.train_pack(recipes, seeds, images, shares_images=False)[0]
    return outcomes


def entry(outcome: Outcome, name: str) -> object:
    """Return a number of an outcome by the name that claims give it."""
    field, dot, key = name.partition(".")
    held = getattr(outcome, field)
    if not dot:
        return held
    return held[-1] if key == "last" else (held or {}).get(key)


def test_the_study_is_whole() -> None:
    assert not FOUND.broken
    assert {name: len(each.trials) for name, each in FOUND.ablations.items()} == TRIALS


def test_every_claim_of_the_chapter_has_a_place() -> None:
    places = {ref: name for name, each in FOUND.ablations.items() for ref in named(each)}
    assert set(places) == OF_THE_PROSE


@every_ablation
def test_a_question_its_source_and_what_is_expected(ablation: Ablation) -> None:
    path = registry.own_folder() / f"{ablation.name.replace('-', '_')}.py"
    text = path.read_text()
    assert ablation.question.endswith("?") and ablation.source
    assert text.startswith('"""') and text.partition("\n")[0].endswith("?") and "\nExpected: " in text
    assert len(text.splitlines()) <= 100


@every_ablation
@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_plans(ablation: Ablation, profile: str) -> None:
    part = ablation.at(profile)
    packed = [trial for pack in plan(part) for trial in pack.trials]
    assert sorted(trial.id for trial in packed) == sorted(trial.id for trial in part.trials)
    assert len({trial.id for trial in packed}) == len(packed) and part.control in part.arms
    assert all((arm.recipe.data == "sample") == (profile == "smoke") for arm in part.arms)


@every_ablation
def test_smaller_profiles_are_small(ablation: Ablation) -> None:
    """Two cores train some 25,000 images a second: minutes for `quick`, and half a minute for `smoke`."""
    images = {profile: sum(map(images_of, plan(ablation.at(profile)))) for profile in ("smoke", "quick")}
    assert images["smoke"] <= 0.25e6 and images["quick"] <= 10e6


@every_ablation
def test_every_claim_is_about_arms_that_exist(ablation: Ablation) -> None:
    assert ablation.claims and measured(ablation)
    texts = [claim.text for claim in ablation.claims]
    assert len(set(texts)) == len(texts) and all(text.endswith(".") for text in texts)


@every_ablation
def test_spreads_and_ratios_of_means_have_the_seeds_they_need(ablation: Ablation) -> None:
    for claim in ablation.claims:
        if claim.effect.kind in ("spread", "spread ratio"):
            assert all(len(ablation.seeds_of(arm)) >= 20 for arm in ablation.having(claim.fixed))


@every_ablation
def test_the_smallest_profile_has_something_to_judge(ablation: Ablation) -> None:
    """A smoke run shows a verdict, if only a preview: at least one claim whose levels it has."""
    held = {(factor.name, level.name) for factor in ablation.at("smoke").factors for level in factor.levels}
    sides = [[party.levels.items() for party in parties(ablation, claim)] for claim in ablation.claims]
    assert any(all(held.issuperset(levels) for levels in each) for each in sides)


@every_ablation
def test_its_figure_exists(ablation: Ablation) -> None:
    assert ablation.figure in figures.FIGURES


@every_ablation
def test_every_level_trains(ablation: Ablation) -> None:
    outcomes = trained(ablation.name)
    assert {pair for levels in outcomes for pair in levels} == {
        (factor.name, level.name) for factor in ablation.factors for level in factor.levels
    }
    assert all(outcome.finished for outcome in outcomes.values())


@every_ablation
def test_claims_are_about_what_trainings_measure(ablation: Ablation) -> None:
    outcomes = trained(ablation.name)
    missing = [
        (arm.name, party.measure.outcome)
        for party, arm in measured(ablation)
        if entry(outcomes[arm.levels], party.measure.outcome) is None
    ]
    assert missing == []
