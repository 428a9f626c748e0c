"""Each bug of the published code does what is said of it, and nothing but a recipe's word brings it in."""

import pytest
import torch
import traced
from formulas import SITES, Textbook
from test_layering import MODULES, PATHS, imports, own
from torch import Tensor, nn

from bnstudy import checks
from bnstudy.recipe import Recipe, momentum_of_old_weight
from bnstudy.systems import SYSTEMS
from bnstudy.training import nets, norms, quirks

INSIDE = "test_inside_epoch"
LAYERS = {"batch_norm": "framework", "batch_norm_scratch": "scratch"}


def draw(*shape: int, seed: int = 0) -> Tensor:
    """Return float64 values of mean 5 and variance 9."""
    generator = torch.Generator().manual_seed(seed)
    return 5 + 3 * torch.randn(shape, generator=generator, dtype=torch.float64)


# The fence


def test_recipes_can_name_what_there_is() -> None:
    assert checks.CHOICES["quirk"] == ("", *quirks.AFTER_STEP)


def test_training_alone_reaches_the_bugs() -> None:
    importing = {module for module in MODULES if "quirks" in own(imports(PATHS[module]))}
    assert importing == {"train"}


# A test inside the batch loop


def small(**changes: object) -> Recipe:
    """Return a recipe of three batches an epoch, in float64."""
    few = {"train_images": 150, "validation_images": 0, "batch_size": 50, "precision": "float64"}
    return Recipe(**{"data": "sample", "epochs": 1, "lr": 0.5} | few | changes)


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "framework"])
@pytest.mark.parametrize("norm", LAYERS)
def test_a_test_inside_freezes_the_frameworks_layer_alone(
    norm: str, fused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By formula, to 1e-10: from its second batch on the framework's layer uses the statistics that the
    first one left, and they stand still; the scratch layer trains on every batch."""
    recipe, layer = small(norm=norm, quirk=INSIDE), LAYERS[norm]
    trial = traced.run([recipe] * 2, (3, 8), monkeypatch, fused=fused)[0]
    running = {n: v for n, v in trial.before.items() if "running" in n}
    parameters = {n: v for n, v in trial.before.items() if "running" not in n}
    # The pack's scratch layer averages the variance with n - 1 unless its recipe says otherwise.
    by_hand = Textbook(parameters, running, layer="framework")
    losses = []
    for number, (pixels, labels) in enumerate(traced.batches(recipe, 3)):
        frozen = layer == "framework" and number > 0
        losses.append(by_hand.step(pixels, labels, lr=recipe.lr, frozen=frozen))
    assert trial.outcome.online_train_loss == (pytest.approx(sum(losses) / 3, abs=1e-10),)
    for name, value in (by_hand.parameters | by_hand.running).items():
        torch.testing.assert_close(trial.after[name], value, rtol=0, atol=1e-10, msg=name)


@pytest.mark.parametrize("norm", LAYERS)
def test_the_same_layer_without_a_test_inside(norm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two algorithms under one name: the bug changes the framework's training, and no bit of the other's."""
    clean, bugged = (
        traced.run([small(norm=norm, epochs=2, quirk=quirk)] * 2, (3, 8), monkeypatch)[0]
        for quirk in ("", INSIDE)
    )
    same = all(torch.equal(clean.after[name], value) for name, value in bugged.after.items())
    assert same == (norm == "batch_norm_scratch")
    assert (clean.outcome == bugged.outcome) == same


def test_the_running_averages_take_in_one_batch_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """At a rate of 1e-12 the weights stand still, so that what each batch has to add can be computed."""
    recipe = small(quirk=INSIDE, epochs=3, lr=1e-12)
    trial = traced.run([recipe] * 2, (3, 8), monkeypatch)[0]
    by_hand = Textbook({n: v for n, v in trial.before.items() if "running" not in n}, dict(trial.before))
    for epoch in range(3):
        by_hand.logits(traced.batches(recipe, 3, epoch)[0][0])
    for site in SITES:
        name = f"{site}_norm.running_mean"
        torch.testing.assert_close(trial.after[name], by_hand.running[name], rtol=0, atol=1e-8, msg=name)


def test_a_network_that_was_tested_inside_is_in_the_modes_it_trains_in() -> None:
    for name, training in {"S2b": False, "S2a": True}.items():
        net = nets.build([SYSTEMS[name]] * 2, (0, 1)).train()
        quirks.test_inside_epoch(net)
        assert [module.training for module in norms.batch_norms(net)] == [training] * 4
        assert not net.training


# The layer as it was published


def test_the_printed_layer_computes_the_formula() -> None:
    x, layer = draw(8, 6, 5, 5), quirks.PrintedBatchNorm(6).double()
    expected = nn.BatchNorm2d(6).double()
    torch.testing.assert_close(layer(x), expected(x), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(layer.running_mean, expected.running_mean)


def test_eval_has_no_effect_on_it() -> None:
    layer = quirks.PrintedBatchNorm(6).double().eval()
    layer(draw(8, 6))
    assert layer.running_mean.abs().min() > 0, "in evaluation mode it learned statistics from its input"


def test_its_statistics_cannot_be_recomputed_under_no_grad() -> None:
    layer = quirks.PrintedBatchNorm(6).double().train()
    with torch.no_grad():
        found = layer(draw(8, 6))
    assert not layer.running_mean.any() and (layer.running_var == 1).all()
    assert found.mean() > 3, "it predicted with statistics that no batch has touched"


def test_its_statistics_are_lost_on_reload() -> None:
    layer = quirks.PrintedBatchNorm(6).double()
    layer(draw(8, 6))
    reloaded = quirks.PrintedBatchNorm(6).double()
    missing = reloaded.load_state_dict(layer.state_dict())
    assert not missing.missing_keys and not missing.unexpected_keys, "nothing tells of the loss"
    assert not reloaded.running_mean.any() and layer.running_mean.any()
    assert set(norms.build(Recipe(), 1, 6).state_dict()) - set(layer.state_dict()) == {
        "running_mean",
        "running_var",
    }


def test_its_statistics_do_not_move_with_it() -> None:
    layer = quirks.PrintedBatchNorm(6).double()
    assert layer.weight.dtype == torch.float64 and layer.running_var.dtype == torch.float32
    layer.to("meta")
    assert layer.weight.is_meta and not layer.running_var.is_meta


def test_statistics_that_are_not_detached_keep_every_batchs_graph() -> None:
    sizes: dict[bool, list[int]] = {True: [], False: []}
    for detached, seen in sizes.items():
        layer = quirks.PrintedBatchNorm(6, detached=detached).double()
        for step in range(4):
            layer(draw(8, 6, seed=step) * layer.weight)
            seen.append(quirks.graph_size(layer.running_var))
    assert sizes[True] == [0] * 4
    growth = [b - a for a, b in zip(sizes[False], sizes[False][1:], strict=False)]
    assert growth[0] > 0 and set(growth) == {growth[0]}, "each batch adds as many operations"


# Starting again


def test_a_second_run_starts_with_what_the_first_left() -> None:
    net = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Sigmoid(), nn.Linear(6, 3)).double()
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    fresh = {name: value.clone() for name, value in net.state_dict().items()}
    net(draw(8, 4)).square().sum().backward()
    optimizer.step()
    trained = {name: value.clone() for name, value in net.state_dict().items()}
    quirks.draw_weights_again(net, torch.Generator().manual_seed(1))
    again = net.state_dict()
    leaked = {name for name in again if torch.equal(again[name], trained[name])}
    assert set(again) - leaked == {"0.weight", "3.weight"}
    learned = {"1.weight", "1.bias", "3.bias", "1.running_mean", "1.running_var"}
    assert {name for name in leaked if not torch.equal(again[name], fresh[name])} >= learned


def test_our_runs_start_from_their_seeds_alone() -> None:
    first = nets.build([Recipe(lr=0.1)] * 2, (3, 8)).state_dict()
    again = nets.build([Recipe(lr=0.5)] * 2, (3, 8)).state_dict()
    assert all(torch.equal(again[name], value) for name, value in first.items())


# Means of batches


def test_the_last_smaller_batch_counts_too_much() -> None:
    """With 10,000 images in batches of 128 each of the last 16 counts as 8 others."""
    right = torch.zeros(10_000, dtype=torch.float64)
    batches = 79
    right[0] = 1
    assert float(quirks.mean_of_batch_means(right, 128)) == pytest.approx(1 / 128 / batches)
    right[0], right[-1] = 0, 1
    assert float(quirks.mean_of_batch_means(right, 128)) == pytest.approx(1 / 16 / batches)
    assert float(right.mean()) == 1e-4
    whole = draw(1024)
    assert float(quirks.mean_of_batch_means(whole, 128)) == pytest.approx(float(whole.mean()), rel=1e-12)


# What ordinary fields hold


def layer_of(**changes: object) -> nn.Module:
    return norms.build(Recipe(norm="batch_norm_scratch", **changes), 1, 8).double()  # type: ignore[arg-type]


def test_a_running_variance_from_zeros_is_too_small_at_first() -> None:
    """After n batches it holds 1 - 0.9**n of the variance: 10% after one, 99.5% after 50."""
    layer, x = layer_of(running_start=0.0), draw(64, 8)
    for steps, share in ((1, 0.1), (49, 1 - 0.9**50)):
        for _ in range(steps):
            layer(x)
        torch.testing.assert_close(layer.get_buffer("running_var"), share * x.var(0), rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("shape", "ratio"), [((2, 8), 2.0), ((256, 8), 256 / 255), ((256, 8, 24, 24), 147_456 / 147_455)]
)
def test_the_variance_of_the_framework_is_larger(shape: tuple[int, ...], ratio: float) -> None:
    """Twofold for a fully connected layer at batch 2, by 1 in 147,455 for the first convolution at 256."""
    found, x = [], draw(*shape)
    for kind in ("unbiased", "biased"):
        layer = layer_of(running_variance=kind, momentum=1.0)
        layer(x)
        found.append(layer.get_buffer("running_var"))
    torch.testing.assert_close(found[0] / found[1], torch.full_like(found[0], ratio), rtol=1e-12, atol=0)


def test_a_misread_momentum_remembers_one_batch() -> None:
    """Nine tenths of the last batch, where the textbook means one tenth."""
    assert momentum_of_old_weight(0.9) == 0.1
    for momentum, share in ((0.9, 0.9), (momentum_of_old_weight(0.9), 0.1)):
        layer = layer_of(momentum=momentum)
        layer(draw(64, 8, seed=1))
        before = layer.get_buffer("running_mean").clone()
        layer(x := draw(64, 8, seed=2))
        expected = (1 - share) * before + share * x.mean(0)
        torch.testing.assert_close(layer.get_buffer("running_mean"), expected, rtol=1e-12, atol=0)


def test_a_batch_of_one_is_silent_in_the_scratch_layer_and_an_error_in_the_frameworks() -> None:
    x = draw(1, 8)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        nn.BatchNorm1d(8).double()(x)
    layer = quirks.PrintedBatchNorm(8).double()
    nn.init.normal_(layer.bias)
    assert torch.equal(layer(x)[0], layer.bias), "whatever the image"


# Comparisons


def test_the_published_comparison_changes_more_than_the_normalization() -> None:
    """Padding, learning rate, and with the padding the parameters of fc1."""
    found = quirks.confounds(SYSTEMS["S4a"], SYSTEMS["S4b"])
    assert found == {"padding": (2, 0), "lr": (0.9, 1.0)}
    assert quirks.confounds(Recipe(norm="none"), Recipe()) == {}
    sizes = [sum(p.numel() for p in nets.build([SYSTEMS[n]], (0,)).parameters()) for n in ("S4a", "S4b")]
    scales_and_shifts = 2 * (6 + 16 + 120 + 84)
    assert sizes[1] - sizes[0] == scales_and_shifts - (400 - 256) * 120
