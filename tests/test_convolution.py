"""Our own loops of the second convolution are the framework's, and so are their gradients."""

from collections.abc import Iterator

import pytest
import torch
from torch.nn import functional as F

from bnstudy.recipe import BN_LENET, LENET, Recipe
from bnstudy.training import convolution, nets


def drawn(*shape: int, dtype: torch.dtype, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("side", [8, 10, 12, 14, 15, 20])
@pytest.mark.parametrize("width", [9, 13])
@pytest.mark.parametrize("biased", [True, False])
def test_values_and_gradients_are_the_framework_s(
    dtype: torch.dtype, side: int, width: int, biased: bool
) -> None:
    """Places by 5, by 8 and one by one, below each other and beside each other."""
    trials = 3
    x = drawn(5, trials * 6, side, width, dtype=dtype, seed=1)
    weight = drawn(trials, 16, 6, 5, 5, dtype=dtype, seed=2)
    bias = drawn(trials * 16, dtype=dtype, seed=3) if biased else None
    leaves = [x, weight, *([bias] if bias is not None else [])]
    wanted = F.conv2d(x, weight.flatten(0, 1), bias, groups=trials)
    found = convolution.convolve(x, weight, bias)
    slope = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64).to(
        dtype
    )
    tolerance = 1e-4 if dtype == torch.float32 else 1e-11
    torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance)
    for mine, theirs in zip(
        torch.autograd.grad(found, leaves, slope), torch.autograd.grad(wanted, leaves, slope), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=tolerance, atol=tolerance)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As in a worker: the framework's threads would each sum up some of the images."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() != "AVX512", reason="the framework sums otherwise"
)
@pytest.mark.parametrize("side", [12, 14])
def test_it_rounds_as_the_framework_does(side: int) -> None:
    """So that what was recorded with the framework's own stays what it is, to the last bit."""
    trials, dtype = 3, torch.float32
    x = drawn(20, trials * 6, side, side, dtype=dtype, seed=1).detach()
    x = x.contiguous(memory_format=torch.channels_last)
    weight = drawn(trials, 16, 6, 5, 5, dtype=dtype, seed=2)
    bias = drawn(trials * 16, dtype=dtype, seed=3)
    wanted = F.conv2d(x, weight.flatten(0, 1), bias, groups=trials)
    found = convolution.convolve(x, weight, bias)
    slope = drawn(*wanted.shape, dtype=dtype, seed=4).detach().contiguous(memory_format=torch.channels_last)
    assert torch.equal(found, wanted)
    for mine, theirs in zip(
        torch.autograd.grad(found, [weight, bias], slope),
        torch.autograd.grad(wanted, [weight, bias], slope),
        strict=True,
    ):
        assert torch.equal(mine, theirs)


def test_only_its_own_shape_fits() -> None:
    assert convolution.fits(torch.empty(2, 16, 6, 5, 5), 1, 0)
    for shape in ((2, 15, 6, 5, 5), (2, 16, 5, 5, 5), (2, 16, 6, 3, 3)):
        assert not convolution.fits(torch.empty(shape), 1, 0)
    assert not convolution.fits(torch.empty(2, 16, 6, 5, 5), 2, 0)
    assert not convolution.fits(torch.empty(2, 16, 6, 5, 5), 1, 1)


@pytest.mark.parametrize("recipe", [BN_LENET, LENET], ids=["unpadded", "padded"])
@pytest.mark.parametrize("fused", [True, False])
def test_the_second_convolution_of_a_fused_lenet_takes_it(
    recipe: Recipe, fused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    gradient = convolution._input_gradient
    monkeypatch.setattr(convolution, "_input_gradient", lambda *args: (calls.append(1), gradient(*args))[1])  # type: ignore[func-returns-value]
    net = nets.build([recipe] * 2, [0, 0], fused=fused)
    torch.autograd.grad(net(torch.rand(3, 1, 28, 28)).sum(), list(net.parameters()))
    assert len(calls) == fused
