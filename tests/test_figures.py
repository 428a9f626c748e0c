"""A figure shows every seed where its record says, names its axes, and says when it is not of record."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from drawn import drawn, misplaced, points, texts, ticks
from handmade import (
    by_rate,
    crashed,
    diverged,
    like_the_paper,
    made,
    outcome,
    table,
    two_arms,
)

from bnstudy import kinds
from bnstudy.books import registry
from bnstudy.design import Factor, Level, across
from bnstudy.errors import BnstudyError
from bnstudy.outcome import Outcome
from bnstudy.plots import figures, style

PANELS = ("Accuracy at the end", "Seeds that train", "Largest workable rate", "Each at its best rate")


def spread(arm: Mapping[str, str], seed: int) -> Outcome:
    """BN trains up to 10, the control up to 1; no two trials score the same."""
    works = float(arm["lr"]) <= {"bn": 10, "affine": 1}[arm["network"]]
    return outcome(round((0.8 if works else 0.2) + 0.01 * seed + 0.001 * float(arm["lr"]) ** 0.5, 6))


# The figure of learning rates


def test_every_seed_is_where_its_record_says() -> None:
    ablation = by_rate()
    axes = drawn(ablation, spread).axes[0]
    frame = table(ablation, spread)
    for name, (_, marker, _) in style.palette(["affine", "bn"]).items():
        rows = frame[frame.network == name]
        assert points(axes, marker) == set(
            zip(rows.lr.astype(float), rows.precise_train_accuracy, strict=True)
        )


def test_means_shares_and_curves_are_those_of_the_records() -> None:
    ablation = by_rate()
    accuracy, share, _, epochs = drawn(ablation, spread).axes
    frame = table(ablation, spread)
    rows = frame[frame.network == "bn"]
    means = rows.groupby(rows.lr.astype(float)).precise_train_accuracy.mean()
    (line,) = [x for x in accuracy.lines if x.get_color() == style.COLORS[1] and x.get_linestyle() == "-"]
    assert dict(np.asarray(line.get_xydata())) == pytest.approx(dict(means))
    assert points(share, "s", hollow=False) == {(0.1, 1), (1, 1), (10, 1), (100, 0)}
    assert points(share, "o", hollow=False) == {(0.1, 1), (1, 1), (10, 0), (100, 0)}
    best = rows[rows.lr == "10"]
    mean = np.mean([*best.validation_accuracy], axis=0)
    assert dict(points(epochs, "s", hollow=False)) == pytest.approx({1: mean[0], 2: mean[1]})


def test_the_band_of_shares_runs_from_the_hardest_to_the_easiest_threshold() -> None:
    """Every trial of `spread` reaches 20%, those that work reach 80%, and no other does."""
    share = drawn(by_rate(), spread).axes[1]
    bands = [{(float(x), float(y)) for x, y in c.get_paths()[0].vertices} for c in share.collections]
    highest = {"affine": 1, "bn": 10}
    for band, works in zip(bands, highest.values(), strict=True):
        assert {rate for rate, y in band if y == 1} == {0.1, 1, 10, 100}
        assert {rate for rate, y in band if y == 0} == {rate for rate in (0.1, 1, 10, 100) if rate > works}


def test_axes_have_titles_labels_and_literal_ticks() -> None:
    ablation = by_rate(rates=(0.03, 0.1, 0.3, 1.0, 1000.0))
    figure = drawn(ablation, lambda arm, seed: outcome(0.8))
    assert tuple(axes.get_title(loc="left") for axes in figure.axes) == PANELS
    assert [axes.get_xlabel() for axes in figure.axes] == ["learning rate"] * 3 + ["epoch"]
    assert [axes.get_ylabel() for axes in figure.axes] == [
        "training accuracy",
        "share of seeds",
        "",
        "validation accuracy",
    ]
    for axes in figure.axes[:3]:
        assert axes.get_xscale() == "log"
        assert list(filter(None, ticks(axes))) == ["0.1", "1", "1000"], "where all would touch, the decades"
        assert not "".join(label.get_text() for label in axes.get_xticklabels(minor=True))
        low, high = axes.get_xlim()
        assert low < 0.03 and high > 1000
    assert figure.get_figwidth() == pytest.approx(7.4)


def test_rates_without_powers_of_ten_are_all_labelled() -> None:
    figure = drawn(by_rate(rates=(0.2, 0.5, 2.0)), lambda arm, seed: outcome(0.8))
    assert ticks(figure.axes[0]) == ["0.2", "0.5", "2"]


def test_the_key_names_every_arm_with_its_color_and_marker() -> None:
    figure = drawn(by_rate(), spread)
    (key,) = figure.legends
    assert [text.get_text() for text in key.get_texts()] == ["without BN", "with BN"]
    handles = [(line.get_color(), line.get_marker()) for line in key.get_lines()]
    assert handles == list(zip(style.COLORS, style.MARKERS, strict=True))[:2]


def test_the_question_is_over_the_figure_and_a_preview_says_so() -> None:
    assert "Does it matter?" in texts(drawn(by_rate(), spread))
    assert "preview" not in texts(drawn(by_rate(), spread))
    assert "preview: quick profile" in texts(drawn(by_rate(), spread, "preview: quick profile"))


def test_the_largest_workable_rate_is_drawn_with_open_ends() -> None:
    """BN never fails: an arrow to the right and no end; the control works below 10 in every seed."""

    def measured(arm: Mapping[str, str], seed: int) -> Outcome:
        return outcome(0.9 if arm["network"] == "bn" or float(arm["lr"]) <= 1 else 0.1)

    axes = drawn(by_rate(), measured).axes[2]
    arrows = [(x.get_marker(), x.get_color()) for x in axes.lines if x.get_marker() in "<>"]
    assert set(arrows) == {(">", style.COLORS[1])} and len(arrows) == 3, "one for each definition of success"
    (thick,) = [x for x in axes.lines if x.get_color() == style.COLORS[0] and x.get_linewidth() == 3]
    assert list(thick.get_xdata()) == [1, 10]
    assert {text.get_text() for text in axes.texts} >= {"with BN", "without BN"}


def test_the_best_rate_is_labelled_at_the_end_of_its_curve() -> None:
    axes = drawn(by_rate(), spread).axes[3]
    labels = {t.get_text().strip(): (t.get_color(), t.xy) for t in axes.texts if "rate" in t.get_text()}
    assert labels["rate 10"][0] == style.COLORS[1] and labels["rate 1"][0] == style.COLORS[0]
    assert labels["rate 10"][1][0] == 2


def test_labels_of_curves_that_end_together_are_moved_apart() -> None:
    assert style.apart([0.5, 0.5, 0.9, 0.53], 0.1) == pytest.approx([0.41, 0.51, 0.9, 0.61])
    assert style.apart([1.0, 3.0], 0.1) == [1.0, 3.0]
    assert style.apart([0.0, 0.1, 0.15, 0.16], 0.1) == pytest.approx([-0.0475, 0.0525, 0.1525, 0.2525])
    assert style.apart([], 0.1) == []


def test_diverged_trials_are_crossed_out() -> None:
    ablation = by_rate()

    def measured(arm: Mapping[str, str], seed: int) -> Outcome:
        return diverged() if arm == {"network": "bn", "lr": "100"} and seed == 3 else outcome(0.8)

    figure = drawn(ablation, measured)
    assert points(figure.axes[0], "x") == {(100, 0.1)}
    assert "crosses: diverged" in texts(figure)
    assert "crosses" not in texts(drawn(ablation, lambda arm, seed: outcome(0.8)))


@pytest.mark.parametrize("seeds", [1, 2])
def test_few_seeds_can_be_drawn(seeds: int) -> None:
    figure = drawn(by_rate(seeds=seeds), spread)
    assert ("needs all rates of two seeds" in texts(figure)) == (seeds == 1)


def test_an_arm_without_trials_is_left_out_of_figure_and_key() -> None:
    figure = drawn(by_rate(), lambda arm, seed: spread(arm, seed) if arm["network"] == "bn" else None)
    (key,) = figure.legends
    assert [text.get_text() for text in key.get_texts()] == ["with BN"]
    assert key.get_lines()[0].get_color() == style.COLORS[1], (
        "an arm keeps its color while others are missing"
    )


def test_half_a_ledger_can_be_drawn() -> None:
    """While a run goes on: seed 0 is complete, seed 1 has some rates, one trial crashed."""

    def measured(arm: Mapping[str, str], seed: int) -> Outcome | None:
        if seed == 1 and arm["lr"] == "1":
            return crashed()
        return spread(arm, seed) if seed == 0 or (seed == 1 and float(arm["lr"]) < 5) else None

    axes = drawn(by_rate(), measured).axes[0]
    assert len(points(axes, "s")) == 4 + 1


def test_all_diverged_can_be_drawn() -> None:
    figure = drawn(by_rate(), lambda arm, seed: diverged())
    assert points(figure.axes[1], "s", hollow=False) == {(rate, 0) for rate in (0.1, 1, 10, 100)}


def test_the_ablation_of_record_can_be_drawn_at_every_profile() -> None:
    for profile in ("smoke", "quick", "paper"):
        ablation = registry.find().get("lr-sweep").at(profile)
        figure = drawn(ablation, like_the_paper)
        assert len(figure.legends[0].get_texts()) == len(ablation.factor("network").levels)


# Fitting the page


def test_nothing_is_cut_off_at_the_edges() -> None:
    """A long question wraps, a long key takes several lines, and all of it lies inside the page."""
    names = [f"a network with a long name {i}" for i in range(1, 9)]
    levels = [Level(name, norm="affine", eps=10.0**-i) for i, name in enumerate(names)]
    question = "Does it matter at every learning rate that one would try, and where is it that it does not? "
    ablation = made(
        Factor("network", levels=levels, varies=("norm", "eps")),
        across("lr", 0.1, 1.0),
        figure="learning rates",
        question=question * 2,
    )
    figure = drawn(ablation, lambda arm, seed: outcome(0.5 + 0.01 * seed), "preview: quick profile")
    assert misplaced(figure) == []


def test_no_text_covers_another() -> None:
    ablation = replace(registry.find().get("lr-sweep"), seeds=range(3)).at("paper")
    assert misplaced(drawn(ablation, like_the_paper, "preview: 132 of 220 trials")) == []


def test_colors_are_told_apart_and_dark_enough_on_white() -> None:
    """At least 2.4 to 1 of contrast with the page for each; markers tell them apart in gray."""

    def luminance(color: str) -> float:
        rgb = np.array(mpl.colors.to_rgb(color))
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    assert all(1.05 / (luminance(color) + 0.05) > 2.4 for color in style.COLORS)
    assert len(set(style.MARKERS)) == len(style.MARKERS) == len(style.COLORS) == len(set(style.COLORS))


def test_drawing_leaves_the_settings_of_matplotlib_alone() -> None:
    before = dict(mpl.rcParams)
    drawn(by_rate(), spread)
    assert dict(mpl.rcParams) == before


# Files


def test_both_files_and_the_sidecar_are_written_and_nothing_else(tmp_path: Path) -> None:
    paths = figures.save(drawn(by_rate(), spread), tmp_path / "new" / "folder", "made", {"trials": []})
    assert [path.name for path in paths] == ["made.svg", "made.png", "made.json"]
    assert sorted(p.name for p in (tmp_path / "new" / "folder").iterdir()) == [
        "made.json",
        "made.png",
        "made.svg",
    ]
    assert paths[0].read_text().lstrip().startswith("<?xml") and paths[1].read_bytes()[1:4] == b"PNG"
    assert "Does it matter?" in paths[0].read_text(), "text stays text: it can be searched and read aloud"


def test_a_figure_says_in_words_what_it_shows(tmp_path: Path) -> None:
    figure = drawn(two_arms(), lambda arm, seed: outcome(0.9 if arm["network"] == "bn" else 0.8))
    svg, _, beside = figures.save(figure, tmp_path, "made", {"trials": []})
    told = json.loads(beside.read_text())["alternative_text"]
    assert told == (
        "Does it matter? Each arm's mean with its 95% interval, and every seed. Mean test accuracy "
        "(statistics recomputed): without BN 80.0%; with BN 90.0%."
    )
    assert told in svg.read_text()


def test_in_words_an_arm_is_at_the_rate_that_its_validation_images_prefer() -> None:
    """As in its claims, and whatever the outcome that is drawn."""
    means = {"bn": (0.5, 0.9, 0.95), "affine": (0.4, 0.3, 0.1)}
    validation = {"bn": (0.5, 0.8, 0.7), "affine": (0.4, 0.3, 0.1)}
    rates = by_rate(rates=(0.1, 1.0, 10.0))
    names = [level.name for level in rates.factor("lr").levels]

    def measured(arm: Mapping[str, str], seed: int) -> Outcome:
        network, place = arm["network"], names.index(arm["lr"])
        return outcome(means[network][place], validation=validation[network][place])

    figure = drawn(rates, measured)
    assert figure.get_label().endswith(
        " Mean test accuracy (statistics recomputed), each at its best learning rate: without BN 40.0%; with "
        "BN 90.0%."
    )


@pytest.mark.slow
def test_the_same_records_give_the_same_bytes(tmp_path: Path) -> None:
    """In another process, too: a figure that is committed changes only when its records do."""
    here = [path.read_bytes() for path in figures.save(drawn(by_rate(), spread), tmp_path / "a", "made", {})]
    code = (
        "import sys, pathlib; sys.path.insert(0, sys.argv[1]); import test_figures as t;"
        "t.figures.save(t.drawn(t.by_rate(), t.spread), pathlib.Path(sys.argv[2]), 'made', {})"
    )
    folder = tmp_path / "b"
    subprocess.run([sys.executable, "-c", code, str(Path(__file__).parent), str(folder)], check=True)
    assert [(folder / f"made.{suffix}").read_bytes() for suffix in ("svg", "png", "json")] == here


def test_an_unknown_figure_is_an_error_with_the_nearest_name() -> None:
    """When the file is loaded: not after hours of training."""
    with pytest.raises(
        BnstudyError, match=r"No figure named 'learning rate'\. Did you mean 'learning rates'"
    ):
        replace(by_rate(), figure="learning rate")


def test_the_kinds_that_can_be_named_are_those_that_can_be_drawn() -> None:
    assert tuple(figures.FIGURES) == kinds.FIGURES


def test_a_figure_of_nothing_is_an_error() -> None:
    with pytest.raises(BnstudyError, match="made has no finished trials yet"):
        drawn(by_rate(), lambda arm, seed: crashed())


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "figures").write_text("a file in the way")
    with pytest.raises(BnstudyError, match=r"Cannot write figures to .*figures: .*`bnstudy figures`"):
        figures.save(drawn(two_arms(), by_hand_two), tmp_path / "figures", "made", {})


def by_hand_two(arm: Mapping[str, str], seed: int) -> Outcome:
    return outcome(0.5 + 0.01 * seed)
