"""The README cannot lie: its commands exist, its example works, its answer is what the records say."""

import json
import re
from pathlib import Path

import answers_table
import pytest
from typer.testing import CliRunner

from bnstudy import kinds
from bnstudy.books import registry
from bnstudy.cli import app
from bnstudy.commands import study
from bnstudy.packs import plan

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def commands() -> list[str]:
    """Return every `bnstudy ...` line of the shell blocks, without its comment."""
    blocks = re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)
    lines = [
        part.split("#")[0].strip()
        for block in blocks
        for line in block.splitlines()
        for part in line.split("&&")
    ]
    return [line for line in lines if line.startswith("bnstudy ")]


@pytest.mark.parametrize("command", commands())
def test_every_command_of_the_readme_exists_with_its_options(command: str) -> None:
    name, *words = command.split()[1:]
    shown = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0, command
    for word in words:
        if word.startswith("-"):
            assert word in shown.output, f"{name} has no {word}"


def test_every_make_target_of_the_readme_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"(?:^|`)make ([a-z-]+)", README, flags=re.MULTILINE))
    ablations = {path.stem.replace("_", "-") for path in (ROOT / "ablations").glob("[a-z]*.py")}
    assert targets <= set(re.findall(r"^([a-z]+):", makefile, flags=re.MULTILINE)) | ablations
    assert {"lr-sweep", "test", "setup"} <= targets


@pytest.fixture
def pooling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The complete file that the README shows, in `ablations/` of an empty folder; return its text."""
    [source] = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ablations").mkdir()
    (tmp_path / "ablations" / "pooling.py").write_text(source)
    return str(source)


def test_the_ablation_of_the_readme_loads_and_plans(pooling: str) -> None:
    ablation = registry.find(Path("ablations")).get("pooling")
    assert len(pooling.splitlines()) <= 28
    assert [len(pack.trials) for pack in plan(ablation.at("smoke"))] == [2, 2, 2, 2]
    shown = CliRunner().invoke(app, ["plan", "pooling", "--ablations", "ablations"])
    assert shown.exit_code == 0 and "pool=max, norm=batch_norm" in shown.output


@pytest.mark.slow
def test_the_ablation_of_the_readme_runs_from_idea_to_figure(pooling: str) -> None:
    """A real run on the sample, as the README says it."""
    words = ["run", "pooling", "--ablations", "ablations", "--profile", "smoke", "--workers", "1"]
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == 0, shown.output
    assert "With max pooling it gains a point." in " ".join(shown.output.split())
    assert Path("results/smoke/figures/pooling.svg").exists()


def test_the_mistake_of_the_readme_is_told_as_it_says(pooling: str) -> None:
    Path("ablations/pooling.py").write_text(pooling.replace('at={"pool": "max"}', 'at={"pool": "maximum"}'))
    [told] = re.findall(r"```text\n(.*?)\n```", README)
    found = str(registry.find(Path("ablations")).broken["pooling"])
    assert found == told.replace("/home/you", str(Path.cwd()))


def test_the_figures_of_the_readme_are_those_that_there_are() -> None:
    shown = re.findall(r'^\| `"([a-z ]+)"` \|', README, flags=re.MULTILINE)
    assert sorted(shown) == sorted(kinds.FIGURES)


def test_every_link_to_a_file_leads_somewhere() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)", README)
    assert links
    for link in links:
        assert (ROOT / link).exists(), link


EXAMPLES = ["lr-sweep", "bias-removal", "bn-per-layer", "lite-bn", "dropout-swap", "momentum"]


def test_the_answer_of_the_readme_is_that_of_the_committed_records() -> None:
    assert answers_table.of_record("lr-sweep").answer in " ".join(README.replace("\n> ", " ").split())


def test_the_table_of_the_readme_is_that_of_the_committed_records() -> None:
    renewed = answers_table.table() + "\n"  # all of it: no row is missing and none is left from before
    assert renewed in README, "`python tests/answers_table.py` renews the table"


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "results" / "paper").glob("*.jsonl")))
def test_the_figure_of_record_is_that_of_the_committed_records(name: str) -> None:
    place = study.Place(ROOT / "results", "paper", say=pytest.fail)
    records = place.ledger(name).recorded()
    assert records and study.stale_figure(registry.find().get(name), place, records) == ""


def test_the_speed_of_the_readme_is_that_of_the_committed_benchmark() -> None:
    measured = json.loads((ROOT / "results" / "bench" / "bn-lenet.json").read_text())
    ratios, rate = measured["ratios"], measured["images_per_second"]["bnstudy"]
    told = " ".join(README.split())
    assert f"complete trials of {'ten' if measured['epochs'] == 10 else measured['epochs']} epochs" in told
    assert f"pass {rate:,.0f} images/s in packs of {measured['pack']}: " in told
    assert f"{ratios['bnstudy to d2l']:.1f} times the textbook's own" in told
    assert f"{ratios['bnstudy to plain']:.1f} times plain" in told


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_is_complete_with_its_figure(name: str) -> None:
    place = study.Place(ROOT / "results" / "example", "quick", say=pytest.fail)
    ablation = registry.find().get(name).at("quick")
    assert len(study.judge(ablation, place).finished) == len(ablation.trials)
    assert study.stale_figure(ablation, place, place.ledger(name).recorded()) == ""
