"""The published systems are what their sources say, and train as the textbook's formulas do."""

import statistics
from dataclasses import dataclass, replace

import pytest
import torch
import traced
from formulas import SITES, Textbook, initial_bounds

from bnstudy.recipe import BN_LENET, LENET, Recipe
from bnstudy.systems import LENETS, RECORDED, SYSTEMS, published_runs
from bnstudy.training import nets

DEEP = tuple(name for name in SYSTEMS if name not in LENETS)


@dataclass(frozen=True)
class Source:
    """What a document's code says: written down from the document, not from the recipe."""

    layer: str = "scratch"
    batch: int = 256
    lr: float = 1.0
    pool: str = "avg"
    padding: int = 0
    epochs: int = 10
    init: str = "xavier"
    adam: bool = False
    drop_last: bool = False
    running_start: float = 1.0


BY_ADAM = {"lr": 0.001, "pool": "max", "epochs": 5, "init": "default", "adam": True}
SOURCES = {
    "S0a": Source(batch=128, lr=0.1),
    "S0b": Source("framework", batch=128, lr=0.1),
    "S1a": Source(**BY_ADAM, running_start=0.0),
    "S1b": Source("framework", **BY_ADAM),
    "S2a": Source(batch=128),
    "S2b": Source("framework", batch=128),
    "S3a": Source(drop_last=True),
    "S3b": Source("framework", drop_last=True),
    "S4a": Source("none", lr=0.9, padding=2),
    "S4b": Source(),
}
USELESS = {f"{site}.bias" for site in SITES}
"""Biases in front of a normalization: rounding alone moves them."""
OF_ADAM = 1e-8
"""How far it does under Adam, whose first step divides a gradient by its size plus 1e-8: at a rate of 1e-3
100,000 times sqrt(147,456) roundings for conv1's, whose gradient adds up as many values."""
every_lenet = pytest.mark.parametrize("name", LENETS)
every_deep = pytest.mark.parametrize("name", DEEP)


def small(name: str, **changes: object) -> Recipe:
    """Return the system on the sample in float64, one epoch of one whole batch."""
    recipe = SYSTEMS[name]
    few = {"train_images": recipe.batch_size, "epochs": 1, "precision": "float64", "data": "sample"}
    return recipe.replace(**few | changes)


def test_all_fourteen_are_there() -> None:
    assert "".join(SYSTEMS) == "S0aS0bS1aS1bS2aS2bS3aS3bS4aS4bS4cS4dS4eS4f"
    assert list(RECORDED) == list(SYSTEMS) and tuple(SOURCES) == LENETS
    # No two are one training.
    assert len({recipe.fingerprint for recipe in SYSTEMS.values()}) == 14


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_test_images_stand_in_for_validation(name: str) -> None:
    recipe = SYSTEMS[name]
    assert (recipe.data, recipe.train_images, recipe.validation_images) == ("fashion-mnist", 60_000, 0)


@every_lenet
def test_the_schedule_is_the_sources(name: str) -> None:
    recipe, source = SYSTEMS[name], SOURCES[name]
    found = (recipe.epochs, recipe.batch_size, recipe.lr, recipe.drop_last, recipe.optimizer)
    optimizer = "adam" if source.adam else "sgd"
    assert found == (source.epochs, source.batch, source.lr, source.drop_last, optimizer)


def test_one_system_alone_trains_with_a_quirk() -> None:
    assert {name for name, recipe in SYSTEMS.items() if recipe.quirk} == {"S2b"}


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "framework"])
@every_lenet
def test_one_step_is_the_textbooks(name: str, fused: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loss, parameters and running statistics, each value to 1e-10, in float64.

    Where the last, smaller batch is dropped, 40 images more make no second step.
    """
    source = SOURCES[name]
    recipe = small(name, train_images=source.batch + 40 * source.drop_last)
    _, trial = traced.run([recipe] * 2, (3, 8), monkeypatch, fused=fused)
    running = {n: v for n, v in trial.before.items() if "running" in n}
    parameters = {n: v for n, v in trial.before.items() if "running" not in n}
    by_hand = Textbook(parameters, running, source.padding, source.pool, source.layer)
    pixels, labels = traced.batches(recipe, 8)[0]
    loss = by_hand.step(pixels, labels, lr=source.lr, adam=source.adam)
    assert trial.outcome.online_train_loss == (pytest.approx(loss, abs=1e-10),)
    expected = by_hand.parameters | by_hand.running
    assert set(trial.after) == set(expected)
    for tensor, value in trial.after.items():
        useless = source.layer != "none" and tensor in USELESS
        bound = OF_ADAM if useless and source.adam else 1e-10
        torch.testing.assert_close(value, expected[tensor], rtol=0, atol=bound, msg=tensor)
        assert useless or not torch.equal(value, trial.before[tensor]), f"{tensor} did not move"


@every_lenet
def test_training_starts_where_the_source_starts(name: str) -> None:
    source = SOURCES[name]
    before = traced.of_trial(nets.build([SYSTEMS[name]] * 2, (3, 8)), 0)
    for layer in (*SITES, "fc3"):
        weight, bias = before[f"{layer}.weight"], before[f"{layer}.bias"]
        bound = initial_bounds(source.init, weight.shape)
        assert 0.95 * bound < weight.abs().max() <= bound, layer
        assert bias.abs().max() <= initial_bounds("default", weight.shape), layer
    for site in SITES if source.layer != "none" else ():
        assert (before[f"{site}_norm.weight"] == 1).all() and not before[f"{site}_norm.bias"].any()
        assert not before[f"{site}_norm.running_mean"].any()
        assert (before[f"{site}_norm.running_var"] == source.running_start).all()


# Sizes, counted by hand for a single network of the sources: each layer's weights and biases.
LENET_WEIGHTS = 6 * 25 + 16 * 6 * 25 + 120 * 84 + 84 * 10
BIASES = 6 + 16 + 120 + 84


@pytest.mark.parametrize(
    ("recipe", "count", "by_layers"),
    [
        (SYSTEMS["S4a"], 61_706, LENET_WEIGHTS + 400 * 120 + BIASES + 10),
        (LENET.replace(padding=0), 44_426, LENET_WEIGHTS + 256 * 120 + BIASES + 10),
        (SYSTEMS["S4b"], 44_878, LENET_WEIGHTS + 256 * 120 + 3 * BIASES + 10),
        (BN_LENET.replace(bias_before_norm=False), 44_652, LENET_WEIGHTS + 256 * 120 + 2 * BIASES + 10),
    ],
    ids=["padded LeNet", "LeNet", "BN-LeNet", "BN-LeNet without redundant biases"],
)
def test_parameters_of_lenets(recipe: Recipe, count: int, by_layers: int) -> None:
    net = nets.build([recipe] * 3, range(3))
    assert sum(p.numel() for p in net.parameters()) == 3 * count == 3 * by_layers


@every_lenet
def test_parameters_of_systems(name: str) -> None:
    net = nets.build([SYSTEMS[name]] * 2, range(2))
    assert sum(p.numel() for p in net.parameters()) == 2 * (61_706 if name == "S4a" else 44_878)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "count"), [("S4c", 46_764_746), ("S4d", 43_093_322), ("S4e", 1_992_166), ("S4f", 5_977_530)]
)
def test_parameters_of_deep_systems(name: str, count: int) -> None:
    net = nets.build([SYSTEMS[name]], (0,))
    assert sum(p.numel() for p in net.parameters()) == count


@every_deep
def test_deep_systems_train_a_step(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At 72 pixels, the least that AlexNet's three poolings leave anything of."""
    recipe = SYSTEMS[name].replace(data="sample", train_images=2, batch_size=2, epochs=1, image_size=72)
    images = replace(traced.IMAGES, images=traced.IMAGES.images[:2002], labels=traced.IMAGES.labels[:2002])
    (trial,) = traced.run([recipe], (3,), monkeypatch, images=images)
    assert trial.outcome.status == "ok" and trial.outcome.finite
    still = [tensor for tensor, value in trial.after.items() if torch.equal(value, trial.before[tensor])]
    assert not still, f"{still} did not move"


def test_what_was_printed_is_complete_or_absent() -> None:
    printed = {name: (r.loss, r.train_accuracy, r.test_accuracy) for name, r in RECORDED.items()}
    known = [name for name, values in printed.items() if None not in values]
    assert known == ["S1a", "S1b", "S3a", "S3b", "S4b", "S4d", "S4f"]
    assert all(printed[name] == (None, None, None) for name in SYSTEMS if name not in known)


def test_sixteen_published_runs_disagree_in_test_accuracy_alone() -> None:
    """.901 +- .001 and .830 +- .044, from .708 to .882: what the study sets out to explain."""
    runs = published_runs()
    train, test = [run.train_accuracy for run in runs], [run.test_accuracy for run in runs]
    assert len(runs) == 16 and (min(test), max(test)) == (0.708, 0.882)
    assert statistics.mean(train) == pytest.approx(0.901, abs=5e-4)
    assert statistics.stdev(train) == pytest.approx(0.001, abs=5e-4)
    assert statistics.mean(test) == pytest.approx(0.830, abs=5e-4)
    assert statistics.stdev(test) == pytest.approx(0.044, abs=5e-4)
    assert {run.implementation for run in runs} == {"scratch", "framework", "not said"}


@pytest.mark.parametrize(
    ("name", "implementation"), [("S3a", "scratch"), ("S3b", "framework"), ("S4b", "not said")]
)
def test_the_runs_hold_the_systems_own(name: str, implementation: str) -> None:
    (run,) = [run for run in published_runs() if name in run.source]
    recorded = RECORDED[name]
    assert run.implementation == implementation
    printed = (recorded.loss, recorded.train_accuracy, recorded.test_accuracy)
    assert printed == (run.train_loss, run.train_accuracy, run.test_accuracy)
