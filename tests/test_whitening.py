"""Whitening makes channels uncorrelated, by linear algebra done another way."""

import pytest
import torch
from every_norm import built
from test_norms import close, draw
from torch import Tensor

from bnstudy.training import norms
from bnstudy.training.norms import ScratchBatchNorm, Whitening
from bnstudy.training.whitening import NEWTON_STEPS, SHRINKAGE

D = 6


def mixed(batch: int, *places: int, seed: int = 0) -> Tensor:
    """Correlated channels of unequal spread and mean."""
    mixing = draw(D, D, seed=40) + torch.eye(D)
    return torch.einsum("cd,bd...->bc...", mixing, draw(batch, D, *places, seed=seed)) + draw(
        1, D, *[1] * len(places), seed=41
    )


def covariance(x: Tensor) -> Tensor:
    return torch.cov(x.movedim(1, 0).flatten(1), correction=0)


def regularized(x: Tensor, eps: float) -> Tensor:
    cov = covariance(x)
    return cov + (eps + SHRINKAGE * cov.diagonal().mean()) * torch.eye(len(cov)).double()


@pytest.mark.parametrize("sizes", [(200,), (40, 3, 2)])
@pytest.mark.parametrize("method", ["cholesky", "newton"])
def test_whitening_is_its_formula(sizes: tuple[int, ...], method: str) -> None:
    x = mixed(*sizes)
    cov = regularized(x, 1e-3)
    if method == "cholesky":
        root = torch.linalg.inv(torch.linalg.cholesky(cov))
    else:  # Newton's iteration on each eigenvalue by itself
        values, vectors = torch.linalg.eigh(cov)
        scaled, power = values / values.sum(), torch.ones(D).double()
        for _ in range(NEWTON_STEPS):
            power = (3 * power - power**3 * scaled) / 2
        root = vectors @ torch.diag(power / values.sum().sqrt()) @ vectors.T
    centred = x - x.movedim(1, 0).flatten(1).mean(1).view(1, -1, *[1] * (x.dim() - 2))
    layer = Whitening(1, D, method=method, eps=1e-3).double()
    close(layer(x), torch.einsum("cd,bd...->bc...", root, centred))


@pytest.mark.parametrize("sizes", [(400,), (50, 3, 3)])
def test_whitened_channels_are_uncorrelated_with_variance_one(sizes: tuple[int, ...]) -> None:
    """Up to the shrinkage, which leaves the least direction of this mixture a few per cent short."""
    found = covariance(Whitening(1, D).double()(mixed(*sizes)).detach())
    assert float((found - torch.eye(D)).abs().max()) < 0.1
    newton = covariance(Whitening(1, D, method="newton").double()(draw(2000, D)).detach())
    assert float((newton - torch.eye(D)).abs().max()) < 0.02, (
        "where all directions are alike it has converged"
    )


def test_groups_of_one_channel_are_batch_normalization() -> None:
    """But for the shrinkage: each variance is a thousandth larger."""
    x = mixed(30, 2)
    plain = ScratchBatchNorm(D, eps=1e-5).double()(x)
    for method in ("cholesky", "newton"):
        whitened = Whitening(1, D, groups=D, method=method).double()(x)
        close(whitened, plain, rtol=1e-3, atol=1e-6)


def test_groups_are_whitened_apart() -> None:
    x = mixed(50)
    parts = [Whitening(1, 3).double()(part) for part in x.chunk(2, dim=1)]
    close(Whitening(1, D, groups=2).double()(x), torch.cat(parts, dim=1))


def test_newton_s_root_turns_with_its_input_and_cholesky_s_ignores_lower_mixtures() -> None:
    x = mixed(100)
    turn = torch.linalg.qr(draw(D, D, seed=8))[0]
    newton = Whitening(1, D, method="newton").double()
    close(newton(x @ turn.T), newton(x) @ turn.T, rtol=1e-8, atol=1e-9)
    lower = torch.tril(draw(D, D, seed=9), -1) / 4 + torch.eye(D)
    whitened = [Whitening(1, D).double()(values) for values in (x, x @ lower.T)]
    close(*whitened, rtol=0.05, atol=0.05)  # up to the shrinkage


@pytest.mark.parametrize("method", ["cholesky", "newton"])
@pytest.mark.parametrize("images", [2, 64])
def test_fewer_images_than_features(method: str, images: int) -> None:
    """64 images of 120 features: finite outputs and gradients in float32, none of them large."""
    x = draw(images, 120, dtype=torch.float32).requires_grad_()
    layer = Whitening(1, 120, method=method)
    y = layer(x)
    (dx,) = torch.autograd.grad(y.square().sum() + (y * draw(*y.shape, seed=1, dtype=torch.float32)).sum(), x)
    assert y.isfinite().all() and dx.isfinite().all()
    exact = Whitening(1, 120, method=method).double()(x.detach().double())
    close(y.double(), exact, rtol=0, atol=2e-3)
    assert float(y.detach().abs().max()) < 10 and layer.eval()(x).isfinite().all()


def test_pooled_covariances_are_those_of_all_data() -> None:
    x = mixed(90) * torch.linspace(1, 3, 90).double().view(-1, 1)
    layer = built("whitening in groups").double().eval()
    with norms.pooling_moments(layer):
        for part in x.split([20, 63, 7]):
            layer(part)
    with norms.precise_statistics(layer):
        close(layer.get_buffer("running_mean"), x.mean(0))
        found = torch.block_diag(*layer.get_buffer("running_cov")[0])
        inside = torch.block_diag(*[torch.ones(3, 3).double()] * 2)
        close(found, covariance(x) * inside)


@pytest.mark.parametrize("unbiased", [True, False])
def test_running_covariances(unbiased: bool) -> None:
    x, layer = mixed(20), Whitening(1, D, momentum=0.25, unbiased=unbiased).double()
    layer(x)
    expected = 0.75 * torch.eye(D) + 0.25 * torch.cov(x.T, correction=int(unbiased))
    close(layer.running_cov[0, 0], expected)
    close(layer.running_mean, 0.25 * x.mean(0))


def test_a_trial_that_cannot_be_factored_fails_alone() -> None:
    layer = Whitening(3, D)
    x = draw(20, 3 * D, dtype=torch.float32)
    good = layer(x)
    x[:, D : 2 * D] *= 1e30  # squares overflow
    found = layer(x)
    assert torch.equal(found[:, :D], good[:, :D]) and torch.equal(found[:, 2 * D :], good[:, 2 * D :])
    assert not found[:, D : 2 * D].isfinite().all()
