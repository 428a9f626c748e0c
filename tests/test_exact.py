"""What is exact is shown to be exact, with the bound stated that rounding leaves."""

import math
from collections.abc import Iterator

import pytest
import torch
import traced
from formulas import SITES
from torch import Tensor, nn

from bnstudy.recipe import Recipe, momentum_of_old_weight
from bnstudy.training import evaluate, nets

NORMS = ("batch_norm", "batch_norm_scratch")
PATHS = {"framework's operations": False, "fused": True}
every_path = pytest.mark.parametrize("fused", PATHS.values(), ids=PATHS)
every_norm = pytest.mark.parametrize("norm", NORMS)


def built(recipe: Recipe, *, fused: bool = False) -> nn.Module:
    return nets.build([recipe] * 2, (3, 8), fused=fused).train()


def slopes(net: nn.Module, index: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the gradients of every parameter by name, and of what every layer of weights computes."""
    computed: dict[str, Tensor] = {}

    def keep(name: str, value: Tensor) -> None:
        value.retain_grad()
        computed[name] = value

    for name in (*SITES, "fc3"):
        layer = net.get_submodule(name)
        layer.register_forward_hook(lambda _, __, value, name=name: keep(name, value))
    entropy, _ = evaluate.losses(net, traced.IMAGES, index)
    entropy.mean(0).sum().backward()
    found = {name: value.grad for name, value in net.named_parameters() if value.grad is not None}
    return found, {name: value.grad for name, value in computed.items() if value.grad is not None}


# The bias in front of a normalization


def cancelled(norm: str, precision: str, fused: bool) -> Iterator[tuple[float, int]]:
    """Yield for each site what is left of the largest gradient of a bias, as a share of the sizes of what it
    adds up, and how many values that is."""
    net, parts = (built(Recipe(norm=norm, precision=precision), fused=fused) for _ in range(2))
    parts.first, parts.apart = None, False  # where layers are one operation, parts say what a bias adds up
    of_biases, _ = slopes(net, torch.arange(100))
    _, of_values = slopes(parts, torch.arange(100))
    for site in SITES:
        sizes = of_values[site].abs().transpose(0, 1).flatten(1)
        share = of_biases[f"{site}.bias"].flatten().abs() / sizes.sum(1)
        yield float(share.max()), sizes.shape[1]


@every_path
@every_norm
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_bias_in_front_of_a_normalization_has_no_gradient(norm: str, precision: str, fused: bool) -> None:
    """Normalizing takes the bias out again, so what its gradient adds up cancels. What is left of n values is
    below sqrt(n) roundings of the sum of their sizes: 100 of a fully connected layer, 57,600 of conv1."""
    for share, count in cancelled(norm, precision, fused):
        assert share < math.sqrt(count) * torch.finfo(nets.DTYPES[precision]).eps


@pytest.mark.parametrize("norm", ["none", "affine"])
def test_without_a_normalization_it_has_one(norm: str) -> None:
    """The bound can tell: elsewhere 10% and more of the sum of sizes is left."""
    assert min(share for share, _ in cancelled(norm, "float64", False)) > 0.1


@every_norm
def test_such_a_bias_never_learns(norm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In float64 a training at lr 1 moves it by less than 1e-12, and any other bias by more than 1e-3.

    12 steps of sqrt(28,800) roundings, for conv1, of a sum of sizes below 1 are 4.5e-13.
    """
    trial = traced.run([small(norm=norm)] * 2, (3, 8), monkeypatch)[0]
    moved = {n: float((trial.after[n] - v).abs().max()) for n, v in trial.before.items() if ".bias" in n}
    for site in SITES:
        assert moved[f"{site}.bias"] < 1e-12
        assert moved[f"{site}_norm.bias"] > 1e-3
    assert moved["fc3.bias"] > 1e-3


# A batch of one image


def one(**changes: object) -> Recipe:
    values = {"norm": "batch_norm_scratch", "running_variance": "biased", "batch_size": 1}
    return Recipe(**values | {"precision": "float64"} | changes)


@every_path
def test_a_batch_of_one_teaches_nothing_below_a_fully_connected_normalization(fused: bool) -> None:
    """Exactly zero: an image minus itself. Only the last shift and the logits' layer learn.

    The fused path takes apart what cancels: 1 / sqrt(eps) = 316 roundings of slopes of size 0.1 are left.
    """
    net = built(one(), fused=fused)
    gradients, _ = slopes(net, torch.tensor([5]))
    rounding = 316 * 0.1 * torch.finfo(torch.float64).eps if fused else 0.0
    learning = {name for name, gradient in gradients.items() if gradient.abs().max() > rounding}
    assert learning == {"fc2_norm.bias", "fc3.weight", "fc3.bias"}


@every_path
def test_a_batch_of_one_makes_every_image_alike(fused: bool) -> None:
    """The normalized value is 0 and beta is left, to the bit."""
    net = built(one(), fused=fused)
    with torch.no_grad():
        nn.init.normal_(net.get_parameter("fc2_norm.bias"), generator=torch.Generator().manual_seed(1))
        logits = [net(traced.IMAGES.images[[i]].double().unsqueeze(1) / 255) for i in (0, 7, 1500)]
    assert torch.equal(logits[0], logits[1]) and torch.equal(logits[0], logits[2])
    assert logits[0].std() > 0


@every_path
def test_a_batch_of_one_teaches_under_normalized_convolutions(fused: bool) -> None:
    """A convolution's channel has 576 and 64 values of one image."""
    net = built(one(norm_at="conv1,conv2"), fused=fused)
    gradients, _ = slopes(net, torch.tensor([5]))
    still = {name for name, gradient in gradients.items() if not gradient.abs().max() > 1e-12}
    assert still == {"conv1.bias", "conv2.bias"}


# The two conventions of momentum


def small(**changes: object) -> Recipe:
    """Return a training of 12 steps at lr 1, in batches of 50, 50, 50 and 20."""
    few = {"train_images": 170, "validation_images": 0, "batch_size": 50, "epochs": 3, "data": "sample"}
    return Recipe(**few | {"precision": "float64"} | changes)


@pytest.mark.parametrize("norm", NORMS)
def test_both_readings_of_momentum_are_one_training(norm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bitwise in float32, which cannot tell the textbook's 1 - 0.9 from 0.1: they are 2.8e-17 apart."""
    theirs = 1.0 - 0.9
    assert theirs != 0.1
    recipes = [small(norm=norm, momentum=m, precision="float32") for m in (theirs, 0.1)]
    assert recipes[0] != recipes[1]
    old, new = (traced.run([recipe] * 2, (3, 8), monkeypatch)[0] for recipe in recipes)
    assert old.outcome == new.outcome
    assert all(torch.equal(old.after[name], value) for name, value in new.after.items())


def test_both_readings_have_one_name() -> None:
    recipes = [Recipe(momentum=momentum_of_old_weight(0.9)), Recipe(momentum=0.1)]
    assert recipes[0] == recipes[1] and recipes[0].fingerprint == recipes[1].fingerprint


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_the_two_formulas_agree_over_many_batches(precision: str) -> None:
    """As they are written: 0.9 * old + (1 - 0.9) * new, and (1 - 0.1) * old + 0.1 * new.

    Bitwise in float32; in float64, which tells 1 - 0.9 from 0.1, to 4 roundings after 1,000 batches.
    """
    dtype = nets.DTYPES[precision]
    generator = torch.Generator().manual_seed(0)
    old = new = torch.zeros(64, dtype=dtype)
    for _ in range(1000):
        batch = 3 + torch.randn(64, generator=generator, dtype=dtype)
        old, new = 0.9 * old + (1 - 0.9) * batch, (1 - 0.1) * new + 0.1 * batch
    bound = 0 if precision == "float32" else 4 * torch.finfo(dtype).eps
    torch.testing.assert_close(old, new, rtol=bound, atol=0)


# Scratch layer and framework's layer


@every_path
def test_scratch_and_framework_are_one_training(fused: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over 12 steps at lr 1 in float64: every tensor to 1e-10 of its size, and the accuracies exactly.

    Rounding in another order is amplified by training, here from 1e-16.
    """
    ours, theirs = (
        traced.run([small(norm=norm)] * 2, (3, 8), monkeypatch, fused=fused) for norm in reversed(NORMS)
    )
    for mine, other in zip(ours, theirs, strict=True):
        for name, value in other.after.items():
            apart = float((mine.after[name] - value).norm() / value.norm())
            assert apart < 1e-10, (name, apart)
            assert not torch.equal(value, other.before[name]) or name in {f"{site}.bias" for site in SITES}
        assert mine.outcome.online_train_loss == pytest.approx(other.outcome.online_train_loss, rel=1e-10)
        for field in ("test_accuracy", "precise_test_accuracy", "batch_test_accuracy", "validation_accuracy"):
            assert getattr(mine.outcome, field) == getattr(other.outcome, field)


def test_the_published_variance_differs_in_the_statistics_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Averaging the biased variance changes no weight, and the running variance of fc1 by 1/50 to 1/20."""
    biased, unbiased = (
        traced.run([small(norm=NORMS[1], running_variance=kind)] * 2, (3, 8), monkeypatch)[0].after
        for kind in ("biased", "unbiased")
    )
    differing = {name for name, value in biased.items() if not torch.equal(value, unbiased[name])}
    assert differing == {f"{site}_norm.running_var" for site in SITES}
    ratio = unbiased["fc1_norm.running_var"] / biased["fc1_norm.running_var"]
    assert ratio.min() > 1 and ratio.max() < 20 / 19
