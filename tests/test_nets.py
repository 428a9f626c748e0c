"""A packed network is its trials' networks, built of the framework's own parts and trained apart."""

import math

import pytest
import solo
import torch
from solo import IMAGES, descend, network, optimizer_of, pixels, started, tensors
from torch import Tensor

from bnstudy.errors import BnstudyError
from bnstudy.recipe import BN_LENET, LENET, Recipe
from bnstudy.training import evaluate, nets, norms, optim
from bnstudy.training.architectures import PARTS, Chain, Linear
from bnstudy.training.layers import PackedConv2d

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
RELU = {"activation": "relu", "pool": "max"}
OPTIONS = {
    "max pool": Recipe(pool="max"),
    "relu": Recipe(activation="relu"),
    "tanh, max pool": Recipe(activation="tanh", pool="max", norm="affine"),
    "framework's start": LENET.replace(init="default"),
    "replica": Recipe(replica=2),
    "after": Recipe(norm_place="after"),
    "after pooling": Recipe(norm_place="after_pool", pool="max"),
    "one site": Recipe(norm_at="conv2"),
    "pixels": Recipe(norm_at="input"),
    "pixels and logits": Recipe(norm_at="input,conv1,fc3", norm="affine"),
    "logits": Recipe(norm_at="fc2,fc3", padding=2),
    "no redundant bias": Recipe(bias_before_norm=False),
    "no redundant bias, logits": Recipe(bias_before_norm=False, norm_at="conv1,fc3"),
    "dropout": Recipe(dropout=0.5),
    "dropout after": Recipe(dropout=0.2, dropout_at="after_norms", norm="affine"),
    "32 pixels": Recipe(image_size=32),
    "stack": Recipe(net="stack", norm="none", activation="tanh", width=20),
    "stack with bn": Recipe(net="stack", depth=3, width=30, activation="relu"),
    "skips": Recipe(net="stack", depth=7, width=20, skip="identity", activation="relu"),
    "skips without biases": Recipe(net="stack", width=20, skip="identity", bias_before_norm=False),
    "skipinit": Recipe(net="stack", width=20, skip="skipinit", norm="none", activation="relu"),
}
BY_ADAM = {
    "adam": Recipe(optimizer="adam", bias_before_norm=False),
    "adam, affine": Recipe(optimizer="adam", norm="affine", pool="max", init="default"),
}
every_option = pytest.mark.parametrize(
    "recipe", (NETWORKS | OPTIONS | BY_ADAM).values(), ids=NETWORKS | OPTIONS | BY_ADAM
)
PUBLISHED = {
    "alexnet": Recipe(net="alexnet", image_size=65, norm="none", dropout=0.5, **RELU),
    "alexnet, bn": Recipe(net="alexnet", image_size=65, **RELU),
    "vgg11, bn": Recipe(net="vgg11", image_size=32, dropout=0.5, **RELU),
    "nin": Recipe(net="nin", image_size=67, norm="none", **RELU),
    "nin, bn": Recipe(net="nin", image_size=67, dropout=0.5, bias_before_norm=False, **RELU),
    "googlenet": Recipe(net="googlenet", image_size=32, norm="none", **RELU),
    "googlenet, bn": Recipe(net="googlenet", image_size=64, **RELU),
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


@every_option
@pytest.mark.parametrize("shared", [True, False], ids=["shared images", "own images"])
def test_packed_is_solo(recipe: Recipe, shared: bool) -> None:
    calm = recipe.activation == "relu" or recipe.norm_place != "before" or "fc3" in recipe.norm_at
    scale = 0.01 if calm or recipe.optimizer == "adam" else 1  # chaos would grow what rounding differs by
    recipes = [recipe.replace(lr=rate * scale, precision="float64") for rate in RATES]
    seeds = (7, 7, 7) if shared else (7, 8, 9)
    net, index = nets.build(recipes, seeds), batches(3, shared)
    trained(net, recipes, index)
    probe = torch.arange(2000, 2020)
    training = net(pixels(probe, recipe.image_size))
    predicting = net.eval()(pixels(probe, recipe.image_size))
    named = dict(zip(tensors(started(recipe, 7)), tensors(net), strict=True))
    for k, one in enumerate(recipes):
        start, alone = tensors(started(recipe, seeds[k])), started(recipe, seeds[k])
        optimizer = optimizer_of(one, alone)
        for batch in index if shared else index[:, :, k]:
            descend(alone, optimizer, batch, recipe.image_size)
        alike(training[:, k], alone(pixels(probe, recipe.image_size)), (k, "logits in training mode"))
        for name, value in tensors(alone).items():
            assert "bias" in name or not torch.equal(value, start[name]), f"{name} was not trained"
            alike(nets.of_trial(net, tensors(net)[named[name]], k), value.flatten(), (k, name))
        alike(predicting[:, k], alone.eval()(pixels(probe, recipe.image_size)), (k, "logits"))


def trained(net: nets.PackedNet, recipes: list[Recipe], index: Tensor) -> None:
    """Take a step with each batch."""
    optimizer = optim.build(net, recipes)
    for batch in index:
        entropy, _ = evaluate.losses(net, IMAGES, batch)
        optimizer.step(torch.autograd.grad(entropy.mean(0).sum(), optimizer.parameters))


@pytest.mark.parametrize("recipe", PUBLISHED.values(), ids=PUBLISHED)
def test_published_networks_are_solo(monkeypatch: pytest.MonkeyPatch, recipe: Recipe) -> None:
    """One trial beside another, two steps of four images, with 40 units for 4,096."""
    monkeypatch.setattr(solo, "HIDDEN", 40)
    small = [p._replace(outputs=40) if p == Linear(4096) else p for p in PARTS[recipe.net]]
    monkeypatch.setitem(PARTS, recipe.net, small)
    recipes = [recipe.replace(lr=rate, precision="float64") for rate in (0.001, 0.003)]
    net, index = nets.build(recipes, (7, 7)), batches(2, True)[:2, :4]
    trained(net, recipes, index)
    alone = started(recipe, 7)
    optimizer = optimizer_of(recipes[1], alone)
    for batch in index:
        descend(alone, optimizer, batch, recipe.image_size)
    x = pixels(torch.arange(2000, 2004), recipe.image_size)
    alike(net.eval()(x)[:, 1], alone.eval()(x), "logits")
    for (name, ours), value in zip(tensors(net).items(), tensors(alone).values(), strict=True):
        alike(nets.of_trial(net, ours, 1), value.flatten(), name)


@pytest.mark.parametrize(
    ("net", "size", "count"),
    [
        ("alexnet", 224, 46_764_746),
        ("vgg11", 224, 43_093_322),
        ("nin", 224, 1_992_166),
        ("googlenet", 96, 5_977_530),
    ],
)
def test_published_networks_have_the_textbook_s_parameters(net: str, size: int, count: int) -> None:
    with torch.device("meta"):
        plain, normalized = (
            Chain(Recipe(net=net, image_size=size, norm=norm), 1) for norm in ("none", "batch_norm")
        )
    assert sum(p.numel() for p in plain.parameters()) == count
    channels = sum(m.weight.shape[1] for m in normalized.modules() if isinstance(m, PackedConv2d))
    assert sum(p.numel() for p in normalized.parameters()) == count + 2 * channels


@pytest.mark.parametrize(("net", "size"), [("alexnet", 64), ("nin", 66), ("nin", 40)])
def test_too_few_pixels_are_a_mistake_in_words(net: str, size: int) -> None:
    with pytest.raises(BnstudyError, match=f"image_size = {size} leaves net = '{net}' nothing to see"):
        nets.build([Recipe(net=net, image_size=size)], (0,))


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
        (BN_LENET.replace(bias_before_norm=False), 44_652),
    ],
    ids=["padded LeNet", "LeNet", "BN-LeNet", "affine", "without redundant biases"],
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
