"""Every normalization, whatever its formula: packed it is solo, and odd inputs harm nobody."""

import copy

import pytest
import torch
from every_norm import CHANNELS, NORMS, OF_BATCHES, SEEDS, built, lasting, run
from test_norms import close, draw
from torch import Tensor, nn

from bnstudy.errors import BnstudyError
from bnstudy.recipe import Recipe
from bnstudy.training import norms

RANKS, NOISES = {"rank_uniform", "rank_gaussian"}, {"shifting", "calibrated"}
NOT_OF_AUTOGRAD = RANKS | {"yeo_johnson", "calibrated"}
"""What their gradients hold constant moves with x; they are tested with their formulas."""

every_norm = pytest.mark.parametrize("name", NORMS)
of_batches = pytest.mark.parametrize("name", OF_BATCHES)


def trial_of(values: dict[str, Tensor], trial: int, trials: int) -> dict[str, Tensor]:
    """One trial's part of outputs and gradients [batch, K * channels, ...] or parameters and buffers."""
    parts = {}
    for name, value in values.items():
        axis = 1 if name in ("y", "dx") else 0
        parts[name] = value.chunk(trials, dim=axis)[trial]
    return parts


def shaped(trials: int, sizes: tuple[int, ...], seed: int, dtype: torch.dtype) -> list[Tensor]:
    """Each trial's own numbers."""
    batch, *places = sizes
    return [
        lasting(batch, CHANNELS, *places, seed=seed + 10 * k, dtype=dtype) * (1 + k) for k in range(trials)
    ]


# Packs


@every_norm
@pytest.mark.parametrize("sizes", [(9,), (8, 3, 4)])
def test_packed_is_solo(name: str, sizes: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    packed, alone = built(name, 3).double(), [built(name).double() for _ in range(3)]
    for k, layer in enumerate(alone):
        if hasattr(layer, "trial_seeds"):
            layer.trial_seeds = SEEDS[k : k + 1]
    for step in range(3):
        xs, dys = (shaped(3, sizes, seed, torch.float64) for seed in (step, 50 + step))
        together = run(packed, torch.cat(xs, dim=1), torch.cat(dys, dim=1))
        for k, layer in enumerate(alone):
            expected = run(layer, xs[k], dys[k])
            for key, value in trial_of(together, k, 3).items():
                close(value, expected[key], rtol=1e-9, atol=1e-9)
    probe = shaped(3, sizes, 90, torch.float64)
    for statistics in ("running", "batch"):
        with norms.predict_with(packed.eval(), statistics):
            found = packed(torch.cat(probe, dim=1))
        for k, layer in enumerate(alone):
            with norms.predict_with(layer.eval(), statistics):
                close(found.chunk(3, dim=1)[k], layer(probe[k]), rtol=1e-9, atol=1e-9)
    for k, layer in enumerate(alone):
        buffers = trial_of(dict(packed.named_buffers()), k, 3)
        for key, value in layer.named_buffers():
            close(buffers[key], value, rtol=1e-9, atol=1e-12)


@every_norm
@pytest.mark.parametrize("sizes", [(32, 8, 8), (7, 5, 5), (64,)])
def test_a_trial_has_the_same_bits_in_every_pack(name: str, sizes: tuple[int, ...]) -> None:
    xs, dys = (shaped(8, sizes, seed, torch.float32) for seed in (0, 500))

    def bits(members: tuple[int, ...]) -> dict[str, Tensor]:
        """What the layer makes of trial 1 among others."""
        layer = built(name, len(members))
        if hasattr(layer, "trial_seeds"):
            layer.trial_seeds = members
        found = run(layer, torch.cat([xs[k] for k in members], 1), torch.cat([dys[k] for k in members], 1))
        found |= dict(layer.named_buffers())
        layer.eval()
        found["prediction"] = layer(torch.cat([xs[k] for k in members], 1)).detach().movedim(1, 0)
        return trial_of(found, members.index(1), len(members))

    expected = bits((0, 1))
    for members in ((1, 0), (2, 0, 1), (4, 5, 6, 1, 0), (7, 6, 5, 4, 3, 2, 1, 0)):
        found = bits(members)
        differing = [key for key in expected if not torch.equal(found[key], expected[key])]
        assert not differing, (members, differing)


@every_norm
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("sizes", [(8,), (8, 2, 3)])
def test_what_is_not_finite_harms_no_other_trial(name: str, value: float, sizes: tuple[int, ...]) -> None:
    xs, dys = (shaped(3, sizes, seed, torch.float32) for seed in (0, 50))
    good = run(built(name, 3), torch.cat(xs, 1), torch.cat(dys, 1))
    xs[1][0, 0] = value
    layer = built(name, 3)
    bad = run(layer, torch.cat(xs, 1), torch.cat(dys, 1))
    for k in (0, 2):
        for key, expected in trial_of(good, k, 3).items():
            assert torch.equal(trial_of(bad, k, 3)[key], expected), (k, key)
    assert not trial_of(bad, 1, 3)["y"].isfinite().all(), "it is seen where it happened"
    assert all(b.chunk(3)[k].isfinite().all() for b in layer.buffers() for k in (0, 2))


# Gradients


@pytest.mark.parametrize("name", [name for name in NORMS if name not in NOT_OF_AUTOGRAD])
@pytest.mark.parametrize("sizes", [(6,), (5, 2, 3)])
def test_gradients_are_those_of_autograd(name: str, sizes: tuple[int, ...]) -> None:
    x = (draw(sizes[0], CHANNELS, *sizes[1:]) * 2).requires_grad_()
    layer = built(name).double()
    named = {key: value.detach().requires_grad_() for key, value in layer.named_parameters()}

    def apply(x: Tensor, *parameters: Tensor) -> Tensor:
        fresh = copy.deepcopy(layer)  # running averages are constants only where each call starts alike
        state = dict(zip(named, parameters, strict=True))
        result: Tensor = torch.func.functional_call(fresh, state, (x,))
        return result

    assert torch.autograd.gradcheck(apply, (x, *named.values()), atol=1e-6, fast_mode=True)


# Odd inputs


@every_norm
@pytest.mark.parametrize("sizes", [(16, 3, 4), (16, 5), (12, 2, 3, 2), (16, 1, 1)])
def test_layouts_do_not_matter(name: str, sizes: tuple[int, ...]) -> None:
    batch, *places = sizes
    x, dy = (draw(batch, 2 * CHANNELS, *places, seed=s) for s in (0, 1))
    expected = run(built(name, 2).double(), x, dy)
    padded = draw(2 * batch, 2 * CHANNELS, *places, seed=9)
    padded[::2] = x
    views = {
        "last": (lasting(*x.shape), lasting(*x.shape, seed=1)),
        "strided": (padded[::2], dy.flip(0).flip(0)),
    }
    for layout, (values, gradient) in views.items():
        found = run(built(name, 2).double(), values, gradient)
        for key, value in found.items():
            close(value, expected[key], rtol=1e-9, atol=1e-9)
        assert found["y"].shape == x.shape, layout


@every_norm
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("sizes", [(32, 4, 4), (64,)])
def test_half_precision_inputs_are_reduced_in_full(
    name: str, dtype: torch.dtype, sizes: tuple[int, ...]
) -> None:
    x, dy = (draw(sizes[0], CHANNELS, *sizes[1:], seed=s, dtype=torch.float32).to(dtype) for s in (0, 1))
    layer = built(name)
    found, exact = run(layer, x, dy), run(built(name).double(), x.double(), dy.double())
    assert found["y"].dtype == found["dx"].dtype == dtype
    assert all(b.dtype == torch.float32 for b in layer.buffers())
    eps = torch.finfo(dtype).eps
    scale = 1 + float(exact["dx"].abs().max())
    close(found["y"].double(), exact["y"], rtol=4 * eps, atol=4 * eps)
    close(found["dx"].double(), exact["dx"], rtol=4 * eps, atol=4 * eps * scale)
    layer.eval()
    assert layer(x).dtype == dtype and layer(x).isfinite().all()


@every_norm
def test_a_large_offset_costs_no_more_than_its_rounding(name: str) -> None:
    """Mean 10,000 and variance 1 in float32: its digits end at 0.001."""
    x = draw(128, CHANNELS, 4, 4, dtype=torch.float32) + 1e4
    y, exact = built(name)(x), built(name).double()(x.double())
    size = float(exact.detach().abs().max())
    error = (y.double() - exact).detach().abs().flatten()
    # Untrained averages leave 10,000 in, and noise divides it by a simulated deviation.
    bound = max(2e-2, (1e-4 if name == "calibrated" else 1e-5) * size)
    # A value at the threshold may fall on either side of it.
    assert float(error.quantile(0.98 if name == "sparse_batch_norm" else 1.0)) <= bound


@every_norm
@pytest.mark.parametrize("value", [0.0, 0.1, -1e4])
@pytest.mark.parametrize("sizes", [(8,), (8, 2, 3)])
def test_a_constant_channel_stays_finite(name: str, value: float, sizes: tuple[int, ...]) -> None:
    x = draw(sizes[0], CHANNELS, *sizes[1:], dtype=torch.float32)
    for constant in (slice(2, 3), slice(0, CHANNELS)):
        x[:, constant] = value
        layer = built(name)
        found = run(layer, x, draw(*x.shape, seed=1, dtype=torch.float32))
        assert all(v.isfinite().all() for v in (*found.values(), *layer.buffers()))
        assert layer.eval()(x).isfinite().all()


@every_norm
@pytest.mark.parametrize("sizes", [(2,), (2, 3, 3), (1, 3, 3)])
def test_two_images_or_one_convolved_are_a_batch(name: str, sizes: tuple[int, ...]) -> None:
    x = draw(sizes[0], CHANNELS, *sizes[1:], dtype=torch.float32)
    layer = built(name)
    found = run(layer, x, draw(*x.shape, seed=1, dtype=torch.float32))
    assert found["y"].shape == x.shape
    assert all(v.isfinite().all() for v in (*found.values(), *layer.buffers()))


@of_batches
@pytest.mark.parametrize("sizes", [(1,), (1, 1, 1)])
def test_one_value_a_channel_is_refused(name: str, sizes: tuple[int, ...]) -> None:
    x, layer = draw(sizes[0], CHANNELS, *sizes[1:], dtype=torch.float32), built(name)
    before = copy.deepcopy(dict(layer.named_buffers()))
    with pytest.raises(ValueError, match=r"more than (1|one) value per channel"):
        layer(x)
    assert all(torch.equal(value, before[key]) for key, value in layer.named_buffers()), "no trace"
    assert layer.eval()(x).shape == x.shape, "running averages need no batch"


def test_the_textbook_s_layer_is_silent_about_one_value() -> None:
    """It makes its shift of it, and no gradient passes below: exactly none."""
    layer = built("batch_norm_scratch", running_variance="biased")
    found = run(layer, draw(1, CHANNELS, dtype=torch.float32), draw(1, CHANNELS, seed=1, dtype=torch.float32))
    assert torch.equal(found["y"][0], layer.get_parameter("bias")) and found["dx"].eq(0).all()


# Predictions


@pytest.mark.parametrize("name", [name for name in OF_BATCHES if name not in NOISES])
def test_prediction_approaches_training_on_equal_batches(name: str) -> None:
    """After many batches of one distribution its running averages do as its batches'."""
    ghosts = {"ghost_size": 64} if "ghosts" in name else {}
    layer = built(name, momentum=0.03, **ghosts)
    for seed in range(120):
        layer(1 + 2 * draw(256, CHANNELS, seed=seed, dtype=torch.float32))
    x = 1 + 2 * draw(256, CHANNELS, seed=999, dtype=torch.float32)
    layer.eval()
    with norms.predict_with(layer, "batch"):
        batch = layer(x)
    differences = (layer(x) - batch).detach().abs()
    assert float(differences.median()) < 0.15 * float(batch.detach().std())


@every_norm
def test_evaluation_changes_nothing(name: str) -> None:
    layer = built(name)
    layer(draw(16, CHANNELS, 2, 2, dtype=torch.float32))
    state = copy.deepcopy(layer.state_dict())
    x = draw(32, CHANNELS, 2, 2, seed=1, dtype=torch.float32)
    layer.eval()
    first = layer(x)
    with norms.pooling_moments(layer):
        layer(x)
    with norms.precise_statistics(layer):
        layer(x)
    assert torch.equal(layer(x), first)
    assert all(torch.equal(value, state[key]) for key, value in layer.state_dict().items())


@pytest.mark.parametrize("name", [name for name in OF_BATCHES if name not in RANKS])
@pytest.mark.parametrize("sizes", [(40,), (40, 2, 3)])
def test_precise_statistics_of_one_batch_are_its_own(name: str, sizes: tuple[int, ...]) -> None:
    """Pooled over the whole data in one batch, prediction is that with the batch's statistics."""
    x = 2 * draw(sizes[0], CHANNELS, *sizes[1:]) + 1
    layer = built(name, ghost_size=0).double().eval()
    with norms.pooling_moments(layer):
        pooled = layer(x)
    with norms.precise_statistics(layer):
        close(layer(x), pooled, rtol=0, atol=1e-9)


# From recipes


def test_every_name_of_a_recipe_is_built() -> None:
    from bnstudy.checks import CHOICES

    built_names = {recipe.norm for recipe in NORMS.values()} | {"none"}
    assert built_names == set(CHOICES["norm"])
    kinds = [type(built(name)) for name in NORMS if NORMS[name] == Recipe(norm=NORMS[name].norm)]
    assert len(set(kinds)) == len(kinds) - 1, "one kind each, but for the two of ranks"


@every_norm
@pytest.mark.parametrize("gamma", [1.0, 0.5, -2.0])
def test_scale_and_shift_start_and_train_as_told(name: str, gamma: float) -> None:
    recipe = NORMS[name].replace(gamma=gamma, train_gamma=False)
    layer = norms.build(recipe, 2, CHANNELS, name="n", seeds=(1, 2))
    named = {key.split(".")[-1]: value for key, value in layer.named_parameters()}
    assert named["weight"].eq(gamma).all() and named["bias"].eq(0).all()
    assert [named[key].requires_grad for key in ("weight", "bias")] == [False, True]
    assert [len(value) for value in named.values()] == [2 * CHANNELS] * 2
    both = norms.build(recipe.replace(train_beta=False), 2, CHANNELS, name="n", seeds=(1, 2))
    x = draw(8, 2 * CHANNELS, 2, dtype=torch.float32).requires_grad_()
    (dx,) = torch.autograd.grad(both(x).square().sum(), x)
    assert not any(p.requires_grad for p in both.parameters()) and dx.isfinite().all()


@of_batches
@pytest.mark.parametrize("start", [0.0, 4.0])
def test_running_variances_start_as_told(name: str, start: float) -> None:
    layer = norms.running_norms(built(name, 2, running_start=start))[0]
    spread = layer.averages()[1]
    variance = spread.diagonal(dim1=-2, dim2=-1) if spread.dim() > 1 else spread
    assert variance.eq(start).all() and layer.averages()[0].eq(0).all()
    assert not spread.dim() > 1 or spread.sum() == variance.sum(), "uncorrelated"


def test_buffers_divide_by_trials() -> None:
    """What is a trial's part of any tensor of a network is its share of the numbers, in order."""
    for name in NORMS:
        for value in built(name, 3).state_dict().values():
            assert len(value.view(3, -1)) == 3


def test_groups_have_to_divide_the_channels() -> None:
    for norm in ("group_norm", "whitening"):
        with pytest.raises(
            BnstudyError, match=r"groups = 4 does not divide the 6 channels .* such as 1 or 2"
        ):
            norms.build(Recipe(norm=norm, groups=4), 2, 6)


def test_ghosts_are_of_batches() -> None:
    with pytest.raises(BnstudyError, match=r"ghost_size = 16 is for normalizations over the batch"):
        norms.build(Recipe(norm="layer_norm", ghost_size=16), 2, 6)


def test_noise_needs_seeds() -> None:
    with pytest.raises(ValueError, match="noise needs a seed for each of the 2 trials, not 0"):
        norms.build(Recipe(norm_noise="shifting"), 2, 6)
    with pytest.raises(BnstudyError, match="norm = 'none' has none"):
        norms.build(Recipe(norm="none", norm_noise="calibrated"), 2, 6, seeds=(1, 2))
    assert isinstance(norms.build(Recipe(norm="none"), 2, 6), nn.Identity)
