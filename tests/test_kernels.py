"""The loops do what the framework does, to rounding, and no channel knows how many stand beside it."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from bnstudy.training import fused, kernels

DTYPES = {np.float32: 3e-7, np.float64: 1e-15}
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda kind: kind.__name__)


def sigmoid_of(values: np.ndarray) -> np.ndarray:
    """The kernel's sigmoid of a vector."""
    row, out = values.reshape(1, 1, -1), np.empty((1, 1, len(values)), values.dtype)
    zero, one = np.zeros(len(values), values.dtype), np.ones(len(values), values.dtype)
    kernels.activate(row, zero, one, zero, out)
    return out.reshape(-1)


def over_columns(values: np.ndarray, channels: int) -> np.ndarray:
    """The sums of each channel's entries."""
    sums = np.empty(channels)
    kernels.over_columns(values, channels, sums)
    return sums


@every_dtype
def test_sigmoid_is_the_formula_to_rounding(dtype: type) -> None:
    x = np.concatenate([np.linspace(-86, 100, 1_000_001), np.geomspace(1e-30, 1e-3, 1001)]).astype(dtype)
    wanted = 1 / (1 + np.exp(-x.astype(np.float64)))
    assert np.abs(sigmoid_of(x) / wanted - 1).max() < DTYPES[dtype]


def test_sigmoid_ends_at_zero_and_one_and_lets_nan_through() -> None:
    x = np.array([-np.inf, -3e38, -89.5, 17.5, 89.5, 3e38, np.inf, np.nan], np.float32)
    found = sigmoid_of(x)
    assert found[:7].tolist() == [0, 0, 0, 1, 1, 1, 1] and np.isnan(found[7])


@every_dtype
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_moments_are_those_of_a_slow_float64_formula(dtype: type, offset: float) -> None:
    x = np.random.default_rng(1).normal(offset, 0.5, (37, 5, 4, 3)).astype(dtype)
    mean, var, count = fused.moments([x.reshape(37, 5, 12)], 3)
    assert count == 37 * 5 * 4
    exact = x.astype(np.float64)
    np.testing.assert_allclose(mean, exact.mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(var, exact.var((0, 1, 2)), rtol=1e-5)


def test_moments_of_a_constant_channel_have_no_variance() -> None:
    mean, var, _ = fused.moments([np.full((9, 1, 2), 1234.567, np.float32)], 2)
    assert var.tolist() == [0, 0] and mean.tolist() == [np.float32(1234.567)] * 2


@every_dtype
@pytest.mark.parametrize("size", [(6, 8), (5, 7)], ids=["even", "odd"])
@pytest.mark.parametrize("pool", [None, "avg", "max"])
def test_values_and_gradients_are_the_framework_s(
    dtype: type, size: tuple[int, int], pool: str | None
) -> None:
    draw = np.random.default_rng(2)
    channels, (height, width) = 3, size
    x = draw.normal(size=(4, height, width, channels)).astype(dtype)
    x[0, :2, :2] = 50  # saturated: every pooled activation equals every other
    center, scale, shift = draw.normal(size=(3, channels)).astype(dtype)
    tensors = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (x, scale, shift)]
    y = ((tensors[0] - torch.tensor(center)) * tensors[1] + tensors[2]).to(torch.tensor(x).dtype).sigmoid()
    y = y.permute(0, 3, 1, 2)
    if pool:
        y = F.avg_pool2d(y, 2) if pool == "avg" else F.max_pool2d(y, 2)
    g = draw.normal(size=y.permute(0, 2, 3, 1).shape).astype(dtype)
    wanted = torch.autograd.grad(y, tensors, torch.tensor(g).permute(0, 3, 1, 2))

    rows, columns = x.reshape(4, height, -1), [np.tile(v, width) for v in (center, scale, shift)]
    out = np.empty((4, g.shape[1], g.shape[2] * channels), dtype)
    fill = {"avg": kernels.activate_and_average, "max": kernels.activate_and_choose}
    if pool:
        fill[pool](rows, *columns, channels, out)
    else:
        kernels.activate(rows, *columns, out)
    tolerance = 10 * DTYPES[dtype]
    np.testing.assert_allclose(out.reshape(g.shape), y.detach().permute(0, 2, 3, 1), tolerance, tolerance)

    dx, sums = np.full_like(rows, np.nan), np.zeros((2, rows.shape[2]))
    number = {None: 0, "avg": 1, "max": 2}[pool]
    kernels.slopes(rows, *columns, channels, number, g.reshape(out.shape), dx, *sums)
    d_scale, d_shift = (over_columns(values, channels) for values in sums)
    close = {"rtol": 20 * tolerance, "atol": 20 * tolerance}
    np.testing.assert_allclose(dx.reshape(x.shape) * scale, wanted[0], **close)
    np.testing.assert_allclose(d_scale, wanted[1], **close)
    np.testing.assert_allclose(d_shift, wanted[2], **close)


@pytest.mark.parametrize("channels", [1, 5, 16, 31])
def test_a_channel_s_bits_do_not_depend_on_its_neighbours(channels: int) -> None:
    x = np.random.default_rng(3).normal(size=(20, 6, 6, 32)).astype(np.float32)
    g = np.random.default_rng(4).normal(size=(20, 3, 3, 32)).astype(np.float32)
    found = []
    for part in (x, x[..., :channels]):
        count = part.shape[-1]
        rows = np.ascontiguousarray(part).reshape(20, 6, -1)
        mean, var, _ = fused.moments([rows], count)
        columns = [np.tile(v, 6).astype(np.float32) for v in (mean, 1 / var, mean * var)]
        out, dx = np.empty((20, 3, 3 * count), np.float32), np.empty_like(rows)
        kernels.activate_and_average(rows, *columns, count, out)
        slope = np.ascontiguousarray(g[..., :count]).reshape(20, 3, -1)
        sums = np.zeros((2, rows.shape[2]))
        kernels.slopes(rows, *columns, count, 1, slope, dx, *sums)
        shaped = [v.reshape(*v.shape[:2], -1, count) for v in (out, dx)]
        found.append(
            [
                v[..., :channels].tobytes()
                for v in (mean, var, *(over_columns(v, count) for v in sums), *shaped)
            ]
        )
    assert found[0] == found[1]


def test_patches_are_what_each_kernel_element_sees() -> None:
    x = torch.randn(3, 2, 7, 6, generator=torch.Generator().manual_seed(5))
    columns = np.full((2 * 9 + 1, 3, 5, 4), np.nan, np.float32)
    kernels.patches(x.numpy(), 3, columns)
    wanted = F.unfold(x, 3).view(3, 18, 5, 4).transpose(0, 1)
    assert torch.equal(torch.from_numpy(columns[:-1]), wanted) and (columns[-1] == 1).all()


@every_dtype
@pytest.mark.parametrize("size", [(28, 28), (9, 6)])
def test_products_of_patches_are_their_matrix_product(dtype: type, size: tuple[int, int]) -> None:
    x = np.random.default_rng(6).random((7, *size)).astype(dtype)
    columns = np.empty((26, 7, size[0] - 4, size[1] - 4), dtype)
    kernels.patches(x[:, None], 5, columns)
    flat = columns.reshape(26, -1).astype(np.float64)
    gram = np.full((26, 26), np.nan)
    kernels.patch_products(x, 5, gram)
    np.testing.assert_allclose(gram, flat @ flat.T, rtol=10 * DTYPES[dtype])
