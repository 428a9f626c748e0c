"""A packed layer is its trials' layers side by side, one by one."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from bnstudy.training.activations import ACTIVATIONS, Dropout, sigmoid
from bnstudy.training.layers import VECTORS, PackedConv2d, PackedLinear, patches

One = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From a trial's input, weight and bias to its output."""


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def filled(layer: PackedConv2d | PackedLinear) -> PackedConv2d | PackedLinear:
    layer.double()
    with torch.no_grad():
        layer.weight.copy_(draw(*layer.weight.shape, seed=1))
        layer.bias.copy_(draw(*layer.bias.shape, seed=2))
    return layer


def compare(layer: PackedConv2d | PackedLinear, x: Tensor, one: One, *, shared: bool = False) -> None:
    """Demand that outputs and gradients are those of a loop over the trials, to 1e-12 relative."""
    trials = len(layer.weight)
    packed, looped = x.clone().requires_grad_(), x.clone().requires_grad_()
    y = layer(packed)
    each = [looped] * trials if shared else looped.chunk(trials, dim=1)
    expected = torch.cat([one(each[k], layer.weight[k], layer.bias[k]) for k in range(trials)], dim=1)
    dy = draw(*expected.shape, seed=3)
    found = torch.autograd.grad(y, [packed, layer.weight, layer.bias], dy)
    slow = torch.autograd.grad(expected, [looped, layer.weight, layer.bias], dy)
    for a, b in zip((y, *found), (expected, *slow), strict=True):
        assert a.shape == b.shape
        assert float((a - b).detach().norm() / b.detach().norm()) < 1e-12


@pytest.mark.parametrize("padding", [0, 2])
@pytest.mark.parametrize(("trials", "inputs", "outputs"), [(2, 1, 6), (3, 6, 16), (5, 2, 1), (4, 1, 1)])
def test_convolutions_of_own_images_are_a_loop(trials: int, inputs: int, outputs: int, padding: int) -> None:
    layer = filled(PackedConv2d(trials, inputs, outputs, 5, padding))
    x = draw(3, trials * inputs, 12, 10)
    compare(layer, x, lambda *one: F.conv2d(*one, padding=padding))


@pytest.mark.parametrize("padding", [0, 2])
@pytest.mark.parametrize(("trials", "inputs", "outputs"), [(2, 1, 6), (3, 2, 4), (5, 3, 1)])
def test_convolutions_of_shared_images_are_a_loop(
    trials: int, inputs: int, outputs: int, padding: int
) -> None:
    layer = filled(PackedConv2d(trials, inputs, outputs, 5, padding))
    x = draw(3, inputs, 12, 10)
    compare(layer, x, lambda *one: F.conv2d(*one, padding=padding), shared=True)


@pytest.mark.parametrize("shared", [True, False])
def test_convolutions_are_channels_last(shared: bool) -> None:
    """The normalizations' kernels are several times faster over this layout."""
    layer = filled(PackedConv2d(4, 1, 6, 5))
    y = layer(draw(3, 1 if shared else 4, 12, 10))
    assert y.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("channels_last", [True, False])
def test_convolutions_take_either_layout(channels_last: bool) -> None:
    layer, x = filled(PackedConv2d(2, 3, 4, 3)), draw(3, 6, 8, 8)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    assert torch.equal(layer(x.contiguous(memory_format=layout)), layer(x))


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 5), st.integers(1, 9), st.integers(1, 9), st.integers(1, 80))
def test_linear_layers_are_a_loop(trials: int, inputs: int, outputs: int, batch: int) -> None:
    layer = filled(PackedLinear(trials, inputs, outputs))
    compare(layer, draw(batch, trials * inputs), F.linear)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("wanted", [True, False], ids=["the pixels' gradient too", "no gradient"])
def test_layers_without_bias_are_layers_with_a_bias_of_zero(shared: bool, wanted: bool) -> None:
    for kind, shape in ((PackedConv2d, (1, 6, 5, 2)), (PackedLinear, (7, 3))):
        if kind is PackedLinear and shared:
            continue
        with_bias, without = filled(kind(3, *shape)), filled_weight(kind(3, *shape, bias=False))
        assert without.bias is None and with_bias.bias is not None
        with torch.no_grad():
            with_bias.bias.zero_()
        x = draw(4, 1 if shared else 3, 9, 9) if kind is PackedConv2d else draw(4, 21)
        x.requires_grad_(wanted)
        torch.testing.assert_close(without(x), with_bias(x), rtol=1e-12, atol=1e-12)


def filled_weight(layer: PackedConv2d | PackedLinear) -> PackedConv2d | PackedLinear:
    layer.double()
    with torch.no_grad():
        layer.weight.copy_(draw(*layer.weight.shape, seed=1))
    return layer


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5])
def test_dropout_keeps_the_mean_and_drops_its_share(share: float) -> None:
    layer = Dropout(share, "fc1", (1, 2))
    y = layer(torch.ones(100, 200))
    assert y[y != 0].unique().tolist() == pytest.approx([1 / (1 - share)])
    assert abs(float((y == 0).double().mean()) - share) < 4 * (share * (1 - share) / 20_000) ** 0.5 + 1e-12
    assert torch.equal(layer.eval()(y), y), "prediction drops nothing"


def test_dropout_depends_on_seed_place_and_step_alone() -> None:
    x = torch.ones(16, 30)
    wide, alone = Dropout(0.5, "fc1", (4, 5, 6)), Dropout(0.5, "fc1", (5, 5))
    for _ in range(2):
        a, b = wide(x), alone(x[:, :20])
        assert torch.equal(a[:, 10:20], b[:, :10]) and torch.equal(b[:, :10], b[:, 10:])
        assert not torch.equal(a[:, :10], a[:, 10:20])
    steps = [wide(x) for _ in range(2)]
    assert not torch.equal(*steps)
    assert not torch.equal(Dropout(0.5, "fc2", (4, 5, 6))(x), Dropout(0.5, "fc1", (4, 5, 6))(x))
    less, more = Dropout(0.1, "fc1", (4,))(x) == 0, Dropout(0.5, "fc1", (4,))(x) == 0
    assert (less <= more).all(), "a larger share drops what a smaller one does"


def test_a_linear_layer_s_gradient_is_that_of_autograd() -> None:
    layer = filled(PackedLinear(3, 4, 2))
    weight, bias = (v.detach().requires_grad_() for v in (layer.weight, layer.bias))

    def apply(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        found: Tensor = torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (x,))
        return found

    assert torch.autograd.gradcheck(apply, (draw(5, 12).requires_grad_(), weight, bias))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(0, 2), st.integers(3, 6), st.integers(3, 7))
def test_patches_are_what_a_kernel_sees(
    batch: int, channels: int, padding: int, height: int, width: int
) -> None:
    x = draw(batch, channels, height, width)
    columns = patches(x, 3, padding)
    unfolded = F.unfold(x, 3, padding=padding)  # [batch, channels * 9, height' * width']
    size = height + 2 * padding - 2, width + 2 * padding - 2
    assert columns.shape == (channels * 9 + 1, batch, *size)
    assert torch.equal(columns[:-1].flatten(2), unfolded.transpose(0, 1))
    assert columns[-1].eq(1).all(), "the input of the bias"


@pytest.mark.parametrize("kind", ACTIVATIONS)
@settings(max_examples=40, deadline=None)
@given(batch=st.integers(1, 40), left=st.integers(0, 40), right=st.integers(0, 40))
def test_an_activation_has_the_same_bits_in_every_place(kind: str, batch: int, left: int, right: int) -> None:
    """Values left over after whole vectors go through another formula, which rounds in another way."""
    x = draw(batch, 21, dtype=torch.float32) * 4
    wide = torch.cat(
        [draw(batch, left, dtype=torch.float32), x, draw(batch, right, dtype=torch.float32)], dim=1
    )
    here, there = x.requires_grad_(), wide.requires_grad_()
    activate = ACTIVATIONS[kind]
    alone, among = activate(here), activate(there)[:, left : left + 21]
    assert torch.equal(alone, among)
    gradients = torch.autograd.grad(alone.sum(), here), torch.autograd.grad(among.sum(), there)
    assert torch.equal(gradients[0][0], gradients[1][0][:, left : left + 21])


@pytest.mark.parametrize("shape", [(7, 30), (VECTORS, 3), (2, 5, 3, 3)])
def test_a_sigmoid_is_the_logistic_function(shape: tuple[int, ...]) -> None:
    x = draw(*shape).requires_grad_()
    torch.testing.assert_close(sigmoid(x), 1 / (1 + (-x).exp()), rtol=1e-14, atol=0)
    assert torch.autograd.gradcheck(sigmoid, x)


def test_trials_do_not_touch() -> None:
    """Infinity and NaN stay in their own trial: in outputs, and in every gradient."""
    for layer, x in (
        (filled(PackedConv2d(3, 2, 4, 3)), draw(5, 6, 8, 8)),
        (filled(PackedLinear(3, 4, 5)), draw(5, 12)),
    ):
        with torch.no_grad():
            layer.weight[1] = torch.inf
            layer.bias[1] = torch.nan
        x.requires_grad_()
        y = layer(x)
        gradients = torch.autograd.grad(y.square().sum(), [x, layer.weight, layer.bias])
        parts = [value.chunk(3, dim=1) for value in (y, gradients[0])] + [list(g) for g in gradients[1:]]
        assert all(part[k].isfinite().all() for part in parts for k in (0, 2))
        assert not any(part[1].isfinite().all() for part in parts)
