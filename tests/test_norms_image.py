"""Normalizations of each image by itself: the framework's layers, projections by their definitions."""

import pytest
import torch
from every_norm import CHANNELS, built, run
from test_norms import close, draw
from torch import Tensor, nn

from bnstudy.training.norms import Cone, GroupNorm, L2Ball, LayerNorm, RMSNorm

SIZES = ((8,), (5, 3), (4, 3, 5), (3, 2, 2, 2), (1, 4))
every_size = pytest.mark.parametrize("sizes", SIZES)


def framework_s(name: str, layer: nn.Module, places: tuple[int, ...]) -> nn.Module:
    """The framework's own layer with these scales and shifts, where each channel has one."""
    state = {key: value.detach().clone() for key, value in layer.named_parameters()}
    if name == "rms_norm":
        module: nn.Module = nn.RMSNorm(CHANNELS, eps=1e-5)
        state.pop("bias")
    elif name == "layer_norm" and not places:
        module = nn.LayerNorm(CHANNELS)
    else:
        module = nn.GroupNorm(3 if name == "group_norm" else 1, CHANNELS)
    module.double().load_state_dict(state)
    return module


@pytest.mark.parametrize("name", ["layer_norm", "group_norm", "rms_norm"])
@every_size
def test_they_are_the_framework_s(name: str, sizes: tuple[int, ...]) -> None:
    if name == "rms_norm":
        sizes = (sizes[0],)  # the framework's has a scale for each value, not for each channel
    layer = built(name).double()
    x, dy = (2 * draw(sizes[0], CHANNELS, *sizes[1:], seed=s) + 1 for s in (0, 1))
    found, expected = run(layer, x, dy), run(framework_s(name, layer, sizes[1:]), x, dy)
    if name == "rms_norm":
        found["y"] = found["y"] - layer.get_parameter("bias")
    for key, value in expected.items():
        close(found[key], value, rtol=1e-9, atol=1e-10)


@every_size
def test_the_mean_square_is_over_channels_and_places(sizes: tuple[int, ...]) -> None:
    x = 2 * draw(sizes[0], CHANNELS, *sizes[1:]) + 1
    y = RMSNorm(1, CHANNELS, eps=1e-3).double()(x)
    for image, found in zip(x, y, strict=True):
        close(found, image / (image.square().sum() / image.numel() + 1e-3).sqrt())


@pytest.mark.parametrize("kind", [LayerNorm, RMSNorm, L2Ball, Cone])
def test_an_image_does_not_see_the_others(kind: type[LayerNorm]) -> None:
    x, layer = 3 * draw(7, CHANNELS, 2, 2), kind(1, CHANNELS).double()
    close(layer(x)[2:3], layer(x[2:3]), rtol=1e-14)


@pytest.mark.parametrize(("kind", "shifts"), [(LayerNorm, True), (RMSNorm, False)])
def test_scale_and_shift_of_an_image(kind: type[LayerNorm], shifts: bool) -> None:
    x, layer = draw(7, CHANNELS, 2, 2), kind(1, CHANNELS, eps=1e-14).double()
    close(layer(9 * x), layer(x), rtol=1e-8)
    assert torch.allclose(layer(x + 9), layer(x)) == shifts


def test_a_group_of_one_value_is_refused() -> None:
    with pytest.raises(ValueError, match="more than one value per group, got 6 groups of 6 values"):
        GroupNorm(2, CHANNELS, groups=6)(draw(4, 2 * CHANNELS, dtype=torch.float32))
    GroupNorm(2, CHANNELS, groups=6)(draw(4, 2 * CHANNELS, 2, dtype=torch.float32))


def inside_ball(z: Tensor) -> bool:
    return bool(z.square().mean() <= 1 + 1e-12)


def inside_cone(z: Tensor) -> bool:
    return bool(z.mean() >= z.std(unbiased=False) - 1e-12)


@pytest.mark.parametrize(("kind", "inside"), [(L2Ball, inside_ball), (Cone, inside_cone)])
@pytest.mark.parametrize("shift", [-4.0, -0.5, 0.0, 0.5, 4.0])
@pytest.mark.parametrize("scale", [0.1, 1.0, 5.0])
def test_projections_are_the_nearest_points(
    kind: type[L2Ball], inside: object, shift: float, scale: float
) -> None:
    """Inside, unchanged if they were, and no other point inside is on the outer side (Boyd, 8.1.1)."""
    assert callable(inside)
    x = scale * draw(20, CHANNELS, 2) + shift
    y = kind(1, CHANNELS).double()(x).detach()
    others = [z for z in y if inside(z)] + [
        torch.zeros(CHANNELS, 2).double(),
        0.9 * torch.ones(CHANNELS, 2).double(),
    ]
    assert len(others) == 22 and all(map(inside, others))
    for image, found in zip(x, y, strict=True):
        if inside(image):
            close(found, image)
        assert all(float(((image - found) * (z - found)).sum()) <= 1e-9 for z in others)
