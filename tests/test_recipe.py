"""A recipe's name never changes by accident, and a recipe that cannot train does not exist."""

import json
import math
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnstudy import checks
from bnstudy import recipe as module
from bnstudy.errors import BnstudyError
from bnstudy.recipe import (
    BN_LENET,
    FIELDS,
    LENET,
    REVISIONS,
    Recipe,
    canonical_json,
    digest,
    level_name,
    momentum_of_old_weight,
)

# Records on disk are found by these names: a change of one makes every such record an orphan that is
# trained again. They may only change together with a migration of the committed ledgers.
GOLDEN: dict[str, dict[str, Any]] = {
    "44136fa355b3678a": {},
    "8c306b7d1bdb3999": {"norm": "none", "padding": 2, "lr": 0.9},
    "ad73c5b4b5488187": {"lr": 0.3},
    "e92beb47eee372de": {"norm": "affine", "lr": 30},
    "9d53c2040d393e9b": {"batch_size": 64, "epochs": 20, "flush_denormals": False, "precision": "float64"},
    "00f647bf1cf08f9e": {"revisions": {**REVISIONS, "train": 2}},
}


DEFAULT = Recipe().as_dict()


@pytest.fixture
def grown(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module of a later version, whose recipes have one more field."""
    path = Path(str(module.__file__))
    source = path.read_text().replace(
        "    revisions: Mapping", '    warmup: str = "none"\n    revisions: Mapping', 1
    )
    later = ModuleType("later_recipe")
    monkeypatch.setitem(sys.modules, later.__name__, later)
    exec(compile(source, path, "exec"), later.__dict__)
    return later


# Identity


@pytest.mark.parametrize("fingerprint", GOLDEN)
def test_fingerprints_are_golden(fingerprint: str) -> None:
    assert Recipe(**GOLDEN[fingerprint]).fingerprint == fingerprint


def test_the_named_recipes_are_the_textbook_s() -> None:
    assert BN_LENET.canonical() == "{}"
    assert LENET.canonical() == '{"lr":0.9,"norm":"none","padding":2}'
    assert (BN_LENET.lr, BN_LENET.batch_size, BN_LENET.epochs, BN_LENET.padding) == (1.0, 256, 10, 0)


def test_a_new_field_keeps_every_fingerprint(grown: ModuleType) -> None:
    assert grown.Recipe().as_dict()["warmup"] == "none"
    for fingerprint, values in GOLDEN.items():
        assert grown.Recipe(**values).fingerprint == fingerprint
    assert grown.Recipe(warmup="linear").fingerprint not in GOLDEN


def test_records_of_before_a_field_are_read_with_its_default(grown: ModuleType) -> None:
    old = Recipe(lr=0.3)
    new = grown.Recipe.from_dict(old.as_dict())
    assert new.warmup == "none" and new.fingerprint == old.fingerprint


def test_a_raised_revision_is_another_recipe() -> None:
    raised = [Recipe(revisions={**REVISIONS, name: 2}).fingerprint for name in REVISIONS]
    assert len({Recipe().fingerprint, *raised}) == 1 + len(REVISIONS)
    assert Recipe(revisions={"train": 1}).fingerprint == Recipe().fingerprint, "a revision of 1 is as before"


def test_every_field_is_part_of_the_name() -> None:
    others: dict[str, Any] = {
        **{name: next(v for v in choices if v != DEFAULT[name]) for name, choices in checks.CHOICES.items()},
        "train_images": 40_000,
        "validation_images": 0,
        "image_size": 32,
        "padding": 2,
        "depth": 7,
        "width": 50,
        "eps": 1e-3,
        "momentum": 0.9,
        "running_start": 0,
        "gamma": 2,
        "groups": 2,
        "ghost_size": 64,
        "dropout": 0.5,
        "replica": 1,
        "lr": 0.1,
        "batch_size": 64,
        "epochs": 1,
        "updates": 7,
        "norm_at": "conv1",
        "probes": "averages",
        "revisions": {"nets": 3},
        **{name: not DEFAULT[name] for name in FIELDS if isinstance(DEFAULT[name], bool)},
    }
    together = {name: {"net": "stack"} for name in ("skip", "depth", "width")}  # what a field needs beside it
    assert set(others) == set(FIELDS)
    for name, value in others.items():
        base = Recipe(**together.get(name, {}))
        assert base.replace(**{name: value}).fingerprint != base.fingerprint, name


@given(
    st.floats(min_value=1e-30, max_value=1e30),
    st.integers(2, 49_000),
    st.sampled_from(("none", "affine")),
)
def test_a_recipe_comes_back_from_its_record(lr: float, batch_size: int, norm: str) -> None:
    recipe = Recipe(lr=lr, batch_size=batch_size, norm=norm)
    again = Recipe.from_dict(json.loads(json.dumps(recipe.as_dict())))
    assert again == recipe and again.fingerprint == recipe.fingerprint


def test_numbers_are_normalized() -> None:
    assert Recipe(lr=1) == Recipe(lr=1.0) == Recipe()
    assert type(Recipe(lr=3).lr) is float and Recipe(lr=3).fingerprint == Recipe(lr=3.0).fingerprint
    assert Recipe(momentum=momentum_of_old_weight(0.9)).fingerprint == Recipe().fingerprint
    assert momentum_of_old_weight(0.1) == 0.9


def test_canonical_json_is_one_text_for_one_content() -> None:
    assert canonical_json({"b": [1.0, "ö"], "a": {"d": None, "c": True}}) == (
        '{"a":{"c":true,"d":null},"b":[1.0,"ö"]}'
    )
    with pytest.raises(ValueError, match="Out of range float"):
        canonical_json({"lr": math.nan})


def test_a_digest_is_the_beginning_of_sha_256() -> None:
    assert digest("") == "e3b0c44298fc1c14"
    assert digest("abc", 64) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_differences_name_the_fields_with_both_values() -> None:
    assert BN_LENET.differences(LENET) == {
        "padding": (0, 2),
        "norm": ("batch_norm", "none"),
        "lr": (1.0, 0.9),
    }
    assert BN_LENET.differences(Recipe()) == {}


def test_recipes_are_values() -> None:
    assert {Recipe(), Recipe(lr=1), Recipe(lr=2)} == {Recipe(), Recipe(lr=2)}
    with pytest.raises(AttributeError):
        Recipe().lr = 2.0  # type: ignore[misc]
    recipe = Recipe()
    recipe.as_dict()["revisions"]["train"] = 9
    assert recipe.revisions == REVISIONS, "what is handed out is a copy"


@pytest.mark.parametrize(
    ("value", "name"),
    [
        *((0.3, "0.3"), (1, "1"), (1.0, "1"), (1000.0, "1000"), (1e-5, "1e-5"), (1e30, "1e+30")),
        *((True, "on"), (False, "off"), ("batch_norm", "batch_norm"), (0.1 + 0.2, "0.3")),
    ],
)
def test_values_are_written_as_in_a_design(value: Any, name: str) -> None:
    assert level_name(value) == name


# What cannot train


@pytest.mark.parametrize("name", ["lr", "eps"])
@pytest.mark.parametrize("value", [0, -0.1, math.nan, math.inf, -math.inf])
def test_rates_and_eps_are_finite_and_positive(name: str, value: float) -> None:
    with pytest.raises(
        BnstudyError, match=f"{name} = {float(value)!r} cannot train: .* finite number above 0"
    ):
        Recipe(**{name: value})


@pytest.mark.parametrize("value", [0.0, -0.1, 1.1, math.nan])
def test_momentum_is_a_share(value: float) -> None:
    with pytest.raises(
        BnstudyError, match=r"momentum = .* above 0 and at most 1, the weight of the new batch"
    ):
        Recipe(momentum=value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr": "0.1"}, "lr = '0.1' is not a number"),
        ({"lr": True}, "lr = True is not a number"),
        ({"lr": None}, "lr = None is not a number"),
        ({"epochs": 2.0}, "epochs = 2.0 is not a whole number"),
        ({"batch_size": True}, "batch_size = True is not a whole number"),
        ({"norm": None}, "norm = None is not a name"),
        ({"flush_denormals": 1}, "flush_denormals = 1 is not True or False"),
        ({"revisions": {"trane": 1}}, "revisions has .'trane', 1.; it holds whole numbers from 1 for data"),
        ({"revisions": {"train": 0}}, "revisions has .'train', 0."),
        ({"train_images": 0}, "train_images = 0 must be at least 1"),
        ({"validation_images": -1}, "validation_images = -1 must be at least 0"),
        ({"epochs": 0}, "epochs = 0 must be at least 1"),
        ({"padding": -1}, "padding = -1 must be at least 0"),
        ({"batch_size": 0}, "batch_size = 0 must be from 1 to the 50,000 training images"),
        ({"batch_size": 50_001}, "batch_size = 50001 must be from 1 to the 50,000"),
    ],
)
def test_values_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BnstudyError, match=message):
        Recipe(**changes)


@pytest.mark.parametrize(
    ("name", "value", "nearest"),
    [
        ("norm", "batchnorm", "batch_norm"),
        ("data", "fashionmnist", "fashion-mnist"),
        ("precision", "float3", "float32"),
        ("running_variance", "bias", "biased"),
    ],
)
def test_an_unknown_choice_is_told_with_the_nearest(name: str, value: str, nearest: str) -> None:
    with pytest.raises(BnstudyError, match=f"No {name} named '{value}'. Did you mean '{nearest}'?"):
        Recipe(**{name: value})


def test_an_unknown_choice_like_no_other_is_told_with_all() -> None:
    with pytest.raises(BnstudyError, match="Known: affine, batch_norm, batch_norm_scratch, cone, "):
        Recipe(norm="xyz")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"depth": 7}, "depth = 7 is for net='stack', not 'lenet'."),
        ({"width": 50}, "width = 50 is for net='stack', not 'lenet'."),
        ({"net": "stack", "padding": 2}, "padding = 2 is for net='lenet', not 'stack'."),
        (
            {"norm": "none", "trained": "norms"},
            "trained = 'norms' needs scales and shifts, which norm='none'",
        ),
    ],
)
def test_a_field_that_would_be_ignored_is_refused(fields: dict[str, Any], told: str) -> None:
    """Else one training would have two names."""
    with pytest.raises(BnstudyError, match=re.escape(told)):
        Recipe(**fields)


def test_a_default_of_one_network_is_the_recipe_s() -> None:
    assert {name: unused for name, (_, unused) in checks.OF_ONE_NET.items()} == {
        name: DEFAULT[name] for name in checks.OF_ONE_NET
    }


def test_an_unknown_field_is_told_with_the_nearest() -> None:
    with pytest.raises(BnstudyError, match=r"No recipe field named 'batchsize'. Did you mean 'batch_size'?"):
        Recipe().replace(batchsize=3)


def test_a_record_of_a_newer_version_says_so() -> None:
    with pytest.raises(BnstudyError, match=r"field 'warmup' that this version does not know: .* upgrade"):
        Recipe.from_dict({"lr": 0.1, "warmup": "linear"})


@pytest.mark.parametrize("norm", ["batch_norm", "batch_norm_scratch"])
def test_batch_normalization_never_meets_a_single_image(norm: str) -> None:
    with pytest.raises(BnstudyError, match="batch_size = 1 cannot train under batch normalization"):
        Recipe(norm=norm, batch_size=1)
    with pytest.raises(BnstudyError, match="train_images = 513 in batches of 256 leaves a last batch of one"):
        Recipe(norm=norm, train_images=513)
    assert Recipe(norm=norm, train_images=514).train_images == 514
    assert Recipe(norm=norm, train_images=512).train_images == 512


def test_the_textbook_s_formulas_are_silent_about_a_single_image() -> None:
    one = Recipe(norm="batch_norm_scratch", running_variance="biased", batch_size=1)
    assert one.batch_size == 1


@pytest.mark.parametrize("norm", ["none", "affine"])
def test_a_single_image_trains_without_batch_normalization(norm: str) -> None:
    assert Recipe(norm=norm, batch_size=1).batch_size == 1
    assert Recipe(norm=norm, train_images=513).train_images == 513
