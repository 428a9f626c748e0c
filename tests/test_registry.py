"""Ablations are found wherever they are, and a broken file is named without taking the others along."""

import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from bnstudy.books import registry
from bnstudy.books.registry import Registry, find, load
from bnstudy.errors import BnstudyError

GOOD = """
from bnstudy.design import Ablation, across

ablation = Ablation(question="Which rates?", source="here", factors=(across("lr", 0.1, 1),), seeds=range(5))
"""


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with one ablation and no other packages."""
    folder = tmp_path / "own"
    write(folder, "lr_sweep", GOOD)
    monkeypatch.setattr(registry, "own_folder", lambda: folder)
    monkeypatch.setattr(registry, "entry_points", lambda group: EntryPoints())
    return folder


def write(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.py").write_text(text)
    return folder / f"{name}.py"


def names(found: Registry) -> list[str]:
    return list(found.ablations)


def test_the_project_s_own_ablations_load() -> None:
    """From the folder itself in a checkout, from inside the package in an installed wheel."""
    folder = Path(registry.__file__).parents[2] / "ablations"
    for path in folder.glob("*.py"):
        assert load(path).name == path.stem.replace("_", "-")


def test_an_ablation_is_named_after_its_file(own: Path) -> None:
    found = find()
    assert names(found) == ["lr-sweep"] and found.broken == {}
    assert found.get("lr-sweep").question == "Which rates?"


def test_a_folder_of_the_user_s_own_is_read_too(own: Path, tmp_path: Path) -> None:
    write(tmp_path / "mine", "my_question_2", GOOD)
    assert names(find(tmp_path / "mine")) == ["lr-sweep", "my-question-2"]


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(BnstudyError, match=r"--ablations .*absent: there is no such folder"):
        find(tmp_path / "absent")


def test_the_project_s_own_folder_may_be_named_again(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--ablations ablations` in a checkout is no conflict of names."""
    monkeypatch.chdir(own.parent)
    assert find(Path("own")).broken == {}


def test_an_unknown_name_is_answered_with_the_nearest(own: Path) -> None:
    write(own, "broken_one", "1 / 0")
    with pytest.raises(BnstudyError, match=r"No ablation named 'lr-swep'\. Did you mean 'lr-sweep'\?.*list"):
        find().get("lr-swep")
    with pytest.raises(BnstudyError, match="Did you mean 'broken-one'"):
        find().get("broken-on")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = 1\ndef f(:\n", ", line 2: not valid Python: invalid syntax"),
        ("x = 1\n\0\n", ": not valid Python: source code string cannot contain null bytes"),
        ("\n\n1 / 0\n", ", line 3: ZeroDivisionError: division by zero"),
        ("raise ValueError('two\\nlines')\n", ", line 1: ValueError: two lines"),
        ("import sys\nsys.exit('bye')\n", ", line 2: SystemExit: bye"),
        ("\nimport no_such_package\n", ", line 2: ModuleNotFoundError: No module named 'no_such_package'"),
        ("ablation = 5\n", " declares no `ablation = Ablation(...)`."),
        (
            GOOD.replace("\nablation =", "\nmine ="),
            " declares no `ablation = Ablation(...)`; rename 'mine' of line 4 to `ablation`.",
        ),
        ("", " declares no `ablation = Ablation(...)`."),
        (
            GOOD.replace("across(", "across('lrr', 1), across("),
            ", line 4, factors: No recipe field named 'lrr'",
        ),
        (
            GOOD.replace("across", "Factor, Level").replace(
                'Factor, Level("lr", 0.1, 1)',
                'Factor("norm", levels=(Level("bn"), Level("none", norm="none", padding=2)))',
            ),
            ", line 4, padding: Arms norm=none and norm=bn also differ in 'padding' (2 and 0)",
        ),
    ],
    ids=["syntax", "zeros", "error", "lines", "exit", "import", "type", "name", "empty", "field", "confound"],
)
def test_a_broken_file_is_named_with_its_line_and_the_others_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "mine", "a_broken", text)
    write(tmp_path / "mine", "whole", GOOD)
    found = find(Path("mine"))
    assert names(found) == ["lr-sweep", "whole"] and list(found.broken) == ["a-broken"]
    told = str(found.broken["a-broken"])
    assert told.startswith(f"{path}{expected}") and "\n" not in told
    with pytest.raises(BnstudyError) as raised:
        found.get("a-broken")
    assert str(raised.value) == told


WHOLE = """
from bnstudy.claims import Claim, at_least
from bnstudy.design import Ablation, Factor, Level, Profile, across

ablation = Ablation(
    question="Which rates?",
    source="here",
    factors=(
        Factor(
            "network",
            control=Level("affine", norm="affine"),
            treatments=(
                Level("bn"),
            ),
            varies=("norm",),
        ),
        across("lr", 0.1, 1),
    ),
    seeds=range(5),
    claims=(
        Claim(
            "BN helps.",
            factor="network",
            outcome="test_accuracy",
            at={"lr": "1"},
            effect=at_least(0.01),
        ),
    ),
    smoke=Profile(
        seeds=2,
        levels={"lr": ("1",)},
        base={"data": "sample", "train_images": 320, "validation_images": 100, "epochs": 1, "batch_size": 64},
    ),
    figure="arms",
)
"""


@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [
        ("(0.01)", "(0.01)", ""),
        (
            '"affine", norm=',
            '"affine", nrom=',
            "11, nrom: No recipe field named 'nrom'. Did you mean 'norm'?",
        ),
        ('norm="affine"', "norm=3", "11, norm: Level 'affine': norm = 3 is not a name."),
        (
            'norm="affine"',
            'norm="afine"',
            "11, norm: Level 'affine': No norm named 'afine'. Did you mean 'affine'?",
        ),
        ('"bn"', "0.1", '13: Level: name = 0.1 is not what it takes, such as "bn".'),
        (
            '(\n                Level("bn"),\n            )',
            '(\n                Level("bn")\n            )',
            "12, treatments: Factor 'network': treatments = Level(...) is not what it takes, such as "
            '(Level("bn"), Level("none", norm="none")): a tuple of one has a comma, (Level(...),).',
        ),
        (
            'varies=("norm",)',
            'varies="norm"',
            "15, varies: Factor 'network': varies = 'norm' is not what it takes, such as (\"norm\", "
            "\"padding\"): a tuple of one has a comma, ('norm',).",
        ),
        (
            "control=Level",
            "contrl=Level",
            "11, contrl: No field of Factor named 'contrl'. Did you mean 'control'?",
        ),
        ("0.1, 1)", '"a", 1)', "17: Level 'a': lr = 'a' is not a number."),
        ("0.1, 1)", "-0.1, 1)", "17, factors: lr = -0.1 cannot train: it must be a finite number above 0."),
        ("seeds=range", "seed=range", "19, seed: No field of Ablation named 'seed'. Did you mean 'seeds'?"),
        ("range(5)", "5", "19, seeds: Ablation: seeds = 5 is not what it takes, such as range(5)."),
        ("    seeds=range(5),\n", "", "5: Ablation needs seeds=...."),
        (
            "Ablation(\n",
            "Ablation(\n    3,\n",
            "5: Ablation takes its fields by name: question=..., source=..., ",
        ),
        ('"here"', "7", '7, source: Ablation: source = 7 is not what it takes, such as "my own".'),
        (
            'factor="network"',
            'factor="netwrk"',
            "23, factor: No factor named 'netwrk'. Did you mean 'network'?",
        ),
        ('"test_acc', '"test_ac', "24, outcome: No outcome that is one number named 'test_acuracy'."),
        ('"test_acc', '"validation_acc', "24, outcome: The claim 'BN helps.' needs one number a trial"),
        ('at={"lr": "1"}', 'at={"lr": "2"}', "25, at: No level of factor 'lr' named '2'. Known: 0.1, 1."),
        (
            'at={"lr": "1"}',
            'at={"lr": 1}',
            "25, at: The claim 'BN helps.': at = {'lr': 1} is not what it takes",
        ),
        ("at_least(0.01)", "0.01", "26, effect: The claim 'BN helps.': effect = 0.01 is not what it takes"),
        ("at_least(0.01)", 'at_least("a")', "26: A claim's margin must be a finite number, not 'a'."),
        ("effect=", "effct=", "26, effct: No field of Claim named 'effct'. Did you mean 'effect'?"),
        ("            effect=at_least(0.01),\n", "", "21: Claim needs effect=...."),
        (
            '("1",)}',
            '("5",)}',
            "31, levels: No level of factor 'lr' named '5'. Known: 0.1, 1. (In the smoke ",
        ),
        ('"epochs": 1', '"epoch": 1', "32, base: No recipe field named 'epoch'. Did you mean 'epochs'?"),
        ('"epochs": 1', '"epochs": 0', "32, base: epochs = 0 must be at least 1. (In the smoke profile.)"),
        ("smoke=Profile(", "smoke=dict(", "29, smoke: Ablation: smoke = {'seeds': 2, "),
        ('"arms"', '"arm"', "34, figure: No figure named 'arm'. Did you mean 'arms'?"),
        ('"arms"', "3", '34, figure: Ablation: figure = 3 is not what it takes, such as "arms".'),
        ("at_least(0.01)", "at_leest(0.01)", "26: NameError: name 'at_leest' is not defined"),
    ],
)
def test_a_mistake_is_told_with_line_and_field(own: Path, right: str, wrong: str, told: str) -> None:
    assert right in WHOLE
    path = write(own, "mistaken", WHOLE.replace(right, wrong, 1))
    broken = find().broken
    if not told:
        assert broken == {}
        return
    assert list(broken) == ["mistaken"] and names(find()) == ["lr-sweep"]
    assert str(broken["mistaken"]).startswith(f"{path}, line {told}")
    assert "\n" not in str(broken["mistaken"])


def test_a_claim_made_in_a_loop_is_told_with_what_is_known_of_its_place(own: Path) -> None:
    """Its text stands nowhere in the file: the line is that of the ablation."""
    text = WHOLE.replace('"BN helps."', '"BN {}.".format("helps")').replace(
        'at={"lr": "1"}', "at=(('lr', str(2)),)"
    )
    path = write(own, "mistaken", text)
    assert str(find().broken["mistaken"]).startswith(f"{path}, line 5: No level of factor 'lr' named '2'")


def test_lists_do_where_tuples_are_meant(own: Path) -> None:
    text = WHOLE.replace("factors=(", "factors=[").replace(
        '        across("lr", 0.1, 1),\n    ),', '        across("lr", 0.1, 1),\n    ],'
    )
    write(own, "listed", text)
    assert isinstance(find().get("listed").factors, tuple)


@pytest.mark.parametrize("name", ["LrSweep", "lr-sweep2", "2_rates", "a__b"])
def test_a_file_must_be_named_as_ablations_are(own: Path, name: str) -> None:
    write(own, name, GOOD)
    [told] = map(str, find().broken.values())
    assert f"{name}.py: an ablation's file is named in lower case and underscores" in told


@pytest.mark.parametrize("name", ["__init__", "_shared", ".#lr_sweep"])
def test_files_that_are_not_ablations_are_passed_over(own: Path, name: str) -> None:
    write(own, name, "1 / 0")
    assert find().broken == {}


def test_a_name_that_exists_twice_is_refused(own: Path, tmp_path: Path) -> None:
    """Whoever runs it must know which of the two runs."""
    path = write(tmp_path / "mine", "lr_sweep", GOOD)
    write(tmp_path / "mine", "whole", GOOD)
    found = find(tmp_path / "mine")
    assert names(found) == ["lr-sweep", "whole"]
    with pytest.raises(BnstudyError, match=rf"{path}: an ablation named 'lr-sweep' exists already; rename"):
        found.get("lr-sweep")


def test_loading_leaves_nothing_behind_and_imports_nothing_heavy(own: Path) -> None:
    for path in own.glob("**/*"):
        assert path.name == "lr_sweep.py"
    find()
    assert [path.name for path in own.iterdir()] == ["lr_sweep.py"]
    assert sys.dont_write_bytecode == bool(sys.flags.dont_write_bytecode)


def test_an_ablation_file_may_hold_dataclasses(own: Path) -> None:
    """They look their module up, which has to be there while the file loads."""
    code = "from __future__ import annotations\nfrom dataclasses import dataclass\n"
    write(own, "classes", f"{code}@dataclass\nclass Point:\n    x: int\n{GOOD}")
    assert find().broken == {}


# Other packages


def enter(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    point = EntryPoint("theirs", value, registry.ENTRY_POINT)
    monkeypatch.setattr(registry, "entry_points", lambda group: EntryPoints([point]).select(group=group))


def test_another_package_adds_ablations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site" / "their_package" / "ablations"
    package.mkdir(parents=True)
    write(package, "their_question", GOOD)
    write(package, "__init__", "")
    write(package.parent, "__init__", "")
    monkeypatch.syspath_prepend(tmp_path / "site")
    enter(monkeypatch, "their_package.ablations")
    assert names(find()) == ["lr-sweep", "their-question"]


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("no_such_package", "there is no such package"),
        ("no_such_package.ablations", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("broken_package.ablations", "ZeroDivisionError: division by zero"),
        ("json.decoder", "there is no such package"),
    ],
)
def test_a_broken_package_is_named_and_takes_nothing_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, why: str
) -> None:
    """Whatever is installed beside bnstudy, its commands work."""
    write(tmp_path / "broken_package", "__init__", "1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    enter(monkeypatch, value)
    found = find()
    assert names(found) == ["lr-sweep"]
    assert str(found.broken["entry point theirs"]) == (
        f"The entry point theirs = {value} leads to no folder of ablations: {why}."
    )
