"""Sums are right, and to the bit the same for a column wherever it stands."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bnstudy.training.sums import over_batch, over_channels

SHAPES = [(2, 3), (256, 12), (7, 250), (88, 18, 24, 24), (64, 6, 5), (130, 1)]


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def channels_last(x: Tensor) -> Tensor:
    return x.movedim(1, -1).contiguous().movedim(-1, 1)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("layout", [torch.Tensor.contiguous, channels_last])
def test_sums_are_right(shape: tuple[int, ...], layout: type) -> None:
    x = layout(draw(*shape, dtype=torch.float64))
    axes = [axis for axis in range(x.dim()) if axis != 1]
    torch.testing.assert_close(over_batch(x), x.sum(axes), rtol=1e-12, atol=1e-12)


def test_sums_are_added_in_pairs() -> None:
    """A running total of a million float32 numbers is off by 1e-4, a sum in pairs by its last digits."""
    x = draw(1_000_000, 3).abs()
    error = over_batch(x).double() / x.double().sum(0) - 1
    assert error.abs().max() < 1e-6


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 600), left=st.integers(0, 70), right=st.integers(0, 70), channels=st.integers(1, 20)
)
def test_a_column_has_the_same_bits_in_every_place(rows: int, left: int, right: int, channels: int) -> None:
    x = draw(rows, channels)
    wide = torch.cat([draw(rows, left, seed=1), x, draw(rows, right, seed=2)], dim=1)
    assert torch.equal(over_batch(wide)[left : left + channels], over_batch(x))


def test_values_are_spread_over_the_batch() -> None:
    values = draw(3)
    spread = over_channels(values, torch.Size([5, 3, 2, 4]))
    assert torch.equal(spread, values.view(1, 3, 1, 1).expand(5, 3, 2, 4))
    assert torch.equal(over_channels(values, torch.Size([5, 3])), values.expand(5, 3))


@pytest.mark.parametrize("shape", [(70, 3), (5, 2, 4), (3, 2, 3, 5)])
def test_each_is_the_other_s_gradient(shape: tuple[int, ...]) -> None:
    x = draw(*shape, dtype=torch.float64).requires_grad_()
    values = draw(shape[1], dtype=torch.float64).requires_grad_()

    def spread(v: Tensor) -> Tensor:
        return over_channels(v, x.shape)

    assert torch.autograd.gradcheck(over_batch, x) and torch.autograd.gradcheck(spread, values)
    assert torch.autograd.gradgradcheck(over_batch, x) and torch.autograd.gradgradcheck(spread, values)
