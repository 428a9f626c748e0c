"""Packs: every trial once, and how it rounds follows from the whole design."""

import dataclasses
from collections import Counter
from typing import Any

import pytest

from bnstudy.design import Ablation, Factor, Level, Profile, across, tuned
from bnstudy.packs import LARGEST, Pack, epochs, halves, images_of, parts, plan, shape, steps
from bnstudy.recipe import Recipe

NORM = Factor("norm", levels=(Level("bn"), Level("affine", norm="affine")))
RATES = (0.1, 1, 10, 100, 1000)


def ablation(*factors: Factor, seeds: int = 3, batch_size: int = 512, **base: Any) -> Ablation:
    recipe = Recipe(batch_size=batch_size, **base)
    return Ablation(question="?", source="here", factors=factors, seeds=range(seeds), base=recipe)


def by_rate(*rates: float, seeds: int = 3, batch_size: int = 512) -> Ablation:
    return ablation(NORM, across("lr", *(rates or RATES)), seeds=seeds, batch_size=batch_size)


def names(pack: Pack) -> list[tuple[str, int]]:
    return [(trial.arm.name, trial.seed) for trial in pack.trials]


def mates(design: Ablation) -> int:
    """Return how many arms of a seed can train together at most."""
    return max(Counter(shape(arm.recipe) for arm in design.arms).values())


DESIGNS = {
    "rates": by_rate(),
    "rates alone": ablation(across("lr", *RATES)),
    "rates first": ablation(across("lr", *RATES), NORM),
    "no rates": ablation(NORM, seeds=9),
    "small batches": by_rate(batch_size=16),
    "one trial": ablation(across("lr", 1), seeds=1),
    "rates inside a factor": ablation(
        Factor(
            "network",
            levels=(Level("bn"), Level("hot", lr=3), Level("plain", norm="none", lr=0.9)),
            varies=("norm", "lr"),
        ),
        seeds=9,
    ),
}
every_design = pytest.mark.parametrize("design", DESIGNS.values(), ids=DESIGNS)


@every_design
def test_every_trial_is_in_exactly_one_pack(design: Ablation) -> None:
    packed = [trial.id for pack in plan(design) for trial in pack.trials]
    assert sorted(packed) == sorted(trial.id for trial in design.trials)


@every_design
def test_a_pack_is_one_network_over_one_order_of_images(design: Ablation) -> None:
    for pack in plan(design):
        assert len({shape(trial.arm.recipe) for trial in pack.trials}) == 1
        assert pack.shares_images == (mates(design) > 2)
        assert len({trial.seed if pack.shares_images else trial.arm.name for trial in pack.trials}) == 1


def test_the_plan_is_golden() -> None:
    """Where a rate varies, the arms of one seed share their images; else the seeds of one arm do not."""
    shared, own = plan(by_rate(seeds=1)), plan(ablation(NORM, seeds=6))
    assert [names(pack) for pack in shared] == [
        [(f"norm={norm},lr={rate}", 0) for rate in rates]
        for norm in ("bn", "affine")
        for rates in (("0.1", "1", "10", "100"), ("1000",))
    ]
    assert [names(pack) for pack in own] == [
        [(f"norm={norm}", seed) for seed in seeds]
        for norm in ("bn", "affine")
        for seeds in ((0, 1, 2, 3), (4, 5))
    ]


def test_a_profile_that_leaves_one_rate_packs_the_seeds_of_an_arm() -> None:
    """The arms of a seed would train alone, each beside a discarded copy of itself."""
    whole = dataclasses.replace(by_rate(), quick=Profile(levels={"lr": ("1",)}))
    packs = plan(whole.at("quick"))
    assert [names(pack) for pack in packs] == [
        [(f"norm={norm},lr=1", seed) for seed in (0, 1, 2)] for norm in ("bn", "affine")
    ]
    assert not packs[0].shares_images and plan(whole.at("paper"))[0].shares_images


@pytest.mark.parametrize(
    ("batch_size", "size"), [(16, LARGEST), (64, LARGEST), (256, 8), (512, 4), (1024, 2), (2048, 2)]
)
def test_packs_hold_about_two_thousand_images_a_step(batch_size: int, size: int) -> None:
    packs = plan(ablation(across("lr", *range(1, 33)), seeds=1, batch_size=batch_size))
    assert {len(pack.trials) for pack in packs} == {size}


def grows(before: Ablation, after: Ablation) -> None:
    """Demand that each pack of the design that is there already stays as it is, or grows at its end."""
    later = {names(pack)[0]: names(pack) for pack in plan(after)}
    for pack in plan(before):
        found = names(pack)
        assert later[found[0]][: len(found)] == found


@every_design
def test_another_seed_regroups_nothing(design: Ablation) -> None:
    for seeds in range(2 if mates(design) == 2 else 1, len(design.seeds) + 4):
        more = Ablation(
            question="?", source="", factors=design.factors, seeds=range(seeds + 1), base=design.base
        )
        less = Ablation(question="?", source="", factors=design.factors, seeds=range(seeds), base=design.base)
        grows(less, more)


def test_another_level_at_the_end_regroups_nothing() -> None:
    for count in (1, 3, 4):  # a third rate makes trials of a seed share their images
        grows(by_rate(*RATES[:count]), by_rate(*RATES[: count + 1]))
    plain = Factor("norm", levels=(*NORM.levels, Level("none", norm="none")))
    grows(by_rate(), ablation(plain, across("lr", *RATES)))
    grows(ablation(NORM, seeds=9), ablation(plain, seeds=9))


def test_another_level_of_the_same_shape_regroups_nothing() -> None:
    levels = (Level("bn"), Level("plain", norm="none", lr=0.9), Level("hot", lr=3))
    two, three = (Factor("network", levels=levels[:n], varies=("norm", "lr")) for n in (2, 3))
    grows(ablation(two, seeds=6), ablation(three, seeds=6))


def test_pairs_of_rates_share_no_images_where_there_are_several_seeds() -> None:
    """An arm's seeds make the larger packs; what is recorded stays, whichever way it was trained."""
    shares = {
        (rates, seeds): plan(by_rate(*RATES[:rates], seeds=seeds))[0].shares_images
        for rates in (1, 2, 3)
        for seeds in (1, 2, 9)
    }
    assert [key for key, shared in shares.items() if shared] == [(2, 1), (3, 1), (3, 2), (3, 9)]


def test_only_what_is_missing_trains() -> None:
    packs = plan(by_rate())
    done = {trial.id for trial in (*packs[0].trials, *packs[2].trials[:2])}
    left = plan(by_rate(), done)
    assert [trial for pack in left for trial in pack.trials] == [
        t for t in by_rate().trials if t.id not in done
    ]
    assert all(pack.shares_images for pack in left)
    assert plan(by_rate(), {trial.id for trial in by_rate().trials}) == ()


def test_added_seeds_fill_packs_of_their_own() -> None:
    five, all_of_them = (ablation(NORM, seeds=n, batch_size=256) for n in (5, 21))
    packs = plan(all_of_them, {trial.id for trial in five.trials})
    assert [len(pack.trials) for pack in packs] == [8, 8, 8, 8]


def test_one_rate_that_is_left_shares_its_images_still() -> None:
    """The same trial rounds otherwise in a pack of which each trial has its own."""
    first = plan(by_rate(seeds=9))[0]
    (last,) = plan(by_rate(seeds=9), {t.id for t in by_rate(seeds=9).trials} - {first.trials[0].id})
    assert last.shares_images and last.slots == (first.trials[0],) * 2


def test_a_single_trial_is_filled_with_a_copy() -> None:
    """Packs of 2 to 16 agree to the bit, a network of one trial takes other kernels."""
    (pack,) = plan(ablation(across("lr", 1), seeds=1))
    assert len(pack.trials) == 1 and pack.slots == (pack.trials[0], pack.trials[0])
    assert all(pack.slots == pack.trials for pack in plan(by_rate()) if len(pack.trials) > 1)


def test_the_images_of_a_pack_count_every_slot() -> None:
    packs = plan(by_rate())
    assert images_of(packs[0]) == 4 * 50_000 * 10
    assert images_of(packs[1]) == 2 * 50_000 * 10, "the copy is trained, too"


def test_the_shape_forgets_what_may_differ() -> None:
    assert shape(Recipe(lr=3, epochs=2)) == Recipe(epochs=2) == shape(Recipe(lr=0.1, epochs=2))
    assert shape(Recipe(norm="none")) != shape(Recipe())


@every_design
def test_trials_are_in_the_order_of_the_design(design: Ablation) -> None:
    packs = [[design.trials.index(trial) for trial in pack.trials] for pack in plan(design)]
    assert packs[0][0] == 0 and all(places == sorted(places) for places in packs)


@pytest.mark.parametrize(
    ("options", "begun", "taken", "images"),
    [
        ({"epochs": 2}, 2, 6, 220),
        ({"epochs": 2, "drop_last": True}, 2, 4, 200),
        ({"updates": 2}, 1, 2, 100),
        ({"updates": 3}, 1, 3, 110),
        ({"updates": 4}, 2, 4, 160),
        ({"updates": 5, "drop_last": True}, 3, 5, 250),
    ],
)
def test_a_training_is_as_long_as_its_recipe_says(
    options: dict[str, Any], begun: int, taken: int, images: int
) -> None:
    design = ablation(across("lr", 1, 2), seeds=1, train_images=110, batch_size=50, **options)
    (pack,) = plan(design)
    recipe = pack.trials[0].arm.recipe
    assert (epochs(recipe), steps(recipe), images_of(pack)) == (begun, taken, 2 * images)


def test_picked_arms_train_in_the_larger_packs() -> None:
    """Eight rates of two seeds share images; two further rates of five seeds train a rate at a time."""
    many = by_rate(*range(1, 9), seeds=2, batch_size=256)
    searched = dataclasses.replace(many, picked=tuple(arm.levels for arm in many.arms[:8]))
    assert [len(pack.trials) for pack in plan(searched)] == [8, 8]
    assert all(pack.shares_images for pack in plan(searched))
    few = by_rate(*range(1, 9), seeds=5, batch_size=256)
    added = dataclasses.replace(few, picked=(few.arms[2].levels, few.arms[9].levels))
    assert [(len(pack.trials), pack.shares_images) for pack in plan(added)] == [(5, False)] * 2


def test_seeds_of_a_tuned_arm_train_together() -> None:
    """At its tuned rate an arm has one rate: there is none to share the images with."""
    for found in ((), tuple((arm.levels, (("lr", 3.0),)) for arm in ablation(NORM, tuned("lr", 1, 9)).arms)):
        made = dataclasses.replace(ablation(NORM, tuned("lr", 1, 9)), found=found)
        assert [(len(pack.trials), pack.shares_images) for pack in plan(made)] == [(3, False)] * 2


@pytest.mark.parametrize("size", range(2, 17))
def test_a_pack_is_cut_into_parts_of_two_trials_at_least(size: int) -> None:
    """A part of one would train beside a copy of itself."""
    design = ablation(across("lr", *range(1, size + 1)), seeds=1)
    whole = Pack(design.trials, shares_images=True)
    cut, least = [whole], [size]
    while any(parts(pack) > 1 for pack in cut):
        cut = [part for pack in cut for part in (halves(pack) if parts(pack) > 1 else (pack,))]
        least.append(min(len(pack.trials) for pack in cut))
    assert tuple(trial for pack in cut for trial in pack.trials) == whole.trials
    assert min(least) >= 2 and len(cut) <= parts(whole) and all(pack.shares_images for pack in cut)
