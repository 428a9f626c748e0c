"""A trial's numbers are a plain loop's, and the same bits whatever it shares its pack with."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import pytest
import solo
import torch
from torch import Tensor, nn

from bnstudy import data, evaluate, machine, nets, norms, train
from bnstudy.outcome import Outcome
from bnstudy.recipe import Recipe

IMAGES = solo.IMAGES
FEW_TEST = replace(IMAGES, images=IMAGES.images[:2016], labels=IMAGES.labels[:2016])
"""The sample with 16 test images: enough where bits are compared."""

EXACT = torch.backends.cpu.get_cpu_capability() == "AVX512"
"""Whether the size of a pack changes no bit. On narrower CPUs the first convolution's kernels are known to
add in an order that depends on the width: `bnstudy doctor` tells, and trials agree within rounding."""

NORMS = ("none", "affine", "batch_norm", "batch_norm_scratch")
every_norm = pytest.mark.parametrize("norm", NORMS)
both_ways = pytest.mark.parametrize("shared", [True, False], ids=["shared images", "own images"])

Bits = dict[str, Tensor]
Trained = Callable[..., tuple[list[Outcome], list[Bits]]]


@pytest.fixture(autouse=True, params=[True, False], ids=["fused", "framework"])
def _as_a_worker(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker's settings, and every network on the one or the other way."""
    machine.prepare("cpu")
    build = nets.build
    monkeypatch.setattr(nets, "build", lambda *args, **_: build(*args, fused=request.param))


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> Trained:
    """`train_pack`, and with its outcomes the parameters and statistics that each trial ends with.

    What is measured on training images at the end uses 16 of them.
    """
    built: list[nets.LeNet] = []

    def build(recipes: Sequence[Recipe], seeds: Sequence[int], **options: Any) -> nn.Module:
        net = original(recipes, seeds, **options)
        assert isinstance(net, nets.LeNet)
        built.append(net)
        return net

    def run(
        recipes: Sequence[Recipe],
        seeds: Sequence[int],
        *,
        shared: bool = True,
        images: data.ImageSet = FEW_TEST,
    ) -> tuple[list[Outcome], list[Bits]]:
        outcomes = train.train_pack(recipes, seeds, images, shares_images=shared)
        net = built.pop()
        named = solo.tensors(net).items()
        return outcomes, [
            {name: nets.of_trial(net, value, k).clone() for name, value in named} for k in range(len(recipes))
        ]

    original = nets.build
    monkeypatch.setattr(nets, "build", build)
    monkeypatch.setattr(evaluate, "FIXED_TRAINING_IMAGES", 16)
    return run


def sample(**changes: Any) -> Recipe:
    values = {"data": "sample", "train_images": 135, "validation_images": 10, "batch_size": 64, "epochs": 2}
    return Recipe(**values | changes)


def same(found: tuple[Outcome, Bits], expected: tuple[Outcome, Bits]) -> bool:
    bits = all(torch.equal(found[1][name], value) for name, value in expected[1].items())
    return bits and found[0] == expected[0]


def agree(found: tuple[Outcome, Bits], expected: tuple[Outcome, Bits]) -> bool:
    """Whether two trainings of a trial in packs of different sizes are as equal as this CPU can make them."""
    if EXACT:
        return same(found, expected)
    return all(torch.allclose(found[1][n], v, rtol=1e-3, atol=1e-5) for n, v in expected[1].items())


# The bits of a trial

RATES = (0.3, 1, 30, 0.03, 3, 100, 0.1, 10, 300, 0.5, 2, 5, 20, 50, 1000, 0.7)


@every_norm
@both_ways
@pytest.mark.parametrize(("batch_size", "train_images"), [(64, 135), (256, 263)])
def test_mates_place_and_size_of_the_pack_change_no_bit(
    trained: Trained, norm: str, shared: bool, batch_size: int, train_images: int
) -> None:
    """With a last batch of 7 images. A pack is a way to train faster, and must never be part of a result."""
    recipe = sample(norm=norm, batch_size=batch_size, train_images=train_images, epochs=1)
    trials = [(recipe.replace(lr=rate), 5 if shared else seed) for seed, rate in enumerate(RATES)]

    def first_two(members: Sequence[int]) -> list[tuple[Outcome, Bits]]:
        """What trials 0 and 1 become in a pack with these members."""
        recipes, seeds = zip(*(trials[m] for m in members), strict=True)
        outcomes, bits = trained(recipes, seeds, shared=shared)
        return [(outcomes[members.index(m)], bits[members.index(m)]) for m in (0, 1)]

    expected = first_two((0, 1))
    assert not same(*expected), "the two differ, so that there is something to tell apart"
    packs = [(1, 0), (2, 0, 1), (0, 3, 1, 4), (5, 6, 1, 7, 8, 9, 10, 0), tuple(range(15, -1, -1))]
    for members in packs if batch_size == 64 else packs[:3]:  # a plan packs 4 at 256
        for found, wanted in zip(first_two(members), expected, strict=True):
            assert agree(found, wanted), members


@every_norm
@both_ways
def test_diverging_mates_harm_no_other(trained: Trained, norm: str, shared: bool) -> None:
    calm, wild = (0.3, 1, 30, 1, 1, 0.1), (0.3, 1e6, 30, 1e38, 1e30, 0.1)
    seeds = (3,) * 6 if shared else range(3, 9)
    packs = [
        trained([sample(norm=norm, lr=rate, train_images=71) for rate in rates], seeds, shared=shared)
        for rates in (calm, wild)
    ]
    (outcomes, bits), (beside, bits_beside) = packs
    for k in (0, 2, 5):
        assert same((beside[k], bits_beside[k]), (outcomes[k], bits[k])), k
    assert beside[3].status == "diverged" and not all(v.isfinite().all() for v in bits_beside[3].values())


@every_norm
def test_the_same_call_gives_the_same_bits(trained: Trained, norm: str) -> None:
    recipes = [sample(norm=norm, lr=rate) for rate in (0.3, 3, 1e20)]
    first, second = trained(recipes, (1, 1, 1)), trained(recipes, (1, 1, 1))
    for k in range(3):
        assert first[0][k] == second[0][k]
        assert all(torch.equal(v.nan_to_num(), second[1][k][n].nan_to_num()) for n, v in first[1][k].items())


def test_seeds_make_trials_different(trained: Trained) -> None:
    outcomes, bits = trained([sample()] * 3, (1, 2, 1), shared=False)
    assert outcomes[0] == outcomes[2] != outcomes[1]
    assert all(torch.equal(value, bits[2][name]) for name, value in bits[0].items())


# The numbers of a trial


@pytest.mark.parametrize(
    ("norm", "shared"),
    [("none", True), ("batch_norm", True), ("batch_norm", False), ("batch_norm_scratch", False)],
)
def test_an_outcome_is_what_a_plain_loop_tells(
    monkeypatch: pytest.MonkeyPatch, norm: str, shared: bool
) -> None:
    """In float64, so that two ways of adding up agree; the last of any batches is a smaller one."""
    monkeypatch.setattr(evaluate, "BATCH", solo.BATCH)
    recipe = sample(norm=norm, train_images=110, validation_images=30, epochs=4, precision="float64")
    recipes, seeds = [recipe.replace(lr=rate) for rate in (0.5, 3)], (8, 8 if shared else 9)
    outcomes = train.train_pack(recipes, seeds, IMAGES, shares_images=shared)
    for one, seed, outcome in zip(recipes, seeds, outcomes, strict=True):
        told = solo.train(one, seed)
        split = data.split(IMAGES, seed, train_images=110, validation_images=30)
        precise = solo.with_precise_moments(told.net, split.train)
        expected = {
            "online_train_loss": told.online_train_loss,
            "online_train_accuracy": told.online_train_accuracy,
            "validation_accuracy": told.validation_accuracy,
            "last_test_accuracies": told.test_accuracies[1:],
            "test_accuracy": told.test_accuracies[-1],
            "mean_test_accuracy": sum(told.test_accuracies[1:]) / 3,
            "batch_test_accuracy": solo.score(solo.with_batch_moments(told.net), split.test)[1],
            "precise_test_accuracy": solo.score(precise, split.test)[1],
            "validation_area": sum(told.validation_accuracy) / 4,
        }
        for name, (loss, accuracy) in {
            "train": solo.score(told.net, split.train),
            "precise_train": solo.score(precise, split.train),
        }.items():
            expected |= {f"{name}_loss": loss, f"{name}_accuracy": accuracy}
        for name, value in expected.items():
            assert getattr(outcome, name) == pytest.approx(value, rel=1e-9), name
        assert outcome.weight_norms == pytest.approx(
            {name: value.norm().item() for name, value in told.net.named_parameters()}, rel=1e-9
        )
        assert (
            outcome.status == "ok" and outcome.finite and outcome.diverged_at is outcome.diverged_in is None
        )
        assert len(set(told.validation_accuracy)) > 1, "the comparison is of more than one number"


def test_the_three_ways_to_predict_are_three(trained: Trained) -> None:
    """Where the running averages forget at once, or normalize by the last batch, they tell something else."""
    (outcome, _), _ = trained([sample(epochs=3, momentum=0.001, lr=0.3)] * 2, (3, 3), images=IMAGES)
    assert len({outcome.test_accuracy, outcome.precise_test_accuracy, outcome.batch_test_accuracy}) == 3
    assert outcome.precise_train_loss != outcome.train_loss
    (plain, _), _ = trained([sample(norm="affine", epochs=3)] * 2, (3, 3))
    assert plain.test_accuracy == plain.precise_test_accuracy == plain.batch_test_accuracy


@pytest.mark.parametrize("epochs", [1, 2, 3, 5])
def test_lists_have_an_entry_an_epoch_and_the_test_is_seen_three_times(trained: Trained, epochs: int) -> None:
    (outcome, _), _ = trained([sample(epochs=epochs)] * 2, (0, 0))
    assert len(outcome.online_train_loss) == len(outcome.online_train_accuracy) == epochs
    assert len(outcome.validation_accuracy) == epochs
    assert len(outcome.last_test_accuracies) == min(3, epochs)
    assert outcome.test_accuracy == outcome.last_test_accuracies[-1]


@both_ways
def test_without_validation_images_the_test_set_stands_in(trained: Trained, shared: bool) -> None:
    """The published protocol, which names its test accuracy validation accuracy."""
    recipe = sample(validation_images=0, train_images=200, epochs=4)
    outcomes, _ = trained([recipe, recipe.replace(lr=0.1)], (1, 1 if shared else 2), shared=shared)
    for outcome in outcomes:
        assert outcome.validation_accuracy[1:] == outcome.last_test_accuracies


def test_epochs_to_85_are_counted_from_one(monkeypatch: pytest.MonkeyPatch) -> None:
    curves = ((0.5, 0.8499, 0.85, 0.2), (0.9, 0.5, 0.5, 0.5), (0.1, 0.2, 0.3, 0.4))
    epochs = iter(zip(*curves, strict=True))

    def score(net: nn.Module, images: data.ImageSet, index: Tensor) -> evaluate.Score:
        found = original(net, images, index)
        if len(index) != 33:
            return found
        return replace(found, accuracy=torch.tensor(next(epochs), dtype=torch.float64))

    original = evaluate.score
    monkeypatch.setattr(evaluate, "score", score)
    recipes = [sample(epochs=4, validation_images=33)] * 3
    outcomes = train.train_pack(recipes, (1, 1, 1), FEW_TEST, shares_images=True)
    assert [outcome.epochs_to_85 for outcome in outcomes] == [3, 1, None]
    assert [outcome.validation_area for outcome in outcomes] == pytest.approx([sum(c) / 4 for c in curves])


@both_ways
def test_every_image_is_reported(shared: bool) -> None:
    seen: list[int] = []
    recipes = [sample(train_images=135, batch_size=64, epochs=3)] * 4
    train.train_pack(recipes, (1, 1, 1, 1), FEW_TEST, shares_images=shared, report=seen.append)
    assert seen == [4 * 64, 4 * 64, 4 * 7] * 3


@pytest.mark.parametrize("flush", [True, False])
def test_denormals_are_flushed_as_the_recipe_says(flush: bool) -> None:
    found: list[float] = []
    denormal = torch.tensor([1e-40])
    train.train_pack(
        [sample(epochs=1, flush_denormals=flush)] * 2,
        (1, 1),
        FEW_TEST,
        shares_images=True,
        report=lambda _: found.append(denormal.mul(2).item()),
    )
    assert found and all((value == 0) == flush for value in found)
    assert denormal.mul(2).item() > 0, "what runs after a training keeps its small numbers"


def test_a_last_image_alone_is_no_batch_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """101 images in batches of 50 would leave one, which has no variance."""
    monkeypatch.setattr(evaluate, "BATCH", 50)
    recipe = sample(train_images=101, batch_size=48, validation_images=20, epochs=1, precision="float64")
    outcome, _ = train.train_pack([recipe] * 2, (4, 4), FEW_TEST, shares_images=True)
    told = solo.train(recipe, 4)
    split = data.split(IMAGES, 4, train_images=101, validation_images=20)
    precise = solo.with_precise_moments(told.net, split.train, batch=51)
    assert outcome.precise_train_loss == pytest.approx(solo.score(precise, split.train)[0], rel=1e-9)


def test_a_training_that_fails_leaves_denormals_alone() -> None:
    with pytest.raises(KeyboardInterrupt):
        train.train_pack([sample()] * 2, (1, 1), FEW_TEST, shares_images=True, report=_interrupt)
    assert torch.tensor([1e-40]).mul(2).item() > 0


def _interrupt(images: int) -> None:
    raise KeyboardInterrupt


# Divergence


def first_not_finite(recipe: Recipe, seed: int) -> tuple[int, str] | None:
    """Where a training stops being finite, by a loop that looks after every step."""
    net = nets.build([recipe] * 2, (seed, seed))
    split = data.split(
        FEW_TEST, seed, train_images=recipe.train_images, validation_images=recipe.validation_images
    )
    parameters, step = list(net.parameters()), 0
    for epoch in range(recipe.epochs):
        for batch in split.train[data.order(recipe.train_images, seed, epoch)].split(recipe.batch_size):
            entropy, _ = evaluate.losses(net, FEW_TEST, batch)
            if not entropy.isfinite().all():
                return step, "loss"
            gradients = torch.autograd.grad(entropy.mean(0).sum(), parameters)
            with torch.no_grad():
                for parameter, gradient in zip(parameters, gradients, strict=True):
                    parameter.sub_(recipe.lr * gradient)
            step += 1
        for name, value in solo.tensors(net).items():
            if not value.isfinite().all():
                return step - 1, name
    return None


@every_norm
@pytest.mark.parametrize("steps", [1, 4])
def test_divergence_is_where_a_careful_loop_sees_it(norm: str, steps: int) -> None:
    recipe = sample(norm=norm, train_images=16 * steps, batch_size=16, validation_images=20, epochs=4)
    recipes = [recipe.replace(lr=rate) for rate in (0.3, 1e6, 1e20, 3e36, 3e37, 1e38)]
    outcomes = train.train_pack(recipes, [3] * len(recipes), FEW_TEST, shares_images=True)
    for one, outcome in zip(recipes, outcomes, strict=True):
        expected = first_not_finite(one, 3)
        assert outcome.status == ("diverged" if expected else "ok"), one.lr
        assert (outcome.diverged_at, outcome.diverged_in) == (expected or (None, None)), one.lr
    assert outcomes[0].status == "ok" and outcomes[-1].status == "diverged"


@every_norm
def test_a_diverged_trial_still_has_all_its_numbers(trained: Trained, norm: str) -> None:
    """It scores the accuracy that it produces; what is not finite is None, so that records stay JSON."""
    outcomes, bits = trained([sample(norm=norm, lr=rate, epochs=3) for rate in (0.3, 1e38)], (3, 3))
    calm, wild = outcomes
    assert wild.status == "diverged" and wild.diverged_in == "loss" and wild.finite is False
    assert wild.online_train_loss[-1] is None and wild.train_loss is None and wild.precise_train_loss is None
    accuracies = (*wild.validation_accuracy, *wild.last_test_accuracies, wild.precise_test_accuracy)
    assert all(value is not None and 0 <= value < 0.3 for value in accuracies)
    assert {n: v is None for n, v in (wild.weight_norms or {}).items()} == {
        name: not bits[1][name].isfinite().all() for name in (wild.weight_norms or {})
    }
    assert None in (wild.weight_norms or {}).values() and None not in (calm.weight_norms or {}).values()
    assert json.loads(json.dumps(asdict(wild), allow_nan=False))["train_loss"] is None


@pytest.mark.parametrize(("norm", "rate"), [("none", 1e6), ("affine", 1e6), ("batch_norm", 1e6)])
def test_a_saturated_trial_is_no_failure(trained: Trained, norm: str, rate: float) -> None:
    """Sigmoid networks saturate rather than overflow: a useless training that ran to its end."""
    (_, outcome), _ = trained([sample(norm=norm, lr=r, epochs=3) for r in (1, rate)], (3, 3), images=IMAGES)
    assert outcome.status == "ok" and outcome.finite and outcome.diverged_at is None
    assert outcome.train_accuracy is not None and outcome.train_accuracy < 0.25
    assert outcome.train_loss is not None and outcome.train_loss > 1e3


# Steps


def test_each_trial_descends_at_its_own_rate() -> None:
    parameters = [torch.ones(3, 2, 2), torch.ones(6), torch.ones(3, 1)]
    gradients = [torch.full_like(p, 2) for p in parameters]
    train.descend(parameters, gradients, torch.tensor([0.0, 0.5, 1e3]))
    for parameter in parameters:
        trials = parameter.view(3, -1)
        assert [set(row.tolist()) for row in trials] == [{1.0}, {0.0}, {-1999.0}]


def test_normalizations_are_as_they_were_after_training(trained: Trained) -> None:
    """What is measured at the end puts nothing into the network that the next measurement would see."""
    _, (bits, _) = trained([sample(epochs=1)] * 2, (1, 1))
    net = nets.build([sample()] * 2, (1, 1))
    split = data.split(FEW_TEST, 1, train_images=135, validation_images=10)
    parameters = list(net.parameters())
    for batch in split.train[data.order(135, 1, 0)].split(64):
        entropy, _ = evaluate.losses(net, FEW_TEST, batch)
        train.descend(parameters, torch.autograd.grad(entropy.mean(0).sum(), parameters), torch.ones(2))
    assert isinstance(net, nets.LeNet) and norms.batch_norms(net)
    for name, value in solo.tensors(net).items():
        assert torch.equal(nets.of_trial(net, value, 0), bits[name]), name
