"""A packed network is its trials' networks, built of the framework's own parts and trained apart."""

import math

import pytest
import torch
from solo import IMAGES, descend, network, pixels, started, tensors
from torch import Tensor

from bnstudy import evaluate, nets, norms, train
from bnstudy.recipe import BN_LENET, LENET, Recipe

BATCH, STEPS = 16, 4
RATES = (0.1, 3.0, 1.0)
NETWORKS = {
    "lenet": LENET,
    "lenet unpadded": LENET.replace(padding=0),
    "affine": Recipe(norm="affine"),
    "affine padded": Recipe(norm="affine", padding=2),
    "bn": BN_LENET,
    "bn padded": BN_LENET.replace(padding=2, eps=1e-3),
    "bn of the last batch": BN_LENET.replace(momentum=1.0),
    "scratch": Recipe(norm="batch_norm_scratch", momentum=0.9),
    "scratch padded": Recipe(norm="batch_norm_scratch", padding=2),
}
every_network = pytest.mark.parametrize("recipe", NETWORKS.values(), ids=NETWORKS)


def alike(found: Tensor, expected: Tensor, what: object = "") -> None:
    assert found.shape == expected.shape and expected.isfinite().all()
    assert float((found - expected).detach().norm()) <= 1e-10 * float(expected.detach().norm()), what


def batches(trials: int, shared: bool) -> Tensor:
    """Indices of several batches, int64 [steps, batch] or [steps, batch, trials]."""
    shape = (STEPS, BATCH) if shared else (STEPS, BATCH, trials)
    return torch.randint(2000, shape, generator=torch.Generator().manual_seed(5))


# Training


@every_network
@pytest.mark.parametrize("shared", [True, False], ids=["shared images", "own images"])
def test_packed_is_solo(recipe: Recipe, shared: bool) -> None:
    recipes = [recipe.replace(lr=rate, precision="float64") for rate in RATES]
    seeds = (7, 7, 7) if shared else (7, 8, 9)
    net = nets.build(recipes, seeds)
    assert isinstance(net, nets.LeNet)
    index, parameters = batches(3, shared), list(net.parameters())
    for batch in index:
        entropy, _ = evaluate.losses(net, IMAGES, batch)
        gradients = torch.autograd.grad(entropy.mean(0).sum(), parameters)
        train.descend(parameters, gradients, torch.tensor(RATES, dtype=torch.float64))
    probe = torch.arange(2000, 2020)
    training = net(pixels(probe))
    predicting = net.eval()(pixels(probe))
    for k, rate in enumerate(RATES):
        start, alone = tensors(started(recipe, seeds[k])), started(recipe, seeds[k])
        optimizer = torch.optim.SGD(alone.parameters(), lr=rate)
        for batch in index if shared else index[:, :, k]:
            descend(alone, optimizer, batch)
        alike(training[:, k], alone(pixels(probe)), (k, "logits in training mode"))
        for name, value in tensors(alone).items():
            assert not torch.equal(value, start[name]), f"{name} was not trained"
            alike(nets.of_trial(net, tensors(net)[name], k), value.flatten(), (k, name))
        alike(predicting[:, k], alone.eval()(pixels(probe)), (k, "logits"))


@every_network
def test_the_same_images_shared_or_own_give_the_same(recipe: Recipe) -> None:
    net = nets.build([recipe.replace(precision="float64")] * 3, (1, 2, 3))
    x = pixels(torch.arange(20))
    alike(net(x.expand(20, 3, 28, 28)), net(x))


# Shapes


@pytest.mark.parametrize(
    ("recipe", "count"),
    [
        (LENET, 61_706),
        (LENET.replace(padding=0), 44_426),
        (BN_LENET, 44_878),
        (Recipe(norm="affine"), 44_878),
    ],
    ids=["padded LeNet", "LeNet", "BN-LeNet", "affine"],
)
def test_parameter_counts_are_the_published_ones(recipe: Recipe, count: int) -> None:
    for trials in (1, 5):
        net = nets.build([recipe] * trials, range(trials))
        assert sum(p.numel() for p in net.parameters()) == trials * count
    assert sum(p.numel() for p in network(recipe).parameters()) == count


@every_network
def test_logits_are_one_row_of_classes_for_each_image_and_trial(recipe: Recipe) -> None:
    net = nets.build([recipe] * 4, range(4))
    assert net(torch.zeros(3, 1, 28, 28)).shape == net(torch.zeros(3, 4, 28, 28)).shape == (3, 4, 10)


def test_every_trial_has_a_seed() -> None:
    with pytest.raises(ValueError, match="seeds must have the same length as recipes: 2, not 3"):
        nets.build([Recipe()] * 2, (1, 2, 3))


def test_a_trial_s_part_is_a_view() -> None:
    net = nets.LeNet(Recipe(), 3)
    nets.of_trial(net, net.fc3.bias, 1).fill_(7)
    assert net.fc3.bias.detach().eq(7).sum(1).tolist() == [0, 10, 0]
    assert nets.of_trial(net, net.conv1_norm.get_parameter("weight"), 2).shape == (6,)


# Initial values


def drawn(name: str, seed: int, recipe: Recipe = BN_LENET) -> Tensor:
    """What a trial with two others in its pack starts from."""
    net = nets.build([recipe] * 3, (seed + 1, seed, seed + 2))
    assert isinstance(net, nets.LeNet)
    return nets.of_trial(net, net.get_parameter(name), 1).clone()


def test_initial_values_are_golden() -> None:
    """Generators on the CPU draw the same everywhere; records of all machines start from these."""
    assert drawn("conv1.weight", 3)[:3].tolist() == [
        -0.14671657979488373,
        0.08697186410427094,
        0.16633084416389465,
    ]
    assert drawn("fc3.bias", 3)[:3].tolist() == [
        0.06598413735628128,
        -0.07182719558477402,
        -0.05892341956496239,
    ]


def test_a_trial_starts_the_same_in_every_pack() -> None:
    for other in (nets.build([LENET] * 2, (0, 3)), nets.build([LENET] * 16, [*range(100, 115), 3])):
        assert isinstance(other, nets.LeNet)
        for name, value in other.named_parameters():
            assert torch.equal(nets.of_trial(other, value, other.trials - 1), drawn(name, 3, LENET)), name


def test_arms_start_from_the_same_tensors() -> None:
    """Common random numbers: with or without normalization, padded or not."""
    for recipe in NETWORKS.values():
        for name in ("conv1.weight", "conv2.weight", "conv2.bias", "fc2.weight", "fc3.bias"):
            assert torch.equal(drawn(name, 3, recipe), drawn(name, 3)), name
    unpadded = [drawn("fc1.weight", 3, recipe) for recipe in NETWORKS.values() if not recipe.padding]
    assert all(torch.equal(value, unpadded[0]) for value in unpadded)


def test_seeds_and_tensors_have_streams_of_their_own() -> None:
    names = [name for name, _ in nets.build([LENET], (0,)).named_parameters()]
    firsts = {(name, seed): float(drawn(name, seed, LENET)[0]) for name in names for seed in (0, 5)}
    assert len(set(firsts.values())) == len(firsts)


@pytest.mark.parametrize(
    ("layer", "fan_in", "fan_out"),
    [
        *(("conv1", 25, 150), ("conv2", 150, 400)),
        *(("fc1", 256, 120), ("fc2", 120, 84), ("fc3", 84, 10)),
    ],
)
def test_initial_values_fill_their_bounds(layer: str, fan_in: int, fan_out: int) -> None:
    """Glorot & Bengio (2010), eq. 16, for weights; the framework's default for biases."""
    bounds = {"weight": math.sqrt(6 / (fan_in + fan_out)), "bias": 1 / math.sqrt(fan_in)}
    for kind, bound in bounds.items():
        values = torch.cat([drawn(f"{layer}.{kind}", seed) for seed in range(20)])
        assert 0.95 * bound < float(values.abs().max()) <= bound
        error = bound / math.sqrt(3 * len(values))  # the standard error of a uniform draw's mean
        assert abs(float(values.mean())) < 4 * error
        assert abs(float(values.std()) - bound / math.sqrt(3)) < 4 * error


def test_normalizations_start_neutral() -> None:
    for recipe in NETWORKS.values():
        for name, value in tensors(nets.build([recipe] * 2, (0, 1))).items():
            if "_norm" in name:
                assert value.eq(1 if name.endswith(("weight", "running_var")) else 0).all(), name


def test_both_precisions_start_from_the_same_draws() -> None:
    single, double = (nets.build([Recipe(precision=p)] * 2, (0, 1)) for p in ("float32", "float64"))
    for (name, a), (_, b) in zip(single.named_parameters(), double.named_parameters(), strict=True):
        assert a.dtype == torch.float32 and b.dtype == torch.float64 and torch.equal(a.double(), b), name
    assert all(layer.running_var.dtype == torch.float64 for layer in norms.batch_norms(double))


def test_drawing_leaves_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    nets.build([Recipe()] * 2, (0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
