"""Each kind of figure shows what its records say, for designs of every shape."""

import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drawn import bars, drawing, drawn, misplaced, points, texts, ticks, written
from handmade import by_rate, diverged, like_the_paper, made, outcome, table, two_arms, write
from matplotlib.figure import Figure

from bnstudy.books import registry
from bnstudy.claims import (
    Claim,
    at_best,
    at_least,
    at_most,
    contains,
    equal_within,
    exact,
    interaction,
    spread_ratio_at_least,
)
from bnstudy.commands import study
from bnstudy.design import Ablation, Factor, Level, across
from bnstudy.errors import BnstudyError
from bnstudy.judgement import parties, stats
from bnstudy.judgement.weighing import weigh
from bnstudy.outcome import Outcome
from bnstudy.plots import figures, style
from bnstudy.plots.contrasts import AVERAGED, contrasts
from bnstudy.plots.drawing import Drawing, called, scale
from bnstudy.plots.label_table import LabelTable
from bnstudy.plots.plot_strips import Strip
from bnstudy.systems import SYSTEMS, published_runs

KINDS = tuple(figures.FIGURES)


def noisy(arm: Mapping[str, str], seed: int) -> Outcome:
    """No two trials score the same, and each arm has a level of its own."""
    draw = random.Random(f"{sorted(arm.items())}{seed}").gauss
    level = random.Random(str(sorted(arm.items()))).uniform(0.84, 0.88)
    running = level - abs(draw(0, 0.02))
    return outcome(
        round(level + draw(0, 0.004), 6),
        epochs=5,
        test_accuracy=round(running, 6),
        tracked_test_accuracy={"0.9": running - 0.01, "0.1": running, "averaged weights": level},
    )


SITE = Factor(
    "site",
    control=Level("none", label="nowhere", norm="none"),
    treatments=(Level("bn", label="everywhere"),),
    varies=("norm",),
)


def two_factors(*claims: Claim, **more: object) -> Ablation:
    return made(SITE, across("lr", 0.1, 1.0, 3.0), **{"seeds": range(4), "claims": claims, **more})


def nested(**more: object) -> Ablation:
    """Dropout of 0 has no site."""
    dropout = Factor("dropout", levels=[Level("0"), *(Level(p, dropout=float(p)) for p in ("0.3", "0.5"))])
    place = Factor(
        "place",
        control=Level("before", "before the norm"),
        treatments=(Level("after", "after all", dropout_at="after_norms"),),
        varies=("dropout_at",),
        where={"dropout": ("0.3", "0.5")},
    )
    return made(SITE, dropout, place, **{"seeds": range(3), **more})


def four_factors(**more: object) -> Ablation:
    return made(
        SITE,
        Factor("optimizer", levels=[Level("sgd", "SGD"), Level("adam", "Adam", optimizer="adam")]),
        across("batch_size", 32, 64),
        across("lr", 0.1, 1.0),
        **{"seeds": range(2), **more},
    )


def many(arms: int = 25, **more: object) -> Ablation:
    """Arms with long names."""
    names = [f"a network with quite a long name that goes on, number {i + 1}" for i in range(arms)]
    levels = [Level(f"n{i}", name, eps=10.0**-i) for i, name in enumerate(names)]
    return made(Factor("network", levels=levels, varies=("eps",)), **{"seeds": range(2), **more})


# Any design can be drawn


def recorded(ablation: Ablation) -> Ablation:
    """Return the ablation with a published number of its first level."""
    factor = ablation.factors[0]
    claim = Claim(
        "Typical.", factor=factor.name, outcome="test_accuracy", effect=contains({factor.levels[0].name: 0.8})
    )
    return replace(ablation, claims=(claim,))


DESIGNS = {
    "one factor": two_arms(seeds=3),
    "nested": nested(),
    "four": four_factors(),
    "one seed": by_rate(seeds=1),
}
CASES = [
    *((kind, "nested") for kind in KINDS if kind != "learning rates"),
    *((kind, "one seed") for kind in KINDS),
    *((kind, "one factor") for kind in ("arms", "curves", "effects", "published")),
    *((kind, "four") for kind in ("learning rates", "dose", "effects")),
]


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_every_kind_draws_every_design_without_a_text_cut_or_covered(kind: str, name: str) -> None:
    figure = drawn(replace(recorded(DESIGNS[name]), figure=kind), noisy, "preview: quick profile")
    assert misplaced(figure) == []
    assert "preview: quick profile" in texts(figure) and "Does it matter?" in texts(figure)


@pytest.mark.parametrize("kind", ["arms", "curves", "effects", "published"])
@pytest.mark.parametrize("arms", [16, 25])
def test_many_arms_with_long_names_fit(kind: str, arms: int) -> None:
    figure = drawn(replace(recorded(many(arms)), figure=kind), noisy)
    assert misplaced(figure) == []
    assert figure.get_figwidth() == pytest.approx(style.WIDTH)


@pytest.mark.parametrize("kind", KINDS)
def test_trials_that_all_agree_diverged_or_are_few_can_be_drawn(kind: str) -> None:
    ablation = replace(recorded(by_rate(seeds=3)), figure=kind)
    for measured in (
        lambda arm, seed: outcome(0.1),
        lambda arm, seed: diverged(),
        lambda arm, seed: noisy(arm, seed) if seed == 1 and arm["network"] == "bn" else None,
        lambda arm, seed: noisy(arm, seed) if arm["lr"] == "1" else None,
    ):
        assert drawn(ablation, measured).axes
    mixed = drawn(
        ablation, lambda arm, seed: diverged() if seed == 2 or arm["lr"] == "100" else noisy(arm, seed)
    )
    assert misplaced(mixed) == [] and "diverged" in texts(mixed)


@pytest.mark.parametrize("path", sorted(registry.find().ablations))
def test_the_figure_of_every_ablation_can_be_drawn(path: str) -> None:
    """With the seeds of a quick run; the design in full has more arms than a test has seconds."""
    ablation = replace(registry.find().get(path), seeds=range(2)).at("quick")
    rates = ablation.figure == "learning rates"

    def measured(arm: Mapping[str, str], seed: int) -> Outcome:
        return like_the_paper({"network": arm.get("norm", "bn"), **arm}, seed) if rates else noisy(arm, seed)

    figure = drawn(ablation, measured, "preview: quick profile")
    assert misplaced(figure) == []


# Every arm


def by_hand(arm: Mapping[str, str], seed: int) -> Outcome:
    return outcome({"none": 0.5, "bn": 0.8}[arm["site"]] + 0.01 * seed + 0.02 * float(arm["lr"]))


def test_arms_are_lines_in_the_order_of_the_design_with_every_seed() -> None:
    (axes,) = drawn(two_factors(), by_hand).axes
    frame = table(two_factors(), by_hand)
    assert written(axes) == [
        *("nowhere", "everywhere", "site"),
        *("0.1", "1", "3", "0.1", "1", "3", "lr"),
        *(
            f"{100 * m:.2f}%"
            for m in frame.groupby(["site", "lr"], observed=True).precise_test_accuracy.mean()
        ),
    ]
    assert axes.get_xlabel() == "test accuracy (statistics recomputed)" and axes.yaxis_inverted()
    places = [text.xy[1] for text in axes.texts if text.get_text().endswith("%")]
    means = {round(x, 9): y for x, y in points(axes, "|")}
    for place, (site, lr) in zip(
        places, ((s, r) for s in ("none", "bn") for r in ("0.1", "1", "3")), strict=True
    ):
        values = frame[(frame.site == site) & (frame.lr == lr)].precise_test_accuracy
        marker = {"none": "o", "bn": "s"}[site]
        assert {x for x, y in points(axes, marker) if abs(y - place) < 0.5} == set(values)
        assert means[round(values.mean(), 9)] == place
        interval = stats.mean(list(values))
        assert ([pytest.approx(interval.low), pytest.approx(interval.high)], [place, place]) in bars(axes)


def test_arms_are_drawn_by_the_first_outcome_that_was_measured() -> None:
    """Exact claims are about zeros, and a probe may not have been on."""
    zero = Claim("Zero.", at={"site": "bn"}, outcome="checks.bias_gradient", effect=exact(0))
    unseen = Claim("Less.", factor="site", outcome="checks.shift", effect=at_most(0))
    quick = Claim("It is quick.", factor="site", outcome="epochs_to_85", effect=at_most(1))

    def measured(arm: Mapping[str, str], seed: int) -> Outcome:
        return outcome(0.9, epochs_to_85=None if seed == 0 else 2 + seed, checks={"bias_gradient": 0.0})

    (axes,) = drawn(two_factors(zero, unseen, quick), measured).axes
    assert axes.get_xlabel() == "number of epochs to 85% validation accuracy"
    assert {x for x, _ in points(axes, "o")} == {3, 4, 5}
    assert not any("%" in label for label in ticks(axes))
    (axes,) = drawn(two_factors(unseen), measured).axes
    assert axes.get_xlabel() == "test accuracy (statistics recomputed)"


def test_an_interval_of_shares_ends_where_shares_do() -> None:
    """Two seeds give intervals of twelve standard errors: no accuracy lies beyond 100%."""
    (axes,) = drawn(two_arms(seeds=2), lambda arm, seed: outcome(0.8 + 0.1 * seed)).axes
    assert [x for x, _ in bars(axes)] == [[pytest.approx(0.2147, abs=1e-3), 1]] * 2


def test_arms_without_trials_are_left_out_and_a_missing_factor_is_a_dash() -> None:
    (axes,) = drawn(nested(), lambda arm, seed: noisy(arm, seed) if arm["site"] == "bn" else None).axes
    assert written(axes)[:14] == [
        *("everywhere", "site", "0", "0.3", "0.5", "dropout"),
        *("-", "before the norm", "after all", "before the norm", "after all", "place"),
        *written(axes)[12:14],
    ]


def test_what_all_arms_share_is_said_once() -> None:
    ablation = two_factors().factors[0], across("lr", 1.0)
    figure = drawn(made(*ablation, seeds=range(2)), noisy)
    assert "All at lr 1." in texts(figure) and "lr" not in written(figure.axes[0])


def test_seeds_that_would_hide_each_other_lie_side_by_side() -> None:
    (axes,) = drawn(two_arms(seeds=5), lambda arm, seed: outcome(0.5 if arm["network"] == "bn" else 0.6)).axes
    heights = sorted(y for _, y in points(axes, "s"))
    assert len(heights) == 5 and min(np.diff(heights)) > 0.1 and heights[-1] - heights[0] < 0.8


def test_labels_say_what_a_line_does_not_share_with_the_one_above() -> None:
    cells = [("a", "x", "1"), ("a", "x", "2"), ("a", "y", "1"), ("b", "y", "1"), ("b", "y", "1")]
    assert LabelTable(cells).shown == [
        ["a", "x", "1"],
        ["", "", "2"],
        ["", "y", "1"],
        ["b", "y", "1"],
        ["", "", "1"],
    ]


def test_labels_that_are_too_long_wrap_and_get_the_height_that_they_need() -> None:
    wide = LabelTable([("a network with quite a long name, " * 4, "x"), ("short", "y")], most=2.0)
    assert sum(wide.widths) < 2.0 and len(wide.lines[0][0]) > 3
    assert wide.heights[0] > 2.5 and wide.heights[1] == 1
    assert wide.places[1] - wide.places[0] == pytest.approx(wide.heights[0])


def test_a_strip_leaves_out_what_was_not_measured() -> None:
    frame = table(two_arms(seeds=2), lambda arm, seed: outcome(0.5, epochs_to_85=None if seed else 3))
    strip = Strip(("",), parties.column(frame, "epochs_to_85"), frame.status == "diverged", style.look(0))
    assert strip.known == [3, 3]


# Curves


def test_curves_have_a_panel_for_each_rate_and_a_line_for_each_arm() -> None:
    figure = drawn(replace(by_rate(seeds=3), figure="curves"), noisy)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["lr 0.1", "lr 1", "lr 10", "lr 100"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["without BN", "with BN"]
    frame = table(by_rate(seeds=3), noisy)
    rows = frame[(frame.network == "bn") & (frame.lr == "10")]
    (line,) = [x for x in figure.axes[2].lines if x.get_marker() == "s"]
    assert list(line.get_ydata()) == pytest.approx(np.mean([*rows.validation_accuracy], axis=0))
    low, high = stats.mean([curve[-1] for curve in rows.validation_accuracy]).low, None
    band = figure.axes[2].collections[1].get_paths()[0].vertices
    assert band[:, 1].min() <= low + 1e-9 or high is None
    assert {1.0, 5.0} <= set(band[:, 0])


def test_one_panel_has_labels_at_the_ends_of_its_lines_and_no_key() -> None:
    figure = drawn(replace(two_arms(seeds=3), figure="curves"), noisy)
    (axes,) = figure.axes
    assert set(written(axes)) == {"without BN", "with BN"} and not figure.legends
    colors = {text.get_text().strip(): text.get_color() for text in axes.texts}
    assert colors == {"without BN": style.COLORS[0], "with BN": style.COLORS[1]}


def test_many_seeds_are_a_band_and_few_are_lines_of_their_own() -> None:
    few, lots = (drawn(replace(two_arms(seeds=n), figure="curves"), noisy).axes[0] for n in (12, 13))
    assert len(few.lines) == 2 * (12 + 1) and len(lots.lines) == 2


def test_curves_of_different_lengths_have_axes_of_their_own() -> None:
    images = Factor(
        "images", levels=[Level("all"), Level("few", epochs=9)], varies=("epochs",), role="nuisance"
    )
    ablation = made(SITE, images, figure="curves", seeds=range(2))
    figure = drawn(ablation, lambda arm, seed: outcome(0.8, epochs=9 if arm["images"] == "few" else 2))
    assert [ticks(axes)[-1] for axes in figure.axes] == ["2", "8"]


# Dose


def test_a_dose_has_every_seed_and_the_means_and_intervals_of_each_level() -> None:
    ablation = replace(by_rate(seeds=4), figure="dose")
    (axes,) = drawn(ablation, noisy).axes
    frame = table(ablation, noisy)
    assert axes.get_xscale() == "log" and axes.get_xlabel() == "learning rate"
    assert ticks(axes) == ["0.1", "1", "10", "100"]
    for name, marker in (("affine", "o"), ("bn", "s")):
        rows = frame[frame.network == name]
        xy = set(zip(rows.lr.astype(float), rows.precise_test_accuracy, strict=True))
        assert points(axes, marker) == xy
        means = rows.groupby(rows.lr.astype(float)).precise_test_accuracy.mean()
        assert dict(points(axes, marker, hollow=False)) == pytest.approx(dict(means))
    one = stats.mean(list(frame[(frame.network == "bn") & (frame.lr == "10")].precise_test_accuracy))
    assert ([10, 10], [pytest.approx(one.low), pytest.approx(one.high)]) in bars(axes)


def test_series_at_one_level_lie_beside_each_other() -> None:
    (axes,) = drawn(replace(by_rate(seeds=3), figure="dose"), noisy).axes
    axes.get_figure().draw_without_rendering()
    places = {
        line.get_marker(): line.get_transform().transform((10, 0.85))[0]
        - axes.transData.transform((10, 0.85))[0]
        for line in axes.lines
        if line.get_linestyle() != "None" and line.get_marker() in "os"
    }
    assert places["s"] == pytest.approx(-places["o"]) and 2 < places["s"] < 8


def test_an_arm_without_a_nested_factor_is_on_the_line_of_its_control() -> None:
    """Dropout 0 has no place: it is drawn once, where the line of dropout before the norm begins."""
    (axes,) = drawn(nested(figure="dose"), noisy).axes
    lines = {
        line.get_linestyle(): line
        for line in axes.lines
        if line.get_marker() == "s" and len(line.get_xdata()) > 1 and line.get_linestyle() != "None"
    }
    assert list(lines["-"].get_xdata()) == [0, 0.3, 0.5] and list(lines["--"].get_xdata()) == [0.3, 0.5]
    assert set(written(axes)) == {
        f"{site}, {place}" for site in ("nowhere", "everywhere") for place in ("before the norm", "after all")
    }


@pytest.mark.parametrize(
    ("levels", "kind"),
    [
        ((0.1, 1, 10), "log"),
        ((16, 32, 64, 2048), "log"),
        ((5, 20, 100), "log"),
        ((0.1, 1), "log"),
        ((0, 0.1, 0.3, 0.5), "linear"),
        ((1, 2, 3), "linear"),
        ((10, 50, 100), "linear"),
        ((0, 0.001, 0.01, 0.1), "symlog"),
        ((-1, 1, 10, 100), "linear"),
    ],
)
def test_an_axis_is_logarithmic_where_the_levels_are(levels: tuple[float, ...], kind: str) -> None:
    assert scale(levels) == kind


def test_a_dose_from_zero_on_a_log_axis_can_be_drawn() -> None:
    levels = [Level("0", eps=1.0), *(Level(f"{x:g}", eps=x) for x in (0.001, 0.01, 0.1))]
    figure = drawn(
        made(Factor("noise", levels=levels, varies=("eps",)), figure="dose", seeds=range(3)), noisy
    )
    assert figure.axes[0].get_xscale() == "symlog" and ticks(figure.axes[0]) == ["0", "0.001", "0.01", "0.1"]


def test_a_dose_needs_numbers() -> None:
    with pytest.raises(BnstudyError, match=r"'dose' of made needs a factor with two levels named by numbers"):
        drawn(two_arms(figure="dose"), noisy)


def test_an_axis_is_called_after_its_factor_and_what_its_labels_add() -> None:
    assert called(across("lr", 0.1, 1)) == "learning rate"
    assert (
        called(Factor("depth", levels=[Level(n, f"{n} layers", depth=int(n)) for n in "12"]))
        == "depth (N layers)"
    )
    batch = [Level(n, f"batch {n}", batch_size=int(n)) for n in ("16", "32")]
    assert called(Factor("batch", levels=batch, varies=("batch_size",))) == "batch size"
    padded = [Level(n, f"{n} the norm", padding=2 * i) for i, n in enumerate(("before", "after"))]
    site = Factor("site", levels=padded, varies=("padding",))
    assert called(site) == "site", "no number, so that no N stands for it"


def test_learning_rates_need_rates() -> None:
    with pytest.raises(BnstudyError, match=r"'learning rates' of made needs a factor named 'lr'"):
        drawn(two_arms(figure="learning rates"), noisy)


# Effects


HELPS = Claim("It helps.", factor="site", effect=at_least(0.02))


def test_effects_are_paired_by_seed_averaged_and_by_circumstance() -> None:
    ablation = two_factors(HELPS, figure="effects")
    lines = contrasts(drawing(ablation, noisy))
    assert [(line.what, line.where, bool(line.claims)) for line in lines] == [
        ("everywhere \N{MINUS SIGN} nowhere", AVERAGED, True),
        ("everywhere \N{MINUS SIGN} nowhere", "lr 0.1", False),
        ("everywhere \N{MINUS SIGN} nowhere", "lr 1", False),
        ("everywhere \N{MINUS SIGN} nowhere", "lr 3", False),
    ]
    frame = table(ablation, noisy)
    wide = frame.pivot_table("precise_test_accuracy", "seed", ["site", "lr"], observed=True)
    for line, lr in zip(lines[1:], ("0.1", "1", "3"), strict=True):
        assert line.differences == pytest.approx(list(wide["bn", lr] - wide["none", lr]))
    assert lines[0].differences == pytest.approx(list(wide["bn"].mean(axis=1) - wide["none"].mean(axis=1)))


def test_an_effect_has_the_interval_and_margin_of_its_verdict_in_points() -> None:
    ablation = two_factors(HELPS, figure="effects")
    figure = drawn(ablation, noisy)
    (axes,) = figure.axes
    interval = weigh(ablation, parties.finished(table(ablation, noisy)), HELPS).interval
    assert interval is not None
    estimate = interval(0.95)
    ends, (place, _) = bars(axes)[0]
    assert ends == pytest.approx([100 * estimate.low, 100 * estimate.high])
    assert f"{100 * estimate.value:+.2f}".replace("-", "\N{MINUS SIGN}") in " ".join(written(axes))
    (margin,) = [x for x in axes.lines if x.get_linestyle() == "--"]
    assert list(margin.get_xdata()) == [2, 2] and min(margin.get_ydata()) < place < max(margin.get_ydata())
    region = axes.collections[0].get_paths()[0].vertices
    assert region[:, 0].min() == 2 and region[:, 0].max() == axes.get_xlim()[1]
    assert axes.get_xlabel() == "difference in points of test accuracy (statistics recomputed)"
    assert "where the claim holds" in texts(figure)


def test_margins_of_every_rule_are_within_the_page() -> None:
    claims = (
        Claim("Less.", factor="site", effect=at_most(-0.4)),
        Claim("Same.", factor="site", effect=equal_within(0.3), at={"lr": "1"}),
    )
    (axes,) = drawn(two_factors(*claims, figure="effects"), noisy).axes
    margins = sorted(line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == "--")
    assert margins == [-40, -30, 30]
    low, high = axes.get_xlim()
    assert low < -40 and high > 30


def test_claims_on_more_than_two_levels_of_one_factor_are_lines_of_their_own() -> None:
    both = Claim(
        "The gain grows.",
        contrast=interaction({"site": ("bn", "none"), "lr": ("3", "0.1")}),
        effect=at_least(0),
    )
    best = Claim("At its best it helps.", factor="site", outcome=at_best("lr"), effect=at_least(0.01))
    several = Claim(
        "Both at once.",
        treatment={"site": "bn", "lr": "1"},
        control={"site": "none", "lr": "3"},
        effect=at_least(0),
    )
    ablation = two_factors(both, best, several, HELPS, figure="effects")
    lines = contrasts(drawing(ablation, noisy))
    assert [line.what for line in lines][:4] == [
        "The gain grows.",
        "At its best it helps.",
        "Both at once.",
        "everywhere \N{MINUS SIGN} nowhere",
    ]
    frame = parties.finished(table(ablation, noisy))
    for claim, line in zip((both, best, several), lines, strict=False):
        interval = weigh(ablation, frame, claim).interval
        assert interval is not None and np.mean(line.differences) == pytest.approx(interval(0.95).value)


def test_claims_of_another_outcome_or_of_levels_left_out_are_not_drawn() -> None:
    area = Claim("Faster.", factor="site", outcome="validation_area", effect=at_least(0))
    kept = two_factors(HELPS, area, Claim("At 3.", factor="site", at={"lr": "3"}, effect=at_least(0)))
    part = replace(kept, factors=(kept.factors[0], kept.factors[1].only(["0.1", "1"])), declared=kept)
    lines = contrasts(drawing(part, noisy))
    assert [claim.text for line in lines for claim in line.claims] == ["It helps."]


def test_a_comparison_is_shown_the_way_round_that_its_claim_says_it() -> None:
    claim = Claim("Removing it costs.", factor="site", treatment="none", control="bn", effect=at_most(0))
    lines = contrasts(drawing(two_factors(claim), noisy))
    assert {line.what for line in lines} == {"nowhere \N{MINUS SIGN} everywhere"}


def test_factors_that_a_claim_changes_together_are_drawn_each_by_itself_as_well() -> None:
    both = Claim(
        "Both at once.",
        treatment={"site": "bn", "lr": "1"},
        control={"site": "none", "lr": "0.1"},
        effect=at_least(0),
    )
    lines = contrasts(drawing(two_factors(both), noisy))
    assert list(dict.fromkeys(line.what for line in lines)) == [
        "Both at once.",
        "everywhere \N{MINUS SIGN} nowhere",
        "lr 1 \N{MINUS SIGN} lr 0.1",
        "lr 3 \N{MINUS SIGN} lr 0.1",
    ]


def test_an_average_is_that_of_its_circumstances_where_only_the_control_has_further_factors() -> None:
    """Dropout 0, which has no place, against dropout 0.5 before the norm, not against all places of it."""
    levels = [Level("0.5", dropout=0.5), Level("0")]
    place = Factor(
        "place",
        levels=[Level("before"), Level("after", dropout_at="after_norms")],
        varies=("dropout_at",),
        where={"dropout": ("0.5",)},
    )
    ablation = made(SITE, Factor("dropout", levels=levels), place, seeds=range(3), claims=())
    lines = contrasts(drawing(ablation, noisy))
    average, *cells = [line for line in lines if line.what.startswith("dropout 0 ")]
    assert average.where == AVERAGED and len(cells) == 2
    assert average.differences == pytest.approx(np.mean([cell.differences for cell in cells], axis=0))


def test_a_nested_arm_is_compared_with_the_control_that_has_what_it_has() -> None:
    """Dropout 0.5 after all against dropout 0, which has no place."""
    lines = contrasts(
        drawing(nested(claims=(Claim("x", factor="dropout", treatment="0.5", effect=at_least(0)),)), noisy)
    )
    wheres = [line.where for line in lines if line.what.startswith("dropout 0.5")]
    assert wheres == [
        AVERAGED,
        *(f"{s}, {p}" for s in ("nowhere", "everywhere") for p in ("before the norm", "after all")),
    ]
    frame = table(nested(), noisy)
    here = frame[(frame.site == "bn") & (frame.dropout == "0.5") & (frame.place == "after")].set_index("seed")
    there = frame[(frame.site == "bn") & (frame.dropout == "0")].set_index("seed")
    last = [line for line in lines if line.what.startswith("dropout 0.5")][-1]
    assert last.differences == pytest.approx(list(here.precise_test_accuracy - there.precise_test_accuracy))


def test_many_circumstances_become_ticks_on_the_line_of_their_average() -> None:
    rates = [0.01 * 1.5**i for i in range(31)]
    ablation = made(SITE, across("lr", *rates), seeds=range(2), claims=(HELPS,), figure="effects")
    figure = drawn(ablation, noisy)
    (axes,) = figure.axes
    assert written(axes)[0] == "everywhere \N{MINUS SIGN} nowhere" and AVERAGED not in written(axes)
    (small,) = [x for x in axes.lines if x.get_marker() == "|" and x.get_markersize() == 5]
    assert len(small.get_xdata()) == 31 and "small ticks" in texts(figure)


def test_differences_that_are_all_the_same_have_no_interval() -> None:
    """An interval of no width would be certainty out of nothing."""
    (axes,) = drawn(two_factors(HELPS, figure="effects"), lambda arm, seed: outcome(0.1)).axes
    assert bars(axes) == [] and written(axes)[-1] == "+0.00"


def test_effects_without_a_pair_are_the_arms_alone() -> None:
    figure = drawn(
        two_factors(HELPS, figure="effects"), lambda a, s: noisy(a, s) if a["site"] == "bn" else None
    )
    assert "number: mean" in texts(figure)


# Statistics


def test_statistics_compare_ways_to_predict_with_the_same_weights() -> None:
    claim = Claim(
        "x",
        outcome="test_accuracy",
        against="precise_test_accuracy",
        at={"lr": "1"},
        effect=spread_ratio_at_least(3),
    )
    ablation = made(
        across("lr", 0.1, 1.0, role="scientific"), seeds=range(20), claims=(claim,), figure="statistics"
    )
    figure = drawn(ablation, noisy)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["lr 0.1", "lr 1"]
    labels = ["running averages", "recomputed after training", "each batch's own", "averages, weight 0.9"]
    first, second = figure.axes
    assert written(first)[:6] == [*labels, "averages, weight 0.1", "averaged weights"]
    frame = table(ablation, noisy)
    values = frame[frame.lr == "1"].test_accuracy
    assert written(second)[0] == f"{100 * values.std():.2f}"
    ends, _ = bars(second)[0]
    assert ends == pytest.approx([values.mean() - values.std(), values.mean() + values.std()])
    assert {x for x, y in points(second, "o") if y < 1} == set(values)
    widths = [high - low for low, high in (axes.get_xlim() for axes in figure.axes)]
    assert widths[0] == pytest.approx(widths[1]), "spreads can be compared by eye"


def test_statistics_without_tracked_averages_have_three_lines() -> None:
    figure = drawn(two_arms(figure="statistics"), lambda arm, seed: outcome(0.8 + 0.01 * seed))
    assert len([w for w in written(figure.axes[0]) if not w[0].isdigit()]) == 3
    assert "weight:" not in texts(figure)


# Published


def systems(claims: tuple[Claim, ...], seeds: int = 10, **more: object) -> Ablation:
    factor = Factor("system", levels=[Level("S4b"), Level("S3b", drop_last=True)], varies=("drop_last",))
    return made(factor, claims=claims, seeds=range(seeds), figure="published", **more)


TYPICAL = Claim(
    "x", factor="system", outcome="test_accuracy", effect=contains({"S4b": 0.83, "S3b": 0.882}, 0.0005)
)


def test_published_runs_are_marks_over_ours_with_a_simultaneous_interval() -> None:
    fit = Claim("y", factor="system", outcome="online_train_accuracy.last", effect=contains({"S3b": 0.902}))
    figure = drawn(systems((TYPICAL, fit)), noisy)
    assert [axes.get_xlabel() for axes in figure.axes] == [
        "test accuracy (running averages)",
        "training accuracy over the last epoch",
    ]
    above, below = figure.axes
    assert sorted(x for x, _ in points(above, "D", hollow=True)) == [0.83, 0.882]
    values = list(table(systems(()), noisy).query("system == 'S4b'").test_accuracy)
    interval = stats.prediction(values, 1 - 0.05 / 2)
    ends, _ = bars(above)[0]
    assert ends == pytest.approx([interval.low - 0.0005, min(1, interval.high + 0.0005)])
    assert f"83.0%, above {sum(v < 0.83 for v in values)} of 10 seeds" in written(above)
    assert len([w for w in written(below) if "seeds" in w]) == 1


def test_the_many_published_runs_of_the_textbook_s_recipe_have_a_line() -> None:
    ablation = systems((TYPICAL,), base=SYSTEMS["S4b"])
    (axes,) = drawn(ablation, noisy).axes
    assert "16 published runs of S4b" in written(axes)
    shown = points(axes, "D")
    assert {run.test_accuracy for run in published_runs()} <= {x for x, _ in shown}
    assert "published runs of" not in texts(drawn(systems((TYPICAL,)), noisy)), "another recipe"


def test_one_recorded_number_of_an_arm_alone_can_be_drawn() -> None:
    alone = Claim("x", at={"system": "S3b"}, outcome="test_accuracy", effect=contains(0.882))
    (axes,) = drawn(systems((alone,)), noisy).axes
    assert {x for x, _ in points(axes, "D")} == {0.882}


def test_nothing_recorded_is_an_error() -> None:
    with pytest.raises(BnstudyError, match=r"'published' of made needs a claim with effect=contains"):
        drawn(systems(()), noisy)


# A figure of the ablation's own


def own(drawing: Drawing) -> Figure:
    figure = Figure(figsize=(3, 2))
    figure.subplots().plot([1, len(drawing.frame)])
    return figure


def test_a_figure_function_is_drawn_and_published_like_any_other(tmp_path: Path) -> None:
    ablation = two_arms(figure=own)
    place = study.Place(tmp_path, "quick", pytest.fail)
    write(place.folder, ablation, noisy)
    paths = study.draw(study.judge(ablation, place), place)
    assert [path.name for path in paths] == ["made.svg", "made.png", "made.json"]
    assert "preview: quick profile" in paths[0].read_text()
    assert study.stale_figure(ablation, place, place.ledger("made").recorded()) == ""


def test_a_figure_function_that_fails_is_told_with_its_line() -> None:
    def broken(drawing: Drawing) -> Figure:
        raise ValueError("no\nsuch thing")

    here = Path(__file__).read_text().split("raise ValueError")[0].count("\n") + 1
    with pytest.raises(
        BnstudyError, match=rf"'broken' of made failed at .*kinds\.py, line {here}: ValueError: no such"
    ):
        drawn(two_arms(figure=broken), noisy)
    with pytest.raises(BnstudyError, match=r"must return a matplotlib Figure, not list"):
        drawn(two_arms(figure=lambda drawing: []), noisy)


# Subsets of parts that are off or on


def part(name: str) -> Factor:
    levels = (Level("off", **{name: False}), Level("on", **{name: True}))
    return Factor(name, levels=levels, varies=(name,))


def test_subsets_stand_in_columns_the_smaller_ones_first() -> None:
    """Above, the seeds of each arm over its column; below, a dot for each part, filled where it is on."""
    parts = [part("drop_last"), part("train_gamma")]
    above, below = drawn(made(*parts, across("lr", 0.1, 1), figure="subsets", seeds=range(3)), noisy).axes
    filled = {
        (int(x), int(y))
        for line in below.lines
        for x, y in line.get_xydata()
        if line.get_marker() == "o" and line.get_markerfacecolor() != "none"
    }
    off_first = [frozenset(y for x, y in filled if x == column) for column in range(4)]
    assert off_first[0] == set() and {off_first[1], off_first[2]} == {frozenset({0}), frozenset({1})}
    assert off_first[3] == {0, 1} and [t.get_text() for t in below.get_yticklabels()] == [
        "drop last",
        "train gamma",
    ]
    seen = sorted((round(x), y) for marker in "os" for x, y in points(above, marker))
    assert [x for x, _ in seen] == sorted([0, 1, 2, 3] * 2 * 3)
    both = {"drop_last": "on", "train_gamma": "on"}
    told = [
        noisy(both | {"lr": rate}, seed).precise_test_accuracy for rate in ("0.1", "1") for seed in range(3)
    ]
    assert sorted(y for x, y in seen if x == 3) == pytest.approx(sorted(map(float, filter(None, told))))


def test_subsets_need_a_factor_of_two_levels() -> None:
    with pytest.raises(
        BnstudyError, match="needs a scientific factor of two levels, off and on, and there is"
    ):
        drawn(made(across("lr", 0.1, 1, 10), figure="subsets"), noisy)
