"""One operation in place of three: the framework's numbers and gradients, for every normalization."""

import copy

import pytest
import torch
from every_norm import CHANNELS, FORMULAS, NORMS, built, lasting
from test_norms import draw
from torch import Tensor, nn
from torch.nn import functional as F

from bnstudy.training import norms
from bnstudy.training.fused import sigmoid_of

POOLS = {None: lambda y: y, "avg": lambda y: F.avg_pool2d(y, 2), "max": lambda y: F.max_pool2d(y, 2)}
CASES = [
    ((9,), None),
    *(((8, 6, 4), pool) for pool in POOLS),
    *(((5, 7, 5), pool) for pool in ("avg", "max")),
]
cases = pytest.mark.parametrize(("sizes", "pool"), CASES)


def by_framework(norm: nn.Module, x: Tensor, pool: str | None = None) -> Tensor:
    return POOLS[pool](torch.sigmoid(norm(x)))


def both_ways(
    norm: nn.Module, x: Tensor, pool: str | None, dy_seed: int = 1
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Values, gradients and buffers of the one operation and of the framework's."""
    results = []
    for way in (sigmoid_of, by_framework):
        layer, leaf = copy.deepcopy(norm), x.detach().clone(memory_format=torch.preserve_format)
        leaf.requires_grad_()
        y = way(layer, leaf, pool)
        named = {key: value for key, value in layer.named_parameters() if value.requires_grad}
        gradients = torch.autograd.grad(
            y, [leaf, *named.values()], draw(*y.shape, seed=dy_seed, dtype=x.dtype)
        )
        results.append({"y": y.detach(), **dict(zip(["dx", *named], gradients, strict=True))})
        results[-1] |= {f"buffer {key}": value for key, value in layer.named_buffers()}
    return results[0], results[1]


def agree(found: dict[str, Tensor], expected: dict[str, Tensor], bound: float) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        scale = max(1.0, float(value.abs().max()))
        assert float((found[name] - value).abs().max()) <= bound * scale, name


@pytest.mark.parametrize("name", ["none", *NORMS])
@pytest.mark.parametrize("training", [True, False], ids=["training", "predicting"])
@cases
def test_fused_is_the_framework_s(
    name: str, training: bool, sizes: tuple[int, ...], pool: str | None
) -> None:
    norm = nn.Identity() if name == "none" else built(name, 2).double()
    norm(lasting(16, 2 * CHANNELS, *sizes[1:], seed=7) + 1)  # running averages that are not their start
    x = 2 * lasting(sizes[0], 2 * CHANNELS, *sizes[1:]) + 1
    agree(*both_ways(norm.train(training), x, pool), bound=1e-12)


@pytest.mark.parametrize("name", FORMULAS)
@cases
def test_fused_predicts_with_the_batch_and_recomputed_moments_alike(
    name: str, sizes: tuple[int, ...], pool: str | None
) -> None:
    norm = built(name, 2).double().eval()
    batches = [2 * lasting(n, 2 * CHANNELS, *sizes[1:], seed=n) + 1 for n in (6, 9)]
    other = copy.deepcopy(norm)
    with norms.predict_with(norm, "batch"):
        agree(*both_ways(norm, batches[0], pool), bound=1e-12)
    for layer, way in ((norm, sigmoid_of), (other, by_framework)):
        with norms.pooling_moments(layer):
            for batch in batches:
                way(layer, batch, pool)
    with norms.precise_statistics(norm), norms.precise_statistics(other):
        for key, value in other.named_buffers():
            torch.testing.assert_close(norm.get_buffer(key), value, rtol=1e-12, atol=1e-13)
        agree(*both_ways(norm, batches[1], pool), bound=1e-12)


@pytest.mark.parametrize("name", FORMULAS)
def test_fused_tracks_the_same_averages(name: str) -> None:
    layers = [built(name).double() for _ in range(2)]
    for layer, way in zip(layers, (sigmoid_of, by_framework), strict=True):
        norms.tracking(layer)
        for seed in range(3):
            way(layer, lasting(8, CHANNELS, 4, 4, seed=seed) + seed, "avg")
    for one, other in zip(*map(norms.running_norms, layers), strict=True):
        assert one.tracked.keys() == other.tracked.keys()
        for key, averages in other.tracked.items():
            for found, expected in zip(one.tracked[key], averages, strict=True):
                torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("fixed", [("weight",), ("bias",), ("weight", "bias")])
def test_what_is_fixed_gets_no_gradient(fixed: tuple[str, ...]) -> None:
    norm = built("batch_norm").double()
    for name in fixed:
        norm.get_parameter(name).requires_grad_(False)
    found, expected = both_ways(norm, lasting(8, CHANNELS, 4, 4), "max")
    agree(found, expected, bound=1e-12)
    assert not set(fixed) & found.keys()


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_seen_and_harms_no_other_channel(name: str, value: float) -> None:
    x = lasting(8, CHANNELS, 4, 4, dtype=torch.float32)
    clean, _ = both_ways(built(name), x, "avg")
    x[2, 1, 0, 0] = value
    found, _ = both_ways(built(name), x, "avg")
    others = [c for c in range(CHANNELS) if c != 1]
    for key in ("y", "dx"):
        assert torch.equal(found[key][:, others], clean[key][:, others]), key
    if value != value:
        assert found["y"][2, 1].isnan().any() and found["dx"][2, 1].isnan().any()


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("value", [0.1, 1e4])
def test_constant_channels_and_offsets_stay_finite(name: str, value: float) -> None:
    x = lasting(16, CHANNELS, 4, 4, dtype=torch.float32) + value
    x[:, 2] = value
    found, _ = both_ways(built(name), x, "avg")
    assert all(values.isfinite().all() for values in found.values())


def test_one_value_a_channel() -> None:
    """Refused, but by the textbook's layer, which lets exactly no gradient through."""
    x = draw(1, CHANNELS, dtype=torch.float32)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        sigmoid_of(built("batch_norm"), x)
    found, _ = both_ways(built("batch_norm_scratch", running_variance="biased"), x, None)
    assert found["dx"].eq(0).all() and found["bias"].ne(0).all()


def test_noise_is_drawn_once() -> None:
    norm = built("shifting", 2)
    sigmoid_of(norm, lasting(8, 2 * CHANNELS, 4, 4, dtype=torch.float32), "avg")
    assert isinstance(norm, norms.ShiftingNoise) and norm.steps == 1
