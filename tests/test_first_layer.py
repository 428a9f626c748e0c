"""The first layer at once is the layer by its parts: values, gradients and bits."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from bnstudy.recipe import BN_LENET
from bnstudy.training import first_layer, nets, own_images
from bnstudy.training.packed import PackedNet

RECIPES: dict[str, Mapping[str, Any]] = {
    "bn": {},
    "scratch": {"norm": "batch_norm_scratch"},
    "mean only": {"norm": "mean_only"},
    "affine": {"norm": "affine"},
    "none": {"norm": "none"},
    "padded": {"padding": 2},
    "max": {"pool": "max"},
    "ghost": {"ghost_size": 16, "drop_last": True},
    "no bias": {"bias_before_norm": False},
}


def built(changes: Mapping[str, Any], trials: int = 3, precision: torch.dtype = torch.float64) -> PackedNet:
    recipe = BN_LENET.replace(**changes)
    return nets.build([recipe] * trials, list(range(trials)), fused=True).to(precision)


def parted(net: PackedNet) -> PackedNet:
    """The same network with its first layer by its parts."""
    assert net.first is not None
    net.first = None  # type: ignore[assignment]
    return net


def pixels(precision: torch.dtype, trials: int = 1, images: int = 21) -> Tensor:
    """More images than two chunks hold, and not a multiple of one; shared, or of so many trials."""
    assert images % own_images.CHUNK
    generators = (torch.Generator().manual_seed(7 + trial) for trial in range(trials))
    each = [torch.rand(images, 28, 28, generator=generator) for generator in generators]
    return torch.stack(each, dim=1).to(precision)


def trained(net: PackedNet, x: Tensor) -> list[Tensor]:
    """Logits, the gradients of a loss, the running averages it leaves, and what it predicts then."""
    logits = net(x)
    loss = (logits.softmax(-1)[..., 3] * torch.arange(1, len(x) + 1)[:, None]).sum()
    gradients = torch.autograd.grad(loss, list(net.parameters()), allow_unused=True)
    left = [buffer.clone() for buffer in net.buffers()]
    net.eval()
    with torch.no_grad():
        return [logits.detach(), *(g for g in gradients if g is not None), *left, net(x)]


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("sharing", [True, False], ids=["shared", "own"])
def test_it_computes_what_its_parts_compute(name: str, sharing: bool) -> None:
    x = pixels(torch.float64, 1 if sharing else 3)
    at_once, by_parts = trained(built(RECIPES[name]), x), trained(parted(built(RECIPES[name])), x)
    assert len(at_once) == len(by_parts) > 10
    for found, wanted in zip(at_once, by_parts, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", ["bn", "none", "padded"])
@pytest.mark.parametrize("trials", [2, 5, 8, 16])
@pytest.mark.parametrize("sharing", [True, False], ids=["shared", "own"])
def test_a_trial_s_bits_do_not_depend_on_the_size_of_its_pack(name: str, trials: int, sharing: bool) -> None:
    def gradients_of_the_second(net: PackedNet) -> list[Tensor]:
        norm, conv = net.conv1_norm, net.conv1
        x = pixels(torch.float32, 1 if sharing else net.trials)
        y = first_layer.convolve(norm, conv, x, "avg").unflatten(1, (net.trials, 6))
        leaves = [p for p in (conv.weight, conv.bias, *norm.parameters()) if p is not None]
        found = torch.autograd.grad((y.square() * y.detach().cos()).sum(), leaves)
        per_trial = [g.reshape(net.trials, -1)[1] for g in found]
        return [y[:, 1].detach(), *per_trial]

    mates = [gradients_of_the_second(built(RECIPES[name], n, torch.float32)) for n in (trials, 3)]
    for here, there in zip(*mates, strict=True):
        assert torch.equal(here, there)


def test_pixels_that_need_a_gradient_take_the_parts() -> None:
    """Only the framework's operations lead back to them."""
    x = pixels(torch.float64).requires_grad_()
    weights = torch.randn(10, generator=torch.Generator().manual_seed(8)).double()  # logits alone sum to 0
    found, wanted = (
        torch.autograd.grad((net(x).square() * weights).sum(), x)[0]
        for net in (built({}), nets.build([BN_LENET] * 3, [0, 1, 2]).double())
    )
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-11)
    assert found.abs().sum() > 0


def test_networks_that_it_is_not_made_for_keep_their_parts() -> None:
    for changes in ({"norm": "layer_norm"}, {"norm_place": "after"}, {"activation": "relu"}):
        recipe = BN_LENET.replace(**changes)
        assert nets.build([recipe] * 2, [0, 1], fused=True).first is None
