"""Every normalization is its formula: by a slow loop, the framework's layers, autograd and invariance."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from bnstudy.recipe import Recipe, momentum_of_old_weight
from bnstudy.training import norms
from bnstudy.training.norms import Affine, BatchNorm, PooledMoments, ScratchBatchNorm

Array = NDArray[np.float64]
Layer = TypeVar("Layer", bound=nn.Module)
KINDS = (BatchNorm, ScratchBatchNorm)
both = pytest.mark.parametrize("kind", KINDS)
SHAPES = ((2, 3), (3, 1), (16, 8), (31, 13), (2, 3, 5), (7, 5, 1), (4, 6, 3, 5), (2, 9, 1, 1), (3, 16, 7, 2))
many = settings(max_examples=40, deadline=None)
shapes = st.tuples(st.integers(2, 9), st.integers(1, 20), st.lists(st.integers(1, 5), max_size=2)).map(
    lambda drawn: (drawn[0], drawn[1], *drawn[2])
)
momenta = st.sampled_from((0.001, 0.1, 0.5, 0.9, 1.0))
every_eps = st.sampled_from((1e-8, 1e-5, 1e-2, 1.0))


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def channels_last(x: Tensor) -> Tensor:
    return x.movedim(1, -1).contiguous().movedim(-1, 1)


def made(layer: Layer, channels: int, seed: int = 9) -> Layer:
    """The layer in float64 with scales and shifts that are not 1 and 0."""
    layer.double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(draw(channels, seed=seed + parameter.dim()))
        layer.get_parameter("bias").add_(0.5)
    return layer


def close(found: Tensor, expected: Tensor | Array, rtol: float = 1e-9, atol: float = 1e-10) -> None:
    torch.testing.assert_close(
        found.detach(), torch.as_tensor(expected).to(found.dtype), rtol=rtol, atol=atol
    )


def by_hand(x: Array, dy: Array, weight: Array, bias: Array, eps: float) -> dict[str, Array]:
    """Batch normalization channel by channel with its gradients (Ioffe & Szegedy 2015, section 3)."""
    y, dx = np.zeros_like(x), np.zeros_like(x)
    moments = np.zeros((4, x.shape[1]))
    for c in range(x.shape[1]):
        values, gradient = x[:, c], dy[:, c]
        mean = values.sum() / values.size
        var = ((values - mean) ** 2).sum() / values.size
        x_hat = (values - mean) / np.sqrt(var + eps)
        y[:, c] = weight[c] * x_hat + bias[c]
        d_hat = gradient * weight[c]
        dx[:, c] = (d_hat - d_hat.mean() - x_hat * (d_hat * x_hat).mean()) / np.sqrt(var + eps)
        moments[:, c] = mean, var, (gradient * x_hat).sum(), gradient.sum()
    mean, var, d_weight, d_bias = moments
    return {"y": y, "dx": dx, "mean": mean, "var": var, "d_weight": d_weight, "d_bias": d_bias}


def run(layer: nn.Module, x: Tensor, dy: Tensor) -> dict[str, Tensor]:
    x = x.detach().requires_grad_()
    y = layer(x)
    gradients = torch.autograd.grad(y, [x, layer.get_parameter("weight"), layer.get_parameter("bias")], dy)
    return {"y": y, **dict(zip(("dx", "d_weight", "d_bias"), gradients, strict=True))}


def of_framework(layer: BatchNorm, x: Tensor) -> nn.Module:
    """The framework's own module with this layer's numbers."""
    kind = nn.BatchNorm2d if x.dim() == 4 else nn.BatchNorm1d
    module = kind(x.shape[1], eps=layer.eps, momentum=layer.momentum).to(x.dtype)
    module.load_state_dict(layer.state_dict(), strict=False)
    return module


# Against the formula


@both
@many
@given(shape=shapes, eps=every_eps, scale=st.sampled_from((1e-3, 1.0, 100.0)), last=st.booleans())
def test_training_is_the_formula(
    kind: type[BatchNorm], shape: tuple[int, ...], eps: float, scale: float, last: bool
) -> None:
    x, dy = scale * draw(*shape) + scale, draw(*shape, seed=1)
    x, dy = (channels_last(x), channels_last(dy)) if last else (x, dy)
    layer = made(kind(shape[1], eps=eps), shape[1])
    parameters = (p.detach().numpy() for p in (layer.weight, layer.bias))
    expected = by_hand(x.numpy(), dy.numpy(), *parameters, eps)
    for name, value in run(layer, x, dy).items():
        close(value, expected[name], rtol=1e-7, atol=1e-8 * max(1, 1 / scale))
    count = x.numel() // shape[1]
    close(layer.running_mean, 0.1 * expected["mean"])
    close(layer.running_var, 0.9 + 0.1 * expected["var"] * count / (count - 1))


@both
def test_prediction_is_the_formula(kind: type[BatchNorm]) -> None:
    x, layer = draw(5, 6, 3, 4), made(kind(6, eps=1e-3), 6).eval()
    layer.running_mean.copy_(draw(6, seed=3))
    layer.running_var.copy_(draw(6, seed=4).square())
    per_channel = (layer.weight, layer.running_mean, layer.running_var, layer.bias)
    weight, mean, var, bias = (v.detach().view(1, 6, 1, 1) for v in per_channel)
    close(layer(x), weight * (x - mean) / (var + 1e-3).sqrt() + bias)
    with norms.predict_with(layer, "batch"):
        expected = by_hand(
            x.numpy(), x.numpy(), *(v.detach().numpy() for v in (layer.weight, layer.bias)), 1e-3
        )
        close(layer(x), expected["y"])


@many
@given(shape=shapes)
def test_affine_is_the_formula(shape: tuple[int, ...]) -> None:
    x, dy = draw(*shape), draw(*shape, seed=1)
    layer = made(Affine(shape[1]), shape[1])
    axes = [axis for axis in range(len(shape)) if axis != 1]
    view = (1, -1, *[1] * (len(shape) - 2))
    found = run(layer, x, dy)
    close(found["y"], layer.weight.view(view) * x + layer.bias.view(view))
    close(found["dx"], layer.weight.view(view) * dy)
    close(found["d_weight"], (dy * x).sum(axes))
    close(found["d_bias"], dy.sum(axes))


@many
@given(shape=shapes)
def test_moments_are_the_formula(shape: tuple[int, ...]) -> None:
    x = draw(*shape)
    mean, var = norms.moments(x)
    close(mean, np.stack([x.numpy()[:, c].mean() for c in range(shape[1])]))
    close(var, np.stack([x.numpy()[:, c].var() for c in range(shape[1])]))


# Against the framework


@both
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("momentum", "eps"), [(0.1, 1e-5), (0.9, 1e-3), (1.0, 1.0), (0.01, 1e-8)])
@pytest.mark.parametrize("layout", [torch.Tensor.contiguous, channels_last])
def test_several_batches_are_the_framework_s(
    kind: type[BatchNorm],
    shape: tuple[int, ...],
    momentum: float,
    eps: float,
    layout: Callable[[Tensor], Tensor],
) -> None:
    layer = made(kind(shape[1], momentum=momentum, eps=eps), shape[1])
    reference = of_framework(layer, draw(*shape))
    for batch in range(4):
        x, dy = layout(draw(*shape, seed=batch) * 3 + batch), layout(draw(*shape, seed=50 + batch))
        found, expected = run(layer, x, dy), run(reference, x, dy)
        for name in found:
            close(found[name], expected[name], rtol=1e-7, atol=1e-7)
    close(layer.running_mean, reference.get_buffer("running_mean"))
    close(layer.running_var, reference.get_buffer("running_var"))
    x = draw(*shape, seed=99)
    close(layer.eval()(x), reference.eval()(x))


@both
def test_float32_is_the_framework_s_within_its_rounding(kind: type[BatchNorm]) -> None:
    layer = kind(20)
    x, dy = (draw(64, 20, 12, 12, seed=s, dtype=torch.float32) for s in (0, 1))
    reference = of_framework(layer, x)
    found, expected = run(layer, x, dy), run(reference, x, dy)
    for name in found:
        close(found[name], expected[name], rtol=1e-4, atol=1e-4)


# Against autograd


@pytest.mark.parametrize("kind", [Affine, *KINDS])
@pytest.mark.parametrize("shape", [(4, 3), (2, 8), (3, 2, 2), (2, 3, 2, 2)])
def test_gradients_are_those_of_autograd(kind: type[nn.Module], shape: tuple[int, ...]) -> None:
    x = draw(*shape).requires_grad_()
    weight, bias = draw(shape[1], seed=1).requires_grad_(), draw(shape[1], seed=2).requires_grad_()
    layer = kind(shape[1]).double()

    def apply(x: Tensor, weight: Tensor, bias: Tensor) -> Any:
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (x,))

    assert torch.autograd.gradcheck(apply, (x, weight, bias))


# Invariances


@both
@many
@given(
    shape=shapes,
    scale=st.sampled_from((-7.0, -1.0, 1e-3, 0.5, 300.0)),
    shift=st.sampled_from((-30.0, 0.0, 1.0, 1000.0)),
)
def test_scale_and_shift_of_the_input_do_not_matter(
    kind: type[BatchNorm], shape: tuple[int, ...], scale: float, shift: float
) -> None:
    """Up to eps, which is in units of the variance; a negative scale turns the sign."""
    x = draw(*shape)
    plain = kind(shape[1], eps=1e-2).double()
    scaled = kind(shape[1], eps=1e-2 * scale**2).double()
    close(scaled(scale * x + shift), plain(x) * (1 if scale > 0 else -1), rtol=1e-6, atol=1e-6)


@both
@many
@given(shape=shapes, seed=st.integers(0, 99))
def test_the_order_of_the_batch_does_not_matter(
    kind: type[BatchNorm], shape: tuple[int, ...], seed: int
) -> None:
    x, layer = draw(*shape), kind(shape[1]).double()
    order = torch.randperm(shape[0], generator=torch.Generator().manual_seed(seed))
    close(layer(x[order]), layer(x)[order])


@pytest.mark.parametrize("kind", [Affine, *KINDS])
@pytest.mark.parametrize(
    ("shape", "channels"), [((64, 24, 24), 6), ((7, 24, 24), 6), ((32, 8, 8), 16), ((88,), 84)]
)
def test_a_channel_has_the_same_bits_in_every_place(
    kind: type[nn.Module], shape: tuple[int, ...], channels: int
) -> None:
    """A trial's channels stand anywhere in a pack of any size, and the kernel may not let them feel it."""
    parts = [
        [
            channels_last(draw(shape[0], channels, *shape[1:], seed=s + trial, dtype=torch.float32))
            for s in (0, 40)
        ]
        for trial in range(8)
    ]

    def bits(trials: Sequence[int], which: int) -> dict[str, Tensor]:
        """What the layer makes of trial `which` among others."""
        layer = kind(channels * len(trials))
        x, dy = (torch.cat([parts[t][i] for t in trials], dim=1) for i in (0, 1))
        found = run(layer, channels_last(x), channels_last(dy)) | dict(layer.named_buffers())
        place = slice(trials.index(which) * channels, (trials.index(which) + 1) * channels)
        return {name: value[:, place] if value.dim() > 1 else value[place] for name, value in found.items()}

    for which in (0, 1):
        expected = bits((0, 1), which)
        for trials in ((1, 0), (2, 0, 1), (0, 3, 1, 2), (4, 5, 6, 1, 0), (7, 6, 5, 4, 3, 2, 1, 0)):
            found = bits(trials, which)
            assert all(torch.equal(found[name], expected[name]) for name in expected), (trials, which)


# Extremes


@pytest.mark.parametrize(("kind", "bound"), [(ScratchBatchNorm, 2e-3), (BatchNorm, 0.02)])
def test_a_large_offset_costs_no_more_than_its_rounding(kind: type[BatchNorm], bound: float) -> None:
    """Mean 10,000 and variance 1 in float32: a variance from the mean square would be off by several ones.

    The mean is rounded by up to 5e-4, and the framework's sum is off by 0.01; the variance feels its square.
    """
    x = draw(256, 5, 4, 4, dtype=torch.float32) + 1e4
    layer = kind(5, momentum=1.0)
    expected = by_hand(*[x.double().numpy()] * 2, np.ones(5), np.zeros(5), 1e-5)
    close(layer(x), expected["y"], rtol=0, atol=bound)
    count = x.numel() // 5
    close(layer.running_var, expected["var"] * count / (count - 1), rtol=1e-6 + bound**2)


@both
def test_a_constant_channel_becomes_its_shift(kind: type[BatchNorm]) -> None:
    x = torch.full((64, 3, 2, 2), 0.1)
    layer = kind(3)
    with torch.no_grad():
        layer.bias.copy_(torch.tensor([1.0, -2.0, 0.5]))
    found = run(layer, x, draw(*x.shape, dtype=torch.float32))
    close(found["y"], layer.bias.view(1, 3, 1, 1).expand_as(x), rtol=0, atol=1e-4)
    assert all(value.isfinite().all() for value in found.values())
    assert layer.running_var.isfinite().all()


@pytest.mark.parametrize("kind", [Affine, *KINDS])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", [(32, 5, 6, 6), (64, 16)])
def test_half_precision_inputs_are_reduced_in_full(
    kind: type[nn.Module], dtype: torch.dtype, shape: tuple[int, ...]
) -> None:
    x, dy = (draw(*shape, seed=s, dtype=torch.float32).to(dtype) for s in (0, 1))
    layer = kind(shape[1])
    found = run(layer, x + 4, dy)
    exact = run(kind(shape[1]).double(), (x + 4).double(), dy.double())
    eps = torch.finfo(dtype).eps
    assert found["y"].dtype == dtype and found["d_weight"].dtype == torch.float32
    for name in ("y", "dx"):
        close(found[name].double(), exact[name], rtol=2 * eps, atol=2 * eps)
    for name in ("d_weight", "d_bias"):
        close(found[name].double(), exact[name], rtol=2 * eps, atol=eps * dy.numel() ** 0.5)
    if isinstance(layer, BatchNorm):
        axes = [axis for axis in range(len(shape)) if axis != 1]
        close(layer.running_mean.double(), 0.1 * (x + 4).double().mean(axes), rtol=1e-4)


@both
@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1, 1)])
def test_one_value_a_channel_has_no_variance(kind: type[BatchNorm], shape: tuple[int, ...]) -> None:
    x, layer = draw(*shape), kind(3).double()
    with pytest.raises(ValueError, match=r"more than (1|one) value per channel"):
        layer(x)
    assert layer.running_mean.eq(0).all() and layer.running_var.eq(1).all(), "an error leaves no trace"
    layer.eval()
    assert layer(x).shape == x.shape, "running averages need no batch"
    with (
        norms.predict_with(layer, "batch"),
        pytest.raises(ValueError, match="more than one value per channel"),
    ):
        layer(x)


# Running averages


@pytest.mark.parametrize(("shape", "count"), [((2, 3), 2), ((7, 3), 7), ((2, 3, 5, 5), 50)])
def test_the_two_variances_differ_by_a_factor(shape: tuple[int, ...], count: int) -> None:
    """n / (n - 1): twice for a fully connected layer at batch 2, nothing much for a convolution."""
    layers = [ScratchBatchNorm(3, momentum=1.0, unbiased=unbiased).double() for unbiased in (True, False)]
    outputs = [layer(draw(*shape)) for layer in layers]
    assert torch.equal(*outputs), "the batch itself is normalized alike"
    close(layers[0].running_var / layers[1].running_var, np.full(3, count / (count - 1)), rtol=1e-14)


@pytest.mark.parametrize("shape", [(8, 3), (4, 3, 5, 5)])
def test_the_textbook_s_momentum_is_the_weight_of_the_old_value(shape: tuple[int, ...]) -> None:
    def textbook(
        x: Tensor, moving_mean: Tensor, moving_var: Tensor, momentum: float
    ) -> tuple[Tensor, Tensor]:
        """The moving averages of d2l (first edition, 7.5.3), transcribed."""
        if x.dim() == 2:
            mean = x.mean(dim=0)
            var = ((x - mean) ** 2).mean(dim=0)
        else:
            mean = x.mean(dim=(0, 2, 3), keepdim=True)
            var = ((x - mean) ** 2).mean(dim=(0, 2, 3), keepdim=True)
        moving_mean = momentum * moving_mean + (1.0 - momentum) * mean.flatten()
        moving_var = momentum * moving_var + (1.0 - momentum) * var.flatten()
        return moving_mean, moving_var

    layer = ScratchBatchNorm(3, momentum=momentum_of_old_weight(0.9), unbiased=False).double()
    moving = torch.zeros(3).double(), torch.ones(3).double()
    for batch in range(5):
        x = draw(*shape, seed=batch) * 2 + 1
        layer(x)
        moving = textbook(x, *moving, momentum=0.9)
    close(layer.running_mean, moving[0], rtol=1e-12)
    close(layer.running_var, moving[1], rtol=1e-12)


@many
@given(momentum=momenta, batches=st.integers(1, 5))
def test_scratch_and_framework_average_alike(momentum: float, batches: int) -> None:
    layers = [kind(3, momentum=momentum).double() for kind in KINDS]
    for batch in range(batches):
        for layer in layers:
            layer(draw(6, 3, 2, seed=batch) + batch)
    close(layers[0].running_mean, layers[1].running_mean)
    close(layers[0].running_var, layers[1].running_var)


# Which statistics predict


@many
@given(sizes=st.lists(st.integers(2, 12), min_size=1, max_size=6), kind=st.sampled_from(KINDS))
def test_pooled_moments_are_those_of_all_data_at_once(sizes: list[int], kind: type[BatchNorm]) -> None:
    x = draw(sum(sizes), 4, 3) * 2 + draw(sum(sizes), 1, 1, seed=5)
    layer = made(kind(4), 4).eval()
    with norms.pooling_moments(layer):
        for part in x.split(sizes):
            layer(part)
    weight, bias = (v.detach().numpy() for v in (layer.weight, layer.bias))
    expected = by_hand(x.numpy(), x.numpy(), weight, bias, layer.eps)
    with norms.precise_statistics(layer):
        close(layer.running_mean, expected["mean"], rtol=1e-12, atol=1e-12)
        close(layer.running_var, expected["var"], rtol=1e-12)
        close(layer(x), expected["y"])


def test_pooled_moments_survive_large_offsets() -> None:
    x = draw(300, 3) + 1e5
    pooled = PooledMoments()
    for part in x.split([100, 150, 50]):
        pooled.add(*norms.moments(part), len(part))
    mean, var = pooled.moments()
    close(mean, x.mean(0), rtol=1e-14)
    close(var, x.var(0, unbiased=False), rtol=1e-5)
    assert pooled.count == 300


def test_pooling_normalizes_by_batch_and_changes_no_running_average() -> None:
    net = nn.Sequential(made(BatchNorm(3), 3), made(ScratchBatchNorm(3), 3)).eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    x = draw(9, 3)
    with norms.pooling_moments(net):
        pooling = net(x)
    with norms.predict_with(net, "batch"):
        assert torch.equal(net(x), pooling)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_what_is_pooled_is_what_passed_inside_the_block() -> None:
    layer, x = BatchNorm(3).double().eval(), draw(9, 3)
    with norms.pooling_moments(layer):
        layer(x)
    with norms.predict_with(layer, "batch"):
        layer(draw(5, 3, seed=1))
    layer.train()(draw(5, 3, seed=2))
    layer.eval()
    with norms.precise_statistics(layer):
        close(layer.running_mean, x.mean(0))


def states(net: nn.Module) -> list[tuple[str, int, int]]:
    return [(n.statistics, id(n.running_mean), id(n.running_var)) for n in norms.batch_norms(net)]


@pytest.mark.parametrize("fails", [False, True])
def test_every_block_gives_back_what_it_found(fails: bool) -> None:
    net = nn.Sequential(BatchNorm(3), nn.Sequential(ScratchBatchNorm(3)), Affine(3)).double().eval()
    before = states(net)
    for block in (lambda: norms.predict_with(net, "batch"), lambda: norms.pooling_moments(net)):
        try:
            with block():
                net(draw(4, 3))
                assert states(net) != before
                if fails:
                    raise KeyboardInterrupt
        except KeyboardInterrupt:
            pass
        assert states(net) == before
    try:
        with norms.precise_statistics(net):
            assert states(net) != before
            if fails:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert states(net) == before
    buffers = dict(net.named_buffers())
    assert all(buffers[name].eq("var" in name).all() for name in buffers)


def test_precise_statistics_need_pooled_moments() -> None:
    net = nn.Sequential(BatchNorm(3), BatchNorm(3)).eval()
    before = states(net)
    with (
        pytest.raises(ValueError, match=r"no moments were pooled; run batches inside pooling_moments"),
        norms.precise_statistics(net),
    ):
        pass
    assert states(net) == before


def test_running_averages_are_saved_with_the_network() -> None:
    layer = BatchNorm(3)
    layer(draw(4, 3, dtype=torch.float32))
    copy = BatchNorm(3)
    copy.load_state_dict(layer.state_dict())
    assert torch.equal(copy.running_mean, layer.running_mean) and not layer.running_mean.eq(0).any()
    assert not any(value.requires_grad for value in copy.buffers())


# From recipes


@pytest.mark.parametrize(
    ("norm", "kind"),
    [
        *(("none", nn.Identity), ("affine", Affine)),
        *(("batch_norm", BatchNorm), ("batch_norm_scratch", ScratchBatchNorm)),
    ],
)
def test_recipes_name_their_normalization(norm: str, kind: type[nn.Module]) -> None:
    layer = norms.build(Recipe(norm=norm, eps=1e-3, momentum=0.9), 1, 7)
    assert type(layer) is kind
    if isinstance(layer, BatchNorm):
        assert (layer.eps, layer.momentum, len(layer.weight)) == (1e-3, 0.9, 7)
        assert layer.weight.eq(1).all() and layer.bias.eq(0).all()


@pytest.mark.parametrize(("kind", "unbiased"), [("unbiased", True), ("biased", False)])
def test_recipes_name_their_running_variance(kind: str, unbiased: bool) -> None:
    layer = norms.build(Recipe(norm="batch_norm_scratch", running_variance=kind), 1, 7)
    assert isinstance(layer, ScratchBatchNorm) and layer.unbiased == unbiased
