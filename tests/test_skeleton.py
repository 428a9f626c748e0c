"""`bnstudy new` gives a newcomer a file that plans and runs before it is edited, and overwrites nothing."""

import shlex
import sys
from pathlib import Path

import pytest

from bnstudy import cli
from bnstudy.books import registry
from bnstudy.commands import skeleton
from bnstudy.errors import BnstudyError
from bnstudy.kinds import FIGURES


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def door(monkeypatch: pytest.MonkeyPatch, command: str) -> int:
    """Run a command line in this process; return its exit status."""
    monkeypatch.setattr(sys, "argv", shlex.split(command))
    try:
        cli.main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    return 0


def test_the_skeleton_is_short_and_loads_as_it_is() -> None:
    path = skeleton.write("my-question", Path("ablations"))
    assert path == Path("ablations/my_question.py")
    lines = path.read_text().splitlines()
    assert len(lines) <= 30 and max(map(len, lines)) <= 110
    assert sum(line.strip().startswith("#") for line in lines) == 3, "where a newcomer has to decide"
    ablation = registry.load(path)
    assert ablation.name == "my-question" and len(ablation.arms) == 4
    assert all(kind in skeleton.TEXT for kind in FIGURES)


@pytest.mark.slow
def test_what_to_type_next_plans_runs_and_draws(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A real run of eight trials on the sample, as a newcomer types it."""
    assert door(monkeypatch, "bnstudy new my-question") == 0
    told, *commands = capsys.readouterr().out.splitlines()
    assert told == "ablations/my_question.py is yours to edit. It runs as it is:"
    assert [command.split()[1] for command in commands] == ["plan", "run", "figures"]
    for command in commands:
        one_worker = " --workers 1" if " run " in command else ""
        assert door(monkeypatch, command + one_worker) == 0, command
    shown = capsys.readouterr().out
    assert "4 arms x 2 seeds = 8 trials" in shown and "It gains at least a point." in shown
    folder = Path("results/smoke/figures")
    assert {path.name for path in folder.iterdir()} == {f"my-question.{s}" for s in ("svg", "png", "json")}


def test_the_folder_can_be_chosen_and_is_named_in_the_commands(here: Path) -> None:
    path = skeleton.write("mine", Path("my ablations"))
    assert path.exists() and skeleton.commands("mine", Path("my ablations"))[0] == (
        "bnstudy plan mine --ablations 'my ablations' --profile smoke"
    )


def test_the_project_s_own_folder_needs_no_option(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "own_folder", lambda: here / "ablations")
    assert skeleton.commands("mine", Path("ablations"))[1] == "bnstudy run mine --profile smoke"


def test_nothing_is_overwritten() -> None:
    path = skeleton.write("mine", Path("ablations"))
    path.write_text("work of hours")
    with pytest.raises(BnstudyError, match=r"ablations/mine\.py exists already and was left alone"):
        skeleton.write("mine", Path("ablations"))
    assert path.read_text() == "work of hours"


@pytest.mark.parametrize(
    "name", ["My-question", "my_question", "2nd", "a--b", "-a", "a b", "../up", "", "a.py"]
)
def test_a_name_is_checked(name: str, here: Path) -> None:
    with pytest.raises(BnstudyError, match=r"cannot be named .*as my-question"):
        skeleton.write(name, Path("ablations"))
    assert list(here.iterdir()) == []


def test_a_name_that_is_taken_is_refused() -> None:
    """Which of the two runs?"""
    with pytest.raises(BnstudyError, match=r"named 'lr-sweep' exists already, as `bnstudy list` shows"):
        skeleton.write("lr-sweep", Path("ablations"))
    assert not Path("ablations").exists()


def test_a_folder_that_cannot_be_made_is_told(here: Path) -> None:
    (here / "ablations").write_text("a file in the way")
    with pytest.raises(BnstudyError, match=r"Cannot write ablations/mine\.py: .*--ablations"):
        skeleton.write("mine", Path("ablations"))


def test_the_command_line_tells_a_mistake_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert door(monkeypatch, "bnstudy new Mine") == 1
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.startswith("bnstudy: An ablation cannot be named 'Mine'")
