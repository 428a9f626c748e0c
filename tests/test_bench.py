"""The benchmark compares like with like: every peer trains the same recipe for real, and is timed whole."""

import importlib.util
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from torchvision.datasets import FashionMNIST

from bnstudy import cli
from bnstudy.books.executors import Event, Failed, InProcess
from bnstudy.commands import bench, bench_steps, peers, textbook
from bnstudy.errors import BnstudyError
from bnstudy.packs import Job, Result, plan
from bnstudy.plots import figures, plot_bench
from bnstudy.recipe import BN_LENET, Recipe
from bnstudy.training import data, nets

SMALL = bench._design(peers.Case(), 1, 3, sample=True)


def job(ablation: Any = SMALL) -> Job:
    return Job(plan(ablation)[0], "cpu", None)


def test_every_peer_trains_the_textbooks_network() -> None:
    """As many parameters as bnstudy's BN-LeNet, and the same output shape."""
    net = peers.textbook_lenet()
    assert sum(p.numel() for p in net.parameters()) == 44_878
    assert net(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    assert sum(p.numel() for p in nets.LeNet(BN_LENET, 1).parameters()) == 44_878


def test_the_design_is_one_pack_a_worker() -> None:
    """Eight learning rates at batch 256 make a full pack; more workers are more seeds."""
    packs = plan(bench._design(peers.Case(), 3, 2))
    assert [len(pack.trials) for pack in packs] == [8, 8, 8]
    assert {trial.arm.recipe.replace(lr=1.0) for pack in packs for trial in pack.trials} == {
        BN_LENET.replace(epochs=2)
    }


def test_the_plain_loop_trains() -> None:
    """On the sample its accuracy rises far above the 10% of guessing: it is a training, not a stub."""
    torch.manual_seed(0)
    seen: list[int] = []
    design = bench._design(peers.Case(), 1, 6, sample=True)
    (outcome,) = peers.plain_loop(job(design), seen.append).outcomes
    assert len(outcome.validation_accuracy) == 6
    assert outcome.validation_accuracy[-1] > 0.3 and max(outcome.validation_accuracy) > 0.45


def test_the_plain_loop_leaves_its_network_in_training_mode_for_each_epoch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Batch normalization must see batches: each epoch trains 1,600 images and validates 400."""
    modes: list[tuple[bool, int]] = []
    build = peers.textbook_lenet

    def watched(recipe: Recipe) -> torch.nn.Sequential:
        net = build(recipe)
        net.register_forward_hook(
            lambda module, inputs, output: modes.append((module.training, len(inputs[0])))
        )
        return net

    monkeypatch.setattr(peers, "textbook_lenet", watched)
    peers.plain_loop(job(), lambda images: None)
    assert sum(n for training, n in modes if training) == 3 * 1600
    assert sum(n for training, n in modes if not training) == 3 * 400


# Measuring


def test_peers_are_timed_in_turns_and_compared_by_their_medians() -> None:
    rates = {
        "bnstudy": iter([30.0, 90.0, 33.0]),
        "plain": iter([10.0, 11.0, 1.0]),
        "d2l": iter([5.0, 6.0, 6.0]),
    }
    order: list[str] = []

    def peer(name: str) -> Callable[[], float]:
        return lambda: (order.append(name), next(rates[name]))[1]  # type: ignore[func-returns-value]

    said: list[str] = []
    seen = bench._interleaved({name: peer(name) for name in rates}, 3, said.append)
    assert order == ["bnstudy", "plain", "d2l"] * 3
    assert said[0] == "1/3 bnstudy: 30 images/s"
    compared = bench._compared(seen)
    assert compared["images_per_second"] == {"bnstudy": 33, "plain": 10, "d2l": 6}
    assert compared["ratios"] == {"bnstudy to plain": 3.3, "bnstudy to d2l": 5.5}


def test_text_names_rates_ranges_and_ratios() -> None:
    seen = {"bnstudy": [30_000.0, 33_333.0, 31_000.0], "plain": [9_000.0, 10_000.0, 11_000.0]}
    speeds = {"steps": [40_000.0, 39_000.0, 41_000.0], "peak": [100.0, 120.0, 110.0]}
    measured = {"case": "adam", "workers": 1, "epochs": 2, **bench._compared(seen)}
    measured |= bench._of_peak({**seen, **speeds}, BN_LENET)
    measured |= {"pack_sizes": {"2": [20_000.0, 21_000.0, 22_000.0]}, "operators": {"mm": 6.0, "copy_": 2.0}}
    assert bench.text(measured).splitlines() == [
        "adam, 1 core, 2 epochs a trial; median and range of 3",
        "  bnstudy    31,000 images/s (30,000 to 33,333)",
        "  plain      10,000 images/s (9,000 to 11,000)",
        "  bnstudy to plain: 3.1 times",
        "  Training steps alone pass 40,000 images/s: evaluation and the books take 22% of a trial.",
        "  They reach 57% of the 110 GFLOP/s of large float32 matrix products.",
        "  In packs of  2:   21,000 images/s",
        "  A step of one worker takes 8 ms, profiled:",
        "    mm                                  6.0 ms   75%",
        "    copy_                               2.0 ms   25%",
        "    all others                          0.0 ms    0%",
    ]


def test_the_arithmetic_of_an_image_is_counted_from_the_layers() -> None:
    """A convolution uses each weight once a place, a linear layer once; pixels need no gradient."""
    net, places = peers.textbook_lenet(), {0: 24**2, 4: 8**2}
    products = {
        at: layer.weight.numel() * places.get(at, 1)
        for at, layer in enumerate(net)
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear)
    }
    wanted = 2 * (3 * sum(products.values()) - products[0])
    assert bench_steps.mflop(BN_LENET) * 1e6 == pytest.approx(wanted)
    assert bench_steps.mflop(BN_LENET.replace(padding=2)) > 1.3 * bench_steps.mflop(BN_LENET)


@pytest.mark.parametrize("name", peers.CASES)
def test_every_case_is_one_pack_a_worker_of_the_textbook_s_network(name: str) -> None:
    case = peers.CASES[name]
    packs = plan(bench._design(case, 2, 1))
    assert [len(pack.trials) for pack in packs] == [8, 8]
    assert {pack.shares_images for pack in packs} == {case.shares_images}
    recipe = packs[0].trials[0].arm.recipe
    theirs = sum(p.numel() for p in peers.textbook_lenet(recipe).parameters())
    assert theirs == sum(p.numel() for p in nets.build([recipe], [0]).parameters())


def test_the_door_names_every_case() -> None:
    (option,) = [
        each for each in typer.main.get_command(cli.app).commands["bench"].params if each.name == "case"
    ]  # type: ignore[attr-defined]
    assert re.findall(r"[a-z]+-[a-z0-9]+|adam|dropout|padded", option.help) == list(peers.CASES)


def test_an_unknown_case_is_refused() -> None:
    with pytest.raises(BnstudyError, match="No case named 'batch-129'"):
        bench.measure(1, 1, None, print, "batch-129")


class Here(InProcess):
    """Stands for the pool of worker processes: packs run in this process."""

    closed = 0

    def __init__(self, run: Any, devices: list[str]) -> None:
        super().__init__(run)

    def close(self) -> None:
        Here.closed += 1


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Measure on the sample, in this process, without d2l."""
    make = bench._design
    monkeypatch.setattr(
        bench, "_design", lambda case, workers, epochs, sample=True: make(case, workers, epochs, True)
    )
    monkeypatch.setattr(bench_steps._per_second, "__defaults__", (0.05,))
    monkeypatch.setattr(bench, "Pool", Here)
    monkeypatch.setattr(data, "fetch", lambda folder, say: tmp_path / "unused")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(Here, "closed", 0)


@pytest.mark.slow
def test_a_measurement_trains_whole_trials_of_every_peer(small: None, tmp_path: Path) -> None:
    said: list[str] = []
    measured = bench.measure(1, 1, None, said.append, repetitions=2, pack_sizes=True, operators=True)
    assert list(measured["images_per_second"]) == ["bnstudy", "plain"] and len(said) == 2 * (4 + 3)
    assert measured["share_of_peak"] > 0 and measured["peak_gflops"] > 0
    assert all(rate > 0 for rates in measured["repetitions"].values() for rate in rates)
    assert measured["workers"] == 1 and "host_cpu" in measured["provenance"]
    assert "bnstudy to plain" in bench.text(measured) and Here.closed == 5
    assert list(measured["pack_sizes"]) == ["2", "4", "8", "16"] and measured["pack"] == 8
    assert sum(measured["operators"].values()) > 0 and "mm" in measured["operators"]
    paths = figures.save(plot_bench.benchmark(measured), tmp_path, "bn-lenet", measured)
    assert [path.suffix for path in paths] == [".svg", ".png", ".json"]
    assert json.loads(paths[2].read_text())["ratios"] == measured["ratios"]


def test_the_figure_shows_every_repetition_and_the_planned_pack() -> None:
    seen = {"bnstudy": [30_000.0, 33_333.0, 31_000.0], "plain": [9_000.0, 10_000.0, 11_000.0]}
    measured = {"case": "adam", "workers": 2, "epochs": 2, "pack": 8, "provenance": {}} | bench._compared(
        seen
    )
    sizes = {"2": [20e3, 21e3], "8": [30e3, 31e3]}
    whole, steps = plot_bench.benchmark({**measured, "pack_sizes": sizes}).axes
    assert [list(line.get_xdata()) for line in whole.lines] == [seen["bnstudy"], seen["plain"]]
    assert [text.get_text() for text in whole.texts] == ["31.0", "10.0, 3.1 times slower"]
    assert [text.get_text() for text in steps.texts] == ["planned"]
    assert list(steps.lines[-1].get_ydata()) == [20_500, 30_500]
    assert len(plot_bench.benchmark({**measured, "pack_sizes": {}}).axes) == 1


def test_a_failure_is_told_and_the_workers_are_stopped(small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(pool: Any, seconds: float) -> list[Event]:
        return [Failed(pool.waiting.popleft().pack, "crashed", "RuntimeError: out of luck")]

    monkeypatch.setattr(Here, "events", fail)
    with pytest.raises(BnstudyError, match=r"The measurement failed: RuntimeError: out of luck\."):
        bench.measure(1, 1, None, lambda text: None)
    assert Here.closed == 1  # the first of the pools could not be warmed


def test_a_failure_inside_bnstudys_own_run_is_no_rate(small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(job: Job, report: object) -> Result:
        raise RuntimeError("out of luck")

    with pytest.raises(BnstudyError, match="The measurement failed: RuntimeError: out of luck"):
        bench._packed(Here(crash, ["cpu"]), bench.Asked(peers.Case(), Path(), 1, 1), pytest.fail)  # type: ignore[arg-type]


def test_a_d2l_that_does_not_work_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "false")
    with pytest.raises(BnstudyError, match=r"d2l's own loop failed: exit status 1\. Mend or uninstall d2l"):
        peers.d2l_rate(Path("unused"), 1, "bn-lenet")


# The textbook's own code


def test_torchvision_reads_the_images_as_they_are(tmp_path: Path) -> None:
    """d2l loads Fashion-MNIST through torchvision, which finds the written files and downloads nothing."""
    images = data.load("sample")
    textbook.raw_folder(images, tmp_path)
    for train, part in ((True, slice(0, images.train_size)), (False, slice(images.train_size, None))):
        read = FashionMNIST(str(tmp_path), train=train, download=False)
        assert torch.equal(read.data, images.images[part])
        assert torch.equal(read.targets, images.labels[part])
