"""Noise behind a normalization: whose draws, how large, and when."""

import copy

import pytest
import torch
from every_norm import built
from test_norms import close, draw
from torch import Tensor

from bnstudy.recipe import Recipe
from bnstudy.training import norms
from bnstudy.training.norms import Affine, CalibratedNoise, PopulationNorm, ShiftingNoise

KINDS = {"shifting": ShiftingNoise, "calibrated": CalibratedNoise}
either = pytest.mark.parametrize("name", KINDS)


def noisy(name: str, seeds: tuple[int, ...], channels: int = 4, site: str = "fc1_norm") -> torch.nn.Module:
    recipe = Recipe(norm="affine", norm_noise=name)
    return norms.build(recipe, len(seeds), channels, name=site, seeds=seeds)


@either
def test_draws_belong_to_seed_name_and_step(name: str) -> None:
    x = draw(8, 4, 3, dtype=torch.float32)
    layer = noisy(name, (3,))
    steps = [layer(x) for _ in range(3)]
    assert not torch.equal(steps[0], steps[1]), "redrawn every step"
    again = noisy(name, (3,))
    assert all(torch.equal(again(x), step) for step in steps)
    assert not torch.equal(noisy(name, (4,))(x), steps[0])
    assert not torch.equal(noisy(name, (3,), site="fc2_norm")(x), steps[0])
    assert torch.equal(noisy(name, (9, 3, 1))(x.repeat(1, 3, 1)).chunk(3, 1)[1], steps[0])
    copied = copy.deepcopy(layer)
    assert torch.equal(copied(x), layer(x)), "a copy goes on alike"


@either
def test_prediction_has_no_noise(name: str) -> None:
    x, layer = draw(8, 4, 3, dtype=torch.float32), noisy(name, (3,)).eval()
    assert torch.equal(layer(x), x) and torch.equal(layer(x), x)
    assert isinstance(layer, KINDS[name]) and layer.steps == 0


@either
def test_the_draws_are_the_same_in_any_precision(name: str) -> None:
    x = draw(8, 4, 3)
    close(noisy(name, (3,))(x.float()).double(), noisy(name, (3,)).double()(x), rtol=1e-5, atol=1e-5)


def drawn(values: Tensor) -> tuple[Tensor, Tensor]:
    """Scale and shift of each image and channel, [steps, images, channels], told from what they do."""
    layer = noisy("shifting", (5,), channels=3).double()
    x = torch.stack([torch.zeros_like(values), torch.ones_like(values)], dim=2)
    y = torch.stack([layer(x) for _ in range(200)]).detach()
    return y[..., 1] - y[..., 0], y[..., 0]


def test_shifting_noise_has_the_published_distribution() -> None:
    """Each step's centre is uniform within 0.5 and from 1 to 1.25; an image's draws lie about it by 0.1."""
    scale, shift = drawn(torch.zeros(100, 3).double())
    centre, mean_scale = shift.mean(1), scale.mean(1)
    assert 0.4 < float(centre.abs().max()) < 0.55 and float(centre.std()) == pytest.approx(
        1 / 12**0.5, rel=0.1
    )
    assert 0.95 < float(mean_scale.min()) < 1.02 and 1.23 < float(mean_scale.max()) < 1.3
    about = shift - centre.unsqueeze(1)
    assert float(about.abs().max()) < 0.13 and float(about.std()) == pytest.approx(0.2 / 12**0.5, rel=0.05)
    assert float((scale - mean_scale.unsqueeze(1)).std()) == pytest.approx(0.1, rel=0.05)


def moments_of_noise(x: Tensor, draws: int = 800, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Means and standard deviations, relative to x's, that calibrated noise simulates: [draws, channels]."""
    layer = CalibratedNoise(Affine(x.shape[1]).double(), (1,), "n")
    generator = torch.Generator().manual_seed(seed)
    pairs = [layer.errors(x, torch.randn(len(x), 1, generator=generator)) for _ in range(draws)]
    return torch.stack([a for a, _ in pairs]), torch.stack([b for _, b in pairs])


@pytest.mark.parametrize("places", [1, 9])
def test_calibrated_noise_has_the_sampling_variance_of_a_batch(places: int) -> None:
    """Against the moments of many batches of one distribution: heavy tails, and correlated places."""
    images, channels, batches = 64, 3, 2000

    def batch(count: int, seed: int) -> Tensor:
        common = draw(count, channels, 1, seed=seed).expand(-1, -1, places)
        return common.exp() + draw(count, channels, places, seed=seed + 1) / 2

    many = batch(images * batches, 7)
    mean, std = many.mean((0, 2)), many.transpose(0, 1).flatten(1).std(1)
    each = many.view(batches, images, channels, places)
    true_a = ((each.mean((1, 3)) - mean) / std).std(0)
    # One batch does not know its own tails: one draw of each of many, on the average.
    found = torch.cat([moments_of_noise(part, 1, seed=n)[0] for n, part in enumerate(each[:800])])
    close(found.std(0), true_a, rtol=0.1, atol=0)
    gaussian = draw(images, channels, places)
    a, b = moments_of_noise(gaussian)
    count = images * places
    close(a.std(0), torch.full((channels,), count**-0.5), rtol=0.25, atol=0)
    close(b.std(0), torch.full((channels,), (2 * count) ** -0.5), rtol=0.35, atol=0)
    close(b.square().mean(0), torch.full((channels,), 1 - 1 / count), rtol=0.02, atol=0)


def test_calibrated_noise_is_another_batch_s_normalization() -> None:
    """weight * (x_hat - a) / b + bias, with the a and b of its stream."""
    norm = PopulationNorm(4).double()
    with torch.no_grad():
        norm.weight.copy_(draw(4, seed=1))
        norm.bias.copy_(draw(4, seed=2))
    x = 2 * draw(32, 4, 3) + 1
    plain = copy.deepcopy(norm)(x)
    layer = CalibratedNoise(norm, (3,), "n")
    seen: list[tuple[Tensor, Tensor]] = []
    errors = layer.errors
    layer.errors = lambda x, drawn: seen.append(errors(x, drawn)) or seen[-1]  # type: ignore[method-assign]
    y = layer(x)
    a, b = (value.view(1, -1, 1) for value in seen[0])
    weight, bias = (value.view(1, -1, 1) for value in (norm.weight, norm.bias))
    close(y, weight * ((plain - bias) / weight - a) / b + bias)


def test_noisy_norms_still_predict_by_their_averages() -> None:
    layer = built("shifting").eval()
    x = 2 * draw(20, 6, dtype=torch.float32) + 1
    assert len(norms.batch_norms(layer)) == len(norms.running_norms(layer)) == 1
    with norms.predict_with(layer, "batch"):
        assert not torch.equal(layer(x), built("shifting").eval()(x))
