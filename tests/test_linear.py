"""Linear layers with each trial's numbers together are those with trials side by side: values, gradients and
bits."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from bnstudy.recipe import BN_LENET
from bnstudy.training import data, linear, nets, probes
from bnstudy.training.packed import PackedNet

RECIPES: dict[str, Mapping[str, Any]] = {
    "bn": {},
    "scratch": {"norm": "batch_norm_scratch"},
    "mean only": {"norm": "mean_only"},
    "affine": {"norm": "affine"},
    "none": {"norm": "none"},
    "padded": {"padding": 2},
    "max": {"pool": "max"},
    "one site": {"norm_at": "fc1"},
    "a norm at the end": {"norm_at": "fc1,fc3"},
    "no bias": {"bias_before_norm": False},
    "dropout": {"dropout": 0.5, "dropout_at": "after_norms"},
    "dropout before": {"dropout": 0.5, "dropout_at": "before_norm"},
}


def built(
    changes: Mapping[str, Any], *, apart: bool = True, trials: int = 3, precision: torch.dtype = torch.float64
) -> PackedNet:
    net = nets.build([BN_LENET.replace(**changes)] * trials, list(range(trials)), fused=True).to(precision)
    assert net.apart
    net.apart = apart
    return net


def pixels(images: int, precision: torch.dtype) -> Tensor:
    return torch.rand(images, 1, 28, 28, generator=torch.Generator().manual_seed(7)).to(precision)


def trained(net: PackedNet, x: Tensor) -> list[Tensor]:
    """Logits, the gradients of a loss, the running averages it leaves, and what it predicts then."""
    logits = net(x)
    loss = F.cross_entropy(logits.flatten(0, 1), torch.arange(len(x) * net.trials) % 10)
    gradients = torch.autograd.grad(loss, list(net.parameters()))
    left = [buffer.clone() for buffer in net.buffers()]
    net.eval()
    with torch.no_grad():
        return [logits.detach(), *gradients, *left, net(x)]


@pytest.mark.parametrize("name", RECIPES)
def test_it_computes_what_layers_and_what_follows_them_compute(name: str) -> None:
    x = pixels(21, torch.float64)
    found, wanted = (trained(built(RECIPES[name], apart=apart), x) for apart in (True, False))
    assert len(found) == len(wanted) > 10
    for here, there in zip(found, wanted, strict=True):
        torch.testing.assert_close(here, there, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["bn", "none", "padded"])
@pytest.mark.parametrize("images", [256, 80, 37, 2])
def test_its_bits_are_those_of_layers_and_what_follows_them(name: str, images: int) -> None:
    """Records made with trials side by side are made again to the last bit."""
    x = pixels(images, torch.float32)
    found, wanted = (trained(built(RECIPES[name], apart=a, precision=x.dtype), x) for a in (True, False))
    assert all(torch.equal(here, there) for here, there in zip(found, wanted, strict=True))


@pytest.mark.parametrize("trials", [1, 2, 5, 8, 16])
def test_a_trial_s_bits_do_not_depend_on_the_size_of_its_pack(trials: int) -> None:
    def gradients_of_the_first(net: PackedNet) -> list[Tensor]:
        x = torch.randn(80, 256, generator=torch.Generator().manual_seed(3)).expand(net.trials, -1, -1)
        x = x.contiguous().requires_grad_()
        layer, norm = net.fc1, net.fc1_norm
        y = linear.sigmoid_of(norm, layer, x)
        leaves = [x, layer.weight, layer.bias, *norm.parameters()]
        found = torch.autograd.grad((y.square() * y.detach().cos()).sum(), leaves)
        return [y[0].detach(), *(g.reshape(net.trials, -1)[0] for g in found)]

    mates = [gradients_of_the_first(built({}, trials=n, precision=torch.float32)) for n in (trials, 3)]
    for here, there in zip(*mates, strict=True):
        assert torch.equal(here, there)


def test_trials_apart_and_beside_are_the_same_numbers_and_gradients() -> None:
    x = torch.randn(4, 3 * 5, 2, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    y = linear.apart(x, 3)
    assert torch.equal(y, x.reshape(4, 3, -1).transpose(0, 1))
    assert torch.equal(linear.beside(y), x.flatten(1))
    g = torch.randn(y.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    assert torch.equal(torch.autograd.grad(y, x, g)[0], g.transpose(0, 1).reshape(x.shape))


@pytest.mark.parametrize(
    "changes", [{"norm": "layer_norm"}, {"ghost_size": 16}], ids=["by image", "some images at a time"]
)
def test_networks_that_it_is_not_made_for_call_each_layer(
    changes: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linear, "sigmoid_of", lambda *_: pytest.fail("not made for this"))
    built(changes)(pixels(32, torch.float64))


def test_others_never_look_for_it() -> None:
    for changes in ({"norm_place": "after"}, {"activation": "relu"}):
        recipe = BN_LENET.replace(**changes)
        assert not nets.build([recipe] * 2, [0, 1], fused=True).apart


def test_a_batch_of_one_is_left_to_the_normalization() -> None:
    """Its gradient through a mean of one value is 0 by the normalization's own operations alone."""
    assert not linear.fits(built({}).fc1_norm, pixels(1, torch.float64))


def test_what_layers_see_is_found_where_nothing_calls_them() -> None:
    """Hooks of the linear layers fire in the copy that the watcher of shifts makes."""
    recipe = BN_LENET.replace(probes="shift")
    images = data.load("sample")
    net = nets.build([recipe] * 2, [0, 1], fused=True)
    (watcher,) = (w for w in probes.watchers(net, images, recipe) if type(w).__name__ == "Shift")
    seen, _ = watcher._look(torch.arange(64))  # type: ignore[attr-defined]
    assert len(seen) == 4 and net.apart
