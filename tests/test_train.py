"""A trial's numbers are a plain loop's, and the same bits whatever it shares its pack with."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import pytest
import solo
import torch
from torch import Tensor, nn

from bnstudy.outcome import Outcome
from bnstudy.recipe import PROBES, Recipe
from bnstudy.training import data, evaluate, machine, nets, norms, optim, train

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
    built: list[nets.PackedNet] = []

    def build(recipes: Sequence[Recipe], seeds: Sequence[int], **options: Any) -> nn.Module:
        net = original(recipes, seeds, **options)
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


# Options

OPTIONS: dict[str, dict[str, Any]] = {
    "max pool": {"pool": "max"},
    "relu": {"activation": "relu"},
    "tanh": {"activation": "tanh"},
    "after": {"norm_place": "after"},
    "after pooling": {"norm_place": "after_pool"},
    "pixels": {"norm_at": "input"},
    "logits": {"norm_at": "conv1,fc3"},
    "no redundant bias": {"bias_before_norm": False},
    "framework's start": {"init": "default", "replica": 1},
    "adam": {"optimizer": "adam"},
    "dropout": {"dropout": 0.5},
    "dropout after": {"dropout": 0.3, "dropout_at": "after_norms"},
    "norms": {"trained": "norms"},
    "random": {"trained": "random", "optimizer": "adam"},
    "32 pixels": {"image_size": 32},
    "probes": {"probes": "averages,shift,gradients,corruption"},
}


@both_ways
@pytest.mark.parametrize("option", OPTIONS.values(), ids=OPTIONS)
def test_options_leave_a_trial_s_bits_to_itself(
    trained: Trained, option: dict[str, Any], shared: bool
) -> None:
    scale = 0.01 if "optimizer" in option else 1
    recipes = [sample(**option, train_images=71, epochs=1, lr=rate * scale) for rate in RATES[:8]]
    seeds = (5,) * 8 if shared else tuple(range(8))
    packs = [(0, 1), (1, 0), (2, 0, 1), (3, 4, 1, 5, 6, 7, 2, 0)]
    found = []
    for members in packs:
        outcomes, bits = trained([recipes[m] for m in members], [seeds[m] for m in members], shared=shared)
        found.append([(outcomes[members.index(m)], bits[members.index(m)]) for m in (0, 1)])
    assert not same(*found[0])
    for pack in found[1:]:
        assert all(agree(*pair) for pair in zip(pack, found[0], strict=True))


@every_norm
def test_mates_that_diverge_under_adam_harm_no_other(trained: Trained, norm: str) -> None:
    packs = [
        trained([sample(norm=norm, optimizer="adam", lr=r, train_images=71) for r in (0.01, rate)], (3, 3))
        for rate in (0.1, 1e6)
    ]
    assert same(*((outcomes[0], bits[0]) for outcomes, bits in packs))


@pytest.mark.parametrize(
    "option",
    [
        {"drop_last": True},
        {"updates": 3},
        {"updates": 4, "drop_last": True},
        {"optimizer": "adam", "lr": 0.01, "dropout": 0.2, "bias_before_norm": False},
        {"pool": "max", "init": "default", "activation": "tanh"},
    ],
    ids=["drop last", "updates", "updates, drop last", "adam, dropout", "max, tanh"],
)
def test_a_plain_loop_with_these_options_tells_the_same(option: dict[str, Any]) -> None:
    recipe = sample(train_images=110, batch_size=50, validation_images=20, precision="float64", **option)
    told = solo.train(recipe, 4)
    for outcome in train.train_pack([recipe] * 2, (4, 4), IMAGES, shares_images=True):
        assert outcome.first_losses == pytest.approx(told.first_losses, rel=1e-8)
        assert outcome.online_train_loss == pytest.approx(told.online_train_loss, rel=1e-8)
        assert outcome.validation_accuracy == tuple(told.validation_accuracy)
        assert outcome.last_test_accuracies == tuple(told.test_accuracies)


def test_losses_of_the_first_twenty_steps_are_kept() -> None:
    outcomes = train.train_pack(
        [sample(batch_size=4, epochs=1, lr=rate) for rate in (1, 1e38)], (1, 1), FEW_TEST, shares_images=True
    )
    assert [len(outcome.first_losses) for outcome in outcomes] == [20, 20]
    assert None not in outcomes[0].first_losses and outcomes[1].first_losses[-1] is None


@pytest.mark.parametrize("kind", ["norms", "random"])
def test_only_what_is_trained_moves(trained: Trained, kind: str) -> None:
    _, (bits, _) = trained([sample(trained=kind)] * 2, (3, 3))
    net = nets.build([sample()] * 2, (3, 3))
    moved = {n: int((nets.of_trial(net, p, 0) != bits[n]).sum()) for n, p in net.named_parameters()}
    norms_moved = sum(count for name, count in moved.items() if "_norm" in name)
    others = sum(moved.values()) - norms_moved
    assert (norms_moved, others) == (452, 0) if kind == "norms" else norms_moved == 0 and 400 < others <= 452


def test_batches_of_one_train_under_normalized_convolutions(trained: Trained) -> None:
    recipe = sample(batch_size=1, train_images=30, epochs=1, norm_at="conv1,conv2", lr=0.01)
    (outcome, _), _ = trained([recipe] * 2, (1, 1))
    assert outcome.status == "ok" and outcome.finite


# Probes


def test_a_probe_changes_no_training(trained: Trained) -> None:
    plain, probed = (trained([sample(probes=p, dropout=0.3)] * 2, (2, 2)) for p in ("", ",".join(PROBES)))
    assert all(torch.equal(value, probed[1][0][name]) for name, value in plain[1][0].items())
    silent = replace(probed[0][0], checks=plain[0][0].checks, tracked_test_accuracy=None)
    assert silent == plain[0][0]


def test_probes_tell_what_they_are_for(trained: Trained) -> None:
    (outcome, _), _ = trained([sample(probes=",".join(PROBES), epochs=1)] * 2, (2, 2))
    assert set(outcome.checks or ()) == {
        *("bias_gradient", "batch_disagreement", "shift", "gradient_change", "log_gradient_ratio"),
        *("last_log_gradient_ratio", "noise_accuracy", "strong_noise_accuracy", "fgsm_accuracy"),
    }
    assert {*norms.TRACKED, "averaged weights"} == set(outcome.tracked_test_accuracy or ())
    assert (outcome.tracked_test_accuracy or {})["0.1"] == outcome.test_accuracy


def test_a_redundant_bias_has_no_gradient(trained: Trained) -> None:
    """Zero to the rounding of float64; without centring it has one, and it is the largest."""
    recipe = sample(precision="float64")
    for norm, bound in (("batch_norm", 1e-9), ("batch_norm_scratch", 1e-9)):
        (outcome, _), _ = trained([recipe.replace(norm=norm)] * 2, (1, 1))
        assert outcome.checks is not None and 0 <= (outcome.checks["bias_gradient"] or 1) < bound
    for other in ({"norm": "affine"}, {"bias_before_norm": False}, {"norm_place": "after"}):
        (outcome, _), _ = trained([recipe.replace(**other)] * 2, (1, 1))
        assert outcome.checks is None


# Steps


def test_each_trial_descends_at_its_own_rate() -> None:
    parameters = [torch.ones(3, 2, 2), torch.ones(6), torch.ones(3, 1)]
    gradients = [torch.full_like(p, 2) for p in parameters]
    optim.SGD(parameters, torch.tensor([0.0, 0.5, 1e3]), None).step(gradients)
    for parameter in parameters:
        trials = parameter.view(3, -1)
        assert [set(row.tolist()) for row in trials] == [{1.0}, {0.0}, {-1999.0}]


def test_adam_is_the_framework_s() -> None:
    start = torch.linspace(-1, 1, 12, dtype=torch.float64).view(3, 4)
    rates = torch.tensor([0.001, 0.1, 3], dtype=torch.float64)
    ours, theirs = start.clone(), [row.clone().requires_grad_() for row in start]
    adam = optim.Adam([ours], rates, None)
    each = [torch.optim.Adam([row], lr=float(rate)) for row, rate in zip(theirs, rates, strict=True)]
    for step in range(1, 6):
        gradient = torch.sin(step * start) * 10.0 ** (-2 * step)
        adam.step([gradient])
        for row, part, optimizer in zip(theirs, gradient, each, strict=True):
            row.grad = part.clone()
            optimizer.step()
    torch.testing.assert_close(ours, torch.stack(theirs).detach(), rtol=1e-12, atol=0)


def test_what_is_masked_stays_whatever_its_gradient() -> None:
    parameter, mask = torch.ones(2, 2), torch.tensor([[True, False], [True, True]])
    for kind in (optim.SGD, optim.Adam):
        kind([parameter], torch.ones(2), [mask]).step([torch.tensor([[1.0, torch.inf], [1, 1]])])
        assert parameter[0, 1] == 1 and parameter[0, 0] < 1


def test_normalizations_are_as_they_were_after_training(trained: Trained) -> None:
    """What is measured at the end puts nothing into the network that the next measurement would see."""
    _, (bits, _) = trained([sample(epochs=1)] * 2, (1, 1))
    net = nets.build([sample()] * 2, (1, 1))
    split = data.split(FEW_TEST, 1, train_images=135, validation_images=10)
    optimizer = optim.build(net, [sample()] * 2)
    for batch in split.train[data.order(135, 1, 0)].split(64):
        entropy, _ = evaluate.losses(net, FEW_TEST, batch)
        optimizer.step(torch.autograd.grad(entropy.mean(0).sum(), optimizer.parameters))
    assert isinstance(net, nets.LeNet) and norms.batch_norms(net)
    for name, value in solo.tensors(net).items():
        assert torch.equal(nets.of_trial(net, value, 0), bits[name]), name
