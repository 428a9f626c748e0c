"""Scores are means over images, each image once, whatever the batches; measuring changes nothing."""

import pytest
import solo
import torch
from torch import Tensor
from torch.nn import functional as F

from bnstudy.recipe import BN_LENET, LENET, Recipe
from bnstudy.training import evaluate, nets, norms
from bnstudy.training.evaluate import Meter

IMAGES = solo.IMAGES
NORMS = ("none", "affine", "batch_norm", "batch_norm_scratch")


def network(recipe: Recipe = BN_LENET, trials: int = 3) -> nets.LeNet:
    """A network whose running averages have seen something, in training mode."""
    net = nets.build([recipe.replace(precision="float64")] * trials, range(trials))
    assert isinstance(net, nets.LeNet)
    net(solo.pixels(torch.arange(50)))
    return net


def own(count: int) -> Tensor:
    """Indices of own images for three trials, int64 [count, 3]."""
    return torch.randint(2000, (count, 3), generator=torch.Generator().manual_seed(1))


def test_the_constants_are_those_that_the_report_states() -> None:
    assert evaluate.BATCH == 256 and evaluate.FIXED_TRAINING_IMAGES == 10_000


# Scores


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("count", [1, 50, 51])
def test_scores_are_means_over_images(monkeypatch: pytest.MonkeyPatch, norm: str, count: int) -> None:
    """An unweighted mean over batches, the textbook's, counts the images of a last small batch too much."""
    monkeypatch.setattr(evaluate, "BATCH", 50)
    net, index = network(Recipe(norm=norm)), torch.arange(100, 100 + count)
    found = evaluate.score(net, IMAGES, index)
    logits = torch.stack([net(solo.pixels(index[i : i + 1]))[0] for i in range(count)])  # image by image
    for k in range(3):
        loss = F.cross_entropy(logits[:, k], IMAGES.labels[index])
        right = logits[:, k].argmax(1) == IMAGES.labels[index]
        assert float(found.loss[k]) == pytest.approx(loss.item(), rel=1e-12)
        assert float(found.accuracy[k]) == int(right.sum()) / count


def test_each_trial_may_have_its_own_images() -> None:
    net, index = network(), own(30)
    found = evaluate.score(net, IMAGES, index)
    for k in range(3):
        alone = evaluate.score(net, IMAGES, index[:, k])
        assert float(found.loss[k]) == pytest.approx(float(alone.loss[k]), rel=1e-12)
        assert found.accuracy[k] == alone.accuracy[k]


def test_scores_are_exact_on_the_cpu_and_need_no_gradient() -> None:
    net = network()
    found = evaluate.score(net, IMAGES, torch.arange(40))
    assert found.loss.dtype == found.accuracy.dtype == torch.float64
    assert found.loss.shape == found.accuracy.shape == (3,)
    assert not found.loss.requires_grad and all(p.grad is None for p in net.parameters())


def test_scoring_leaves_the_network_as_it_is() -> None:
    net = network().train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    evaluate.score(net, IMAGES, torch.arange(40))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not net.training, "evaluation mode, until the next epoch begins"


@pytest.mark.parametrize("index", [torch.arange(20), own(20)], ids=["shared", "own"])
def test_losses_are_those_of_each_image_and_trial(index: Tensor) -> None:
    net = network().eval()
    entropy, right = evaluate.losses(net, IMAGES, index)
    assert entropy.shape == right.shape == (20, 3) and right.dtype == torch.bool
    for k in range(3):
        one = index if index.dim() == 1 else index[:, k]
        logits = net(solo.pixels(one))[:, k]
        expected = F.cross_entropy(logits, IMAGES.labels[one], reduction="none")
        torch.testing.assert_close(entropy[:, k], expected, rtol=1e-12, atol=0)
        assert torch.equal(right[:, k], logits.argmax(1) == IMAGES.labels[one])


def test_a_meter_adds_up_uneven_batches() -> None:
    meter = Meter()
    meter.add(torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), torch.tensor([[True, False]] * 3))
    meter.add(torch.tensor([[7.0, 0.0]]), torch.tensor([[False, True]]))
    found = meter.score()
    assert found.loss.tolist() == [4.0, 3.0] and found.accuracy.tolist() == [0.75, 0.25]


def test_a_meter_keeps_what_is_not_finite_to_its_trial() -> None:
    meter = Meter()
    for value in (torch.inf, torch.nan, 1.0):
        meter.add(torch.tensor([[value, 1.0]]), torch.tensor([[False, True]]))
    found = meter.score()
    assert not found.loss[0].isfinite() and found.loss[1] == 1 and found.accuracy.tolist() == [0, 1]


def test_a_meter_counts_in_double_precision() -> None:
    meter = Meter()
    meter.add(torch.tensor([[1e8]]), torch.tensor([[True]]))
    for _ in range(999):
        meter.add(torch.tensor([[1.0]]), torch.tensor([[True]]))
    assert meter.score().loss.tolist() == [(1e8 + 999) / 1000]


@pytest.mark.parametrize("rows", [7, 244, 256])
def test_a_meter_adds_a_trial_up_alike_in_every_pack(rows: int) -> None:
    """To the bit: a mean loss is written into the record with all its digits."""
    entropy = 10 ** (torch.rand((rows, 33), generator=torch.Generator().manual_seed(0)) * 12 - 10)
    for width in (2, 3, 4, 8, 16, 33):
        for start in (0, 1, 33 - width):
            wide, narrow = Meter(), Meter()
            wide.add(entropy, entropy > 1)
            narrow.add(entropy[:, start : start + width], entropy[:, start : start + width] > 1)
            assert torch.equal(narrow.score().loss, wide.score().loss[start : start + width])


# Statistics for prediction


@pytest.mark.parametrize("norm", ["batch_norm", "batch_norm_scratch"])
@pytest.mark.parametrize("count", [49, 100, 101, 120])
def test_precise_moments_are_pooled_over_all_batches(
    monkeypatch: pytest.MonkeyPatch, norm: str, count: int
) -> None:
    """Weighted by their sizes; 101 images leave none alone in a batch, where there is no variance."""
    monkeypatch.setattr(evaluate, "BATCH", 50)
    recipe = Recipe(norm=norm)
    index = torch.arange(count)
    net = nets.build([recipe.replace(precision="float64")] * 2, (4, 5))
    evaluate.pool_moments(net, IMAGES, index)
    plain = solo.with_precise_moments(solo.started(recipe, 5), index, batch=51 if count == 101 else 50)
    with norms.precise_statistics(net):
        found = evaluate.score(net, IMAGES, torch.arange(2000, 2120))
        assert isinstance(net, nets.LeNet)
        for name, value in solo.tensors(plain).items():
            torch.testing.assert_close(
                nets.of_trial(net, solo.tensors(net)[name], 1), value.flatten(), rtol=1e-9, atol=1e-12
            )
    loss, accuracy = solo.score(plain, torch.arange(2000, 2120))
    assert float(found.loss[1]) == pytest.approx(loss, rel=1e-9) and float(found.accuracy[1]) == accuracy


def test_pooling_needs_no_batch_normalization() -> None:
    net = network(LENET)
    before = evaluate.score(net, IMAGES, torch.arange(60))
    evaluate.pool_moments(net, IMAGES, torch.arange(40))
    with norms.precise_statistics(net):
        assert torch.equal(evaluate.score(net, IMAGES, torch.arange(60)).loss, before.loss)


# What is finite, and how long


def test_the_first_tensor_that_is_not_finite_is_named_for_each_trial() -> None:
    net = network()
    assert evaluate.first_not_finite(net) == [None, None, None]
    with torch.no_grad():
        nets.of_trial(net, net.fc1.bias, 0)[3] = torch.nan
        nets.of_trial(net, net.conv2.weight, 0)[0] = torch.inf
        nets.of_trial(net, net.fc2_norm.get_buffer("running_var"), 2)[-1] = -torch.inf
    assert evaluate.first_not_finite(net) == ["conv2.weight", None, "fc2_norm.running_var"]


def test_weight_norms_are_those_of_each_trial() -> None:
    net = network()
    for k in range(3):
        found = evaluate.weight_norms(net, k)
        assert list(found) == [name for name, _ in net.named_parameters()]
        for name, value in net.named_parameters():
            squares = [v * v for v in nets.of_trial(net, value, k).tolist()]
            assert found[name] == pytest.approx(sum(squares) ** 0.5, rel=1e-12)


def test_weight_norms_of_huge_weights_do_not_overflow() -> None:
    net = nets.build([Recipe()] * 2, (0, 1))
    assert isinstance(net, nets.LeNet)
    with torch.no_grad():
        nets.of_trial(net, net.fc3.bias, 1).fill_(1e38)
    assert evaluate.weight_norms(net, 1)["fc3.bias"] == pytest.approx(1e38 * 10**0.5, rel=1e-6)
