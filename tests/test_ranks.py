"""Rank transforms by sorting slowly and in prediction, and transforms after normalization."""

import math
from statistics import NormalDist

import numpy as np
import pytest
import torch
from every_norm import CHANNELS, built, run
from scipy import stats
from test_norms import close, draw

from bnstudy.training import norms, ranks
from bnstudy.training.norms import RankNorm, ScratchBatchNorm, SparseBatchNorm, YeoJohnson
from bnstudy.training.ranks import mean_ranks
from bnstudy.training.transforms import LEAST_POWER, MOST_POWER, likeliest_power, yeo_johnson

QUANTILE = {
    True: np.vectorize(NormalDist().inv_cdf),
    False: lambda u: math.sqrt(12) * (u - 0.5),
}
either = pytest.mark.parametrize("gaussian", [True, False])


@either
@pytest.mark.parametrize("sizes", [(9,), (4, 3, 2), (50, 1)])
@pytest.mark.parametrize("ties", [True, False])
def test_values_become_the_quantiles_of_their_ranks(
    gaussian: bool, sizes: tuple[int, ...], ties: bool
) -> None:
    x = draw(sizes[0], 5, *sizes[1:])
    x = (2 * x).round() if ties else x
    y = RankNorm(5, gaussian=gaussian).double()(x).detach()
    for c in range(5):
        places = stats.rankdata(x[:, c].numpy())  # ties: their mean
        expected = QUANTILE[gaussian]((places - 0.5) / places.size).reshape(x[:, c].shape)
        np.testing.assert_allclose(y[:, c].numpy(), expected, rtol=1e-6, atol=1e-6)


@either
def test_any_growing_function_of_the_input_gives_the_same(gaussian: bool) -> None:
    x, layer = draw(40, 5), RankNorm(5, gaussian=gaussian).double()
    close(layer(x.exp()), layer(x))
    close(layer(-x), -layer(x))


@either
def test_the_gradient_is_that_of_a_gaussian_s_transform(gaussian: bool) -> None:
    x, dy = 2 * draw(30, CHANNELS) + 1, draw(30, CHANNELS, seed=1)
    layer = built("rank_gaussian" if gaussian else "rank_uniform").double()
    normal = ScratchBatchNorm(CHANNELS).double()
    leaf = x.clone().requires_grad_()
    z = normal(leaf)
    soft = z if gaussian else math.sqrt(12) * (torch.special.ndtr(z) - 0.5)
    (expected,) = torch.autograd.grad(layer.get_parameter("weight") * soft, leaf, dy)
    found = run(layer, x, dy)
    close(found["dx"], expected)
    close(found["d_bias"], dy.sum(0))
    ranked = (found["y"] - layer.get_parameter("bias")) / layer.get_parameter("weight")
    close(found["d_weight"], (dy * ranked).sum(0))


def test_ranks_and_distributions_are_counts() -> None:
    """On a GPU the framework sorts and searches: the same counts."""
    rows = (3 * draw(4, 50)).round() / 2
    rows[1] = rows[1, 0]
    place, function = mean_ranks(rows)
    points = ranks.grid().double().repeat(4, 1)
    for found, values in ((place, rows), (function, points)):
        here, there = values.unsqueeze(2), rows.unsqueeze(1)
        close(found, ((here > there).double() + (here == there).double() / 2).mean(2))
        close(ranks._below(rows.sort(1).values, values.contiguous()), found)


@pytest.mark.parametrize("skewed", [False, True])
@either
def test_prediction_is_by_the_distribution_of_all_batches(gaussian: bool, skewed: bool) -> None:
    """Within what 6,000 values and a grid of 64 points a deviation can tell; the tails end at 0.001.

    Skewed values come as one batch: the deviations of several differ, and their functions are averaged.
    """
    x = draw(6000, 3).exp() if skewed else draw(6000, 3)
    x, parts = 5 * x + 100, [6000] if skewed else [1500] * 4
    layer = RankNorm(3, gaussian=gaussian).double().eval()
    with norms.pooling_moments(layer):
        for part in x.split(parts):
            layer(part)
    with norms.precise_statistics(layer):
        y = layer(x).detach()
        probe = (x[:50] + 0.3).requires_grad_()
        (slope,) = torch.autograd.grad(layer(probe).sum(), probe)
        assert (slope >= 0).all() and (slope > 0).float().mean() > 0.9, "prediction has a gradient of its own"
    u = np.apply_along_axis(stats.rankdata, 0, x.numpy()) - 0.5
    u /= len(x)
    inner = (u > 0.01) & (u < 0.99)
    np.testing.assert_allclose(y.numpy()[inner], QUANTILE[gaussian](u)[inner], atol=0.08)
    limit = float(QUANTILE[gaussian](0.999))
    assert float(y.abs().max()) <= limit + 1e-6 < math.inf


@either
def test_far_away_and_unknown_values_in_prediction(gaussian: bool) -> None:
    layer = RankNorm(2, gaussian=gaussian).eval()
    y = layer(torch.tensor([[1e6, float("nan")], [float("inf"), -1e6]]))
    assert y[0, 0] == y[1, 0] == -y[1, 1] and y[0, 1].isnan()


def test_sparsified_activations_are_half_zero() -> None:
    x = 2 * draw(4000, 5) + 1
    y = SparseBatchNorm(5).double()(x).detach()
    normal = ScratchBatchNorm(5).double()(x).detach()
    assert float(y.eq(0).double().mean()) == pytest.approx(0.5, abs=0.02)
    assert torch.equal(y[y != 0], normal[y != 0]) and float(normal[y == 0].abs().max()) <= 0.6745


@pytest.mark.parametrize("power", [LEAST_POWER, 0.5, 1.0, 1.3, MOST_POWER])
def test_the_power_transform_is_scipy_s(power: float) -> None:
    z = 3 * draw(20, 4)
    expected = stats.yeojohnson(z.numpy().ravel(), lmbda=power).reshape(z.shape)
    close(yeo_johnson(z, torch.full((4,), power, dtype=torch.float64)), expected)


def test_the_power_is_one_newton_step_of_the_likelihood() -> None:
    z = (
        ScratchBatchNorm(3)
        .double()(torch.cat([draw(500, 1).exp(), draw(500, 1), -draw(500, 1).exp()], 1))
        .detach()
    )

    def loss(power: float, values: np.ndarray) -> float:
        return -stats.yeojohnson_llf(power, values) / len(values)

    for c, found in enumerate(likeliest_power(z)):
        h, values = 1e-3, z[:, c].numpy()
        low, mid, high = (loss(1 + step, values) for step in (-h, 0, h))
        step = (high - low) / (2 * h) / ((high - 2 * mid + low) / h**2)
        assert float(found) == pytest.approx(np.clip(1 - step, LEAST_POWER, MOST_POWER), abs=1e-3)
        assert loss(float(found), values) <= mid + 1e-3
    assert likeliest_power(z)[0] < 0.9 < likeliest_power(z)[1] < 1.1 < likeliest_power(z)[2]


def test_power_transformed_channels_are_less_skewed() -> None:
    x = draw(2000, 2).mul(0.5).exp()
    skew = [
        float(stats.skew(layer(x).detach().numpy()[:, 0]))
        for layer in (ScratchBatchNorm(2).double(), YeoJohnson(2).double())
    ]
    assert abs(skew[1]) < 0.5 * abs(skew[0])
