"""Parts of batch normalization, ghost batches, population statistics and averages side by side, by hand."""

import copy
import math

import numpy as np
import pytest
import torch
from every_norm import CHANNELS, NORMS, built, run
from test_norms import Array, close, draw
from torch import nn

from bnstudy.recipe import Recipe
from bnstudy.training import norms
from bnstudy.training.norms import BatchNorm, MeanOnly, PopulationNorm, RmsOnly, ScratchBatchNorm, StdOnly
from bnstudy.training.running import fold

LITE = {"mean_only": MeanOnly, "std_only": StdOnly, "rms_only": RmsOnly}
SIZES = ((8,), (5, 3), (4, 3, 2), (3, 2, 2, 2))


def transformed(name: str, values: Array, known: Array, eps: float) -> Array:
    """One channel's values by the moments of `known`, scale 1 and shift 0."""
    mean = known.sum() / known.size
    var = ((known - mean) ** 2).sum() / known.size
    square = (known**2).sum() / known.size
    return {
        "mean_only": values - mean,
        "std_only": values / math.sqrt(var + eps),
        "rms_only": values / math.sqrt(square + eps),
    }[name]


@pytest.mark.parametrize("name", LITE)
@pytest.mark.parametrize("sizes", SIZES)
def test_lite_forms_are_their_formulas(name: str, sizes: tuple[int, ...]) -> None:
    x = 2 * draw(sizes[0], CHANNELS, *sizes[1:]) + 3
    layer = built(name, eps=1e-3).double()
    weight, bias = (layer.get_parameter(key).detach().numpy() for key in ("weight", "bias"))
    y, values = layer(x).detach().numpy(), x.numpy()
    for c in range(CHANNELS):
        expected = weight[c] * transformed(name, values[:, c], values[:, c], 1e-3) + bias[c]
        np.testing.assert_allclose(y[:, c], expected, rtol=1e-11, atol=1e-11)
    assert isinstance(layer, LITE[name])


@pytest.mark.parametrize("name", LITE)
def test_lite_forms_predict_by_the_moments_of_all_data(name: str) -> None:
    x, layer = 2 * draw(30, CHANNELS, 2) + 3, built(name).double().eval()
    with norms.pooling_moments(layer):
        for part in x.split([7, 20, 3]):
            layer(part)
    weight, bias = (layer.get_parameter(key).detach().numpy() for key in ("weight", "bias"))
    with norms.precise_statistics(layer):
        y = layer(x).detach().numpy()
    for c in range(CHANNELS):
        expected = weight[c] * transformed(name, x.numpy()[:, c], x.numpy()[:, c], 1e-5) + bias[c]
        np.testing.assert_allclose(y[:, c], expected, rtol=1e-11, atol=1e-11)


def test_lite_forms_together_are_batch_normalization() -> None:
    x = 2 * draw(16, 5, 3) + 3
    centred = MeanOnly(5).double()(x)
    expected = BatchNorm(5).double()(x)
    close(StdOnly(5).double()(centred), expected)
    close(RmsOnly(5).double()(centred), expected)


@pytest.mark.parametrize(
    ("name", "scales", "shifts"),
    [("mean_only", False, True), ("std_only", True, False), ("rms_only", True, False)],
)
def test_lite_forms_forget_what_they_remove(name: str, scales: bool, shifts: bool) -> None:
    x, layer = draw(16, CHANNELS, 3), built(name, eps=1e-12).double()
    assert torch.allclose(layer(7 * x), layer(x)) == scales
    assert torch.allclose(layer(x + 7), layer(x)) == shifts


def test_the_mean_square_is_averaged_as_it_is() -> None:
    layer, x = RmsOnly(4, momentum=1.0).double(), draw(8, 4) + 5
    layer(x)
    close(layer.running_var, x.square().mean(0))
    close(layer.eval()(x), x / (x.square().mean(0) + 1e-5).sqrt())


# Population statistics


def test_the_population_s_statistics_are_constants_from_before_the_batch() -> None:
    layer, reference = PopulationNorm(5, momentum=0.3).double(), ScratchBatchNorm(5, momentum=0.3).double()
    for seed in range(4):
        x, dy = 2 * draw(8, 5, 3, seed=seed) + 1, draw(8, 5, 3, seed=50 + seed)
        expected = run(copy.deepcopy(reference).eval(), x, dy)  # as prediction before this batch
        for key, value in run(layer, x, dy).items():
            close(value, expected[key])
        reference(x)
        close(layer.running_mean, reference.running_mean)
        close(layer.running_var, reference.running_var)


def test_an_image_among_others_is_the_same_to_the_population() -> None:
    x = draw(8, 5)
    alone, among = (PopulationNorm(5).double()(part)[:2] for part in (x[:2], x))
    assert torch.allclose(alone, among, rtol=1e-12)


# Ghost batches


@pytest.mark.parametrize(
    "norm", ["batch_norm", "batch_norm_scratch", "rms_only", "rank_gaussian", "whitening"]
)
@pytest.mark.parametrize("sizes", [(12,), (12, 2, 2)])
@pytest.mark.parametrize(("ghost", "parts"), [(4, (4, 4, 4)), (5, (5, 5, 2)), (12, (12,)), (50, (12,))])
def test_ghosts_are_batches_one_after_the_other(
    norm: str, sizes: tuple[int, ...], ghost: int, parts: tuple[int, ...]
) -> None:
    x = draw(sizes[0], CHANNELS, *sizes[1:])
    whole = norms.build(Recipe(norm=norm, batch_size=ghost, ghost_size=ghost), 1, CHANNELS).double()
    single = norms.build(Recipe(norm=norm), 1, CHANNELS).double()
    close(whole(x), torch.cat([single(part) for part in x.split(list(parts))]))
    for key, value in single.named_buffers():
        close(whole.get_buffer(key), value)
    for layer in (whole, single):
        layer.eval()
    close(whole(x), single(x))
    with norms.predict_with(whole, "batch"):
        assert parts == (12,) or not torch.allclose(whole(x), single(x)), "as it trains"


def test_a_ghost_of_one_value_joins_the_last() -> None:
    layer = norms.build(Recipe(norm="batch_norm", batch_size=4, ghost_size=4), 1, CHANNELS)
    assert isinstance(layer, BatchNorm)
    assert [len(part) for part in layer.parts(draw(9, CHANNELS))] == [4, 5]
    assert [len(part) for part in layer.parts(draw(9, CHANNELS, 2))] == [4, 4, 1], "two places: two values"
    assert layer(draw(9, CHANNELS, dtype=torch.float32)).isfinite().all()


# The running variance


@pytest.mark.parametrize("name", ["batch_norm", "batch_norm_scratch", "mean_only", "population"])
@pytest.mark.parametrize("start", [0.0, 1.0])
def test_biased_and_unbiased_variances_are_averaged_from_their_start(name: str, start: float) -> None:
    x = draw(5, CHANNELS)
    for kind, unbiased in (("biased", False), ("unbiased", True)):
        layer = built(name, running_variance=kind, running_start=start).double()
        layer(x)
        close(layer.get_buffer("running_var"), 0.9 * start + 0.1 * x.var(0, unbiased=unbiased))
        close(layer.get_buffer("running_mean"), 0.1 * x.mean(0))


# Several averages side by side


@pytest.mark.parametrize(
    "name", ["batch_norm", "batch_norm_scratch", "biased", "ghosts", "whitening", "rms_only"]
)
def test_tracked_averages_are_those_of_layers_with_that_momentum(name: str) -> None:
    layer, twin = built(name, momentum=0.1), built(name, momentum=0.1)
    others = {weight: built(name, momentum=weight) for weight in (0.9, 0.5, 0.1, 0.01, 0.001)}
    norms.tracking(layer)
    for seed in range(5):
        x = 2 * draw(8, CHANNELS, 3, seed=seed, dtype=torch.float32) + 1
        assert torch.equal(layer(x), twin(x)), "training does not feel it"
        for other in others.values():
            other(x)
    assert layer.state_dict().keys() == twin.state_dict().keys()
    assert all(torch.equal(value, twin.get_buffer(key)) for key, value in layer.named_buffers())
    layer.eval()
    before = layer(x)
    for weight, other in others.items():
        with norms.predict_with_tracked(layer, str(weight)):
            close(layer(x), other.eval()(x), rtol=1e-5, atol=1e-5)
    assert torch.equal(layer(x), before)


def test_the_cumulative_average_is_the_mean_of_all_batches() -> None:
    layer = BatchNorm(4).double()
    norms.tracking(layer)
    xs = [draw(6, 4, seed=seed) + seed for seed in range(7)]
    for x in xs:
        layer(x)
    with norms.predict_with_tracked(layer, "cumulative"):
        close(layer.running_mean, torch.stack([x.mean(0) for x in xs]).mean(0))
        close(layer.running_var, torch.stack([x.var(0) for x in xs]).mean(0))


@pytest.mark.parametrize("fails", [False, True])
def test_tracked_averages_give_the_norm_s_own_back(fails: bool) -> None:
    net = nn.Sequential(BatchNorm(3), nn.Sequential(built("whitening"))).eval()
    norms.tracking(net)
    before = [id(value) for value in net.buffers()]
    try:
        with norms.predict_with_tracked(net, "0.9"):
            assert [id(value) for value in net.buffers()] != before
            if fails:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert [id(value) for value in net.buffers()] == before


def test_untracked_averages_are_refused() -> None:
    layer = BatchNorm(3)
    with (
        pytest.raises(ValueError, match=r"'0.9' are tracked; .* call tracking"),
        norms.predict_with_tracked(layer, "0.9"),
    ):
        pass
    norms.tracking(layer)
    with (
        pytest.raises(ValueError, match=r"there are 0\.9, 0\.5, 0\.1, 0\.01, 0\.001, cumulative"),
        norms.predict_with_tracked(layer, "0.2"),
    ):
        pass


def test_a_copy_tracks_for_itself() -> None:
    layer = BatchNorm(3)
    norms.tracking(layer)
    other = copy.deepcopy(layer)
    other(draw(6, 3, dtype=torch.float32) + 1)
    assert layer.tracked["0.9"][0].eq(0).all() and other.tracked["0.9"][0].ne(0).all()


def test_folding_is_in_place() -> None:
    average = torch.tensor([1.0, 2.0])
    fold([average], [torch.tensor([3.0, 6.0])], 0.5)
    assert average.tolist() == [2, 4] and set(LITE) < set(NORMS)
