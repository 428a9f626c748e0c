"""The door: results on standard output and all else on standard error, one sentence for a mistake, never a
traceback, and an exit status that scripts can rely on."""

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer
from handmade import crashed, outcome, write

from bnstudy import __version__, cli
from bnstudy.books import registry
from bnstudy.books.schedule import Tally
from bnstudy.commands import study
from bnstudy.design import Ablation
from bnstudy.errors import BnstudyError
from bnstudy.outcome import Outcome
from bnstudy.recipe import BN_LENET

TINY = """
from bnstudy.claims import Claim, at_least
from bnstudy.design import Ablation, Factor, Level, Profile

ablation = Ablation(
    question="Does it train?",
    source="here",
    factors=(
        Factor(
            "network", control=Level("affine", norm="affine"), treatments=(Level("bn"),), varies=("norm",)
        ),
    ),
    seeds=range(3),
    claims=(Claim("BN helps.", factor="network", effect=at_least(0.05)),),
    smoke=Profile(
        seeds=2,
        base={"data": "sample", "train_images": 320, "validation_images": 100, "batch_size": 64, "epochs": 1},
    ),
)
"""

COMMANDS = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]


class Shown:
    """What a command printed, and its exit status."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err

    @property
    def json(self) -> Any:
        """The result for machines: nothing else on standard output, and no NaN or infinity."""
        return json.loads(self.out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


Door = Callable[..., Shown]


@pytest.fixture
def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Door:
    """Run `bnstudy` in an empty folder, in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "1000")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "tiny.py").write_text(TINY)

    def run(*words: str) -> Shown:
        monkeypatch.setattr(sys, "argv", ["bnstudy", *words])
        status = 0
        try:
            cli.main()
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 0
        printed = capsys.readouterr()
        assert "Traceback" not in printed.out + printed.err
        return Shown(status, printed.out, printed.err)

    return run


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which `tiny` was run for real, with what the command printed."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "own").mkdir()
    (folder / "own" / "tiny.py").write_text(TINY)
    done = command(
        folder, "run", "tiny", "--profile", "smoke", "--ablations", "own", "--workers", "1", "--json"
    )
    assert done.returncode == 0, done.stderr
    (folder / "out").write_text(done.stdout)
    (folder / "err").write_text(done.stderr)
    return folder


def command(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `bnstudy` in a process of its own, as a user does."""
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "TERM")} | variables
    return subprocess.run(
        [sys.executable, "-m", "bnstudy", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def good(arm: Mapping[str, str], seed: int) -> Outcome:
    """Ten points better, give or take what lets an interval be told."""
    return outcome(0.8 + 0.011 * seed if arm["network"] == "bn" else 0.7 + 0.01 * seed, epochs=1)


@pytest.fixture
def recorded(door: Door, tmp_path: Path) -> Door:
    """The same with a complete ledger of `tiny` at the smoke profile, made by hand."""
    write(tmp_path / "results" / "smoke", tiny(tmp_path), good)
    return door


def tiny(folder: Path) -> Ablation:
    return registry.find(folder / "own").get("tiny").at("smoke")


SMOKE = ("--profile", "smoke", "--ablations", "own")


# Help


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_is_described(name: str, door: Door) -> None:
    assert COMMANDS[name].help, "an undocumented command"
    for parameter in COMMANDS[name].params:
        assert getattr(parameter, "help", None), f"{name} {parameter.name} is not described"
    shown = door(name, "--help")
    assert shown.status == 0 and "Usage: bnstudy" in shown.out


def test_options_mean_the_same_everywhere() -> None:
    """One description for one name, but for `--all`-like words of a single command."""
    said: dict[str, set[str]] = {}
    for name in COMMANDS:
        for parameter in COMMANDS[name].params:
            if parameter.param_type_name == "option":
                said.setdefault(parameter.opts[0], set()).add(parameter.help)
    assert not {option: texts for option, texts in said.items() if len(texts) > 1}


def test_the_version_is_printed(door: Door) -> None:
    assert door("--version").out == f"{__version__}\n"


def test_without_words_there_is_help(door: Door) -> None:
    assert "Commands" in door().out


# Light commands


@pytest.mark.parametrize(
    "words", [("list",), ("--help",), ("run", "--help"), ("plan", "lr-sweep"), ("status", "--why")]
)
def test_light_commands_load_no_heavy_library(words: tuple[str, ...], recorded: Door, tmp_path: Path) -> None:
    """With a ledger to read, too; `status` looks at a figure without loading what draws."""
    if "status" in words:
        recorded("figures", *SMOKE)
    code = (
        "import sys; sys.argv = ['bnstudy', *sys.argv[1:]]\n"
        "from bnstudy import cli\n"
        "try:\n    cli.main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'pandas', 'optuna', 'scipy', 'matplotlib', 'numpy'} & set(sys.modules)\n"
        "sys.exit(f'loads {heavy}' if heavy else 0)"
    )
    profile = () if "--help" in words else SMOKE
    done = subprocess.run(
        [sys.executable, "-c", code, *words, *profile], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.alone
@pytest.mark.parametrize("words", [("list",), ("--help",)])
def test_list_and_help_take_little_more_than_the_libraries_of_the_door(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0.4 seconds where importing those takes 0.16; both are measured, since one machine is at times half
    as fast as at others. The best of some, the package compiled once as everywhere."""
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)

    def seconds(run: Callable[[], subprocess.CompletedProcess[str]]) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert run().returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    def libraries() -> subprocess.CompletedProcess[str]:
        code = "import typer, typer.main, rich.console, rich.table"
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert any(seconds(lambda: command(tmp_path, *words)) < 2.5 * seconds(libraries) for _ in range(10))


# From an empty folder


def test_list_shows_every_ablation(door: Door) -> None:
    shown = door("list", "--ablations", "own")
    assert shown.status == 0 and shown.err == ""
    assert "lr-sweep" in shown.out and "tiny" in shown.out and "0/42" in shown.out
    value = door("list", "--ablations", "own", "--json").json
    names = [row["name"] for row in value["ablations"]]
    assert "lr-sweep" in names and names[-1] == "tiny" and value["broken"] == {}


def test_reading_commands_write_nothing(door: Door, tmp_path: Path) -> None:
    for words in (("list",), ("plan", "lr-sweep"), ("status", "--why"), ("judge",)):
        assert door(*words).status == 0
    assert [path.name for path in tmp_path.iterdir()] == ["own"]


def test_status_of_nothing(door: Door) -> None:
    shown = door("status", "--why", *SMOKE)
    assert "nothing to report" in shown.out and shown.err == ""
    *others, tiny = door("status", *SMOKE, "--json").json
    assert (tiny["name"], tiny["done"], tiny["missing"], tiny["figure"]) == ("tiny", 0, 4, "none")
    assert "lr-sweep" in [row["name"] for row in others]


def test_judging_nothing_says_what_to_do(door: Door) -> None:
    shown = door("judge", "tiny", *SMOKE)
    assert shown.status == 0
    assert shown.out == "tiny: Does it train?\n  No trial is finished yet: bnstudy run tiny --profile smoke\n"
    assert door("judge", *SMOKE, "--json").json[-1]["verdicts"][0]["reason"].startswith("0 seeds")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("figures",), "Nothing is recorded in results/quick; `bnstudy run lr-sweep` records something."),
        (("figures", "lr-sweep"), "lr-sweep has no finished trials yet; `bnstudy run lr-sweep`."),
        (("export", "lr-sweep"), "Nothing is recorded of lr-sweep in results/quick; `bnstudy run lr-sweep`."),
        (("show", "3f9c"), "No trial '3f9c' is recorded in results/quick; `bnstudy export NAME` lists"),
        (("compare", "3f9c", "aaaa"), "No trial '3f9c' is recorded in results/quick"),
        (
            ("compare", "lr-sweep:network=bn,lr=1", "lr-sweep:network=affine,lr=1"),
            "Nothing is recorded of lr-sweep:network=bn,lr=1 in results/quick; `bnstudy run lr-sweep`.",
        ),
        (("run",), "Which ablation? Name one (`bnstudy list` shows all), or say --all."),
        (("run", "lr-sweep", "--all"), "Name ablations or say --all, not both."),
        (
            ("run", "lr-swep"),
            "No ablation named 'lr-swep'. Did you mean 'lr-sweep'? `bnstudy list` shows all.",
        ),
        (("plan", "zebra"), "No ablation named 'zebra'. Known: architectures, batch-of-one, "),
        (("judge", "lr-sweeep"), "Did you mean 'lr-sweep'?"),
        (("status", "--profile", "papr"), "No profile named 'papr'. Did you mean 'paper'?"),
        (("run", "lr-sweep", "--seeds", "9"), "lr-sweep declares 5 seeds; 9 were asked for."),
        (
            ("run", "lr-sweep", "--device", "cuda"),
            "No device 'cuda': PyTorch finds no CUDA device here. Use --device",
        ),
        (("run", "lr-sweep", "--device", "gpu"), "No device 'gpu'"),
        (("list", "--ablations", "nowhere"), "--ablations nowhere: there is no such folder."),
        (
            ("compare", "lr-sweep:network=bn", "x"),
            "lr-sweep:network=bn means 7 arms; name a level of lr, too",
        ),
        (("compare", "lr-sweep:network=bm,lr=1", "x"), "No level of factor 'network' named 'bm'"),
    ],
)
def test_a_mistake_is_one_sentence_and_status_1(
    words: tuple[str, ...], told: str, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    shown = door(*words)
    assert shown.status == 1 and shown.out == ""
    assert shown.err.startswith("bnstudy: ") and told in shown.err and shown.err.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        ("run", "lr-sweep", "--seeds", "0"),
        ("run", "lr-sweep", "--workers", "0"),
        ("plan", "lr-sweep", "--workers", "-1"),
        ("bench", "--epochs", "0"),
        ("run", "lr-sweep", "--sedes", "3"),
        ("plan",),
        ("trian",),
    ],
)
def test_wrong_usage_is_status_2(words: tuple[str, ...], door: Door) -> None:
    shown = door(*words)
    assert shown.status == 2 and shown.out == "" and "Usage" in shown.err


# After a run


@pytest.mark.slow
def test_a_run_prints_its_result_alone_on_standard_output(trained: Path) -> None:
    (value,) = json.loads((trained / "out").read_text(), parse_constant=pytest.fail)
    assert (
        value["ablation"] == "tiny" and value["trials"] == 4 and value["preview"] == "preview: smoke profile"
    )
    assert (trained / value["figure"]).is_file()
    lines = (trained / "err").read_text().splitlines()
    assert lines[0] == "1 worker on cpu"
    assert lines[1] == "tiny: 0/4 trials" and lines[-1].startswith("tiny: 4/4 trials")


@pytest.mark.slow
def test_running_again_trains_nothing(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "again")
    before = (tmp_path / "again" / "results" / "smoke" / "tiny.jsonl").read_bytes()
    done = command(tmp_path / "again", "run", "tiny", *SMOKE)
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.startswith("tiny: Does it train?\n  Test accuracy (statistics recomputed), mean and")
    assert done.stdout.splitlines()[-1] == "  figure: results/smoke/figures/tiny.png"
    assert (tmp_path / "again" / "results" / "smoke" / "tiny.jsonl").read_bytes() == before


@pytest.mark.slow
def test_a_recorded_trial_trained_again_is_the_same_to_the_bit(trained: Path, door: Door) -> None:
    place = study.Place(trained / "results", "smoke", pytest.fail)
    trials = [record.trial for record in place.ledger("tiny").records()]
    for trial in (trials[0], trials[-1]):
        shown = door("show", trial, "--rerun", "--profile", "smoke", "--results", str(trained / "results"))
        assert shown.out == f"Trial {trial}, trained again, gives the same outcome to the last bit.\n"
        assert shown.status == 0
    value = door(
        "show", trials[0], "--rerun", "--json", "--profile", "smoke", "--results", str(trained / "results")
    ).json
    assert value["bitwise"] is True and value["provenance"]["device"] == "cpu"


# With records


def test_plan_says_what_is_left(recorded: Door) -> None:
    assert recorded("plan", "tiny", *SMOKE).out.endswith("nothing is missing\n")
    value = recorded("plan", "tiny", "--ablations", "own", "--profile", "paper", "--json").json
    assert value["missing_trials"] == 6 and value["estimated_seconds"] is None


def test_judge_prints_answer_and_power(recorded: Door) -> None:
    shown = recorded("judge", "tiny", *SMOKE)
    lines = shown.out.splitlines()
    assert lines[0] == "tiny: Does it train?"
    assert lines[1].endswith("(preview: smoke profile)") and "BN helps. Supported: +10.05 points" in lines[1]
    assert lines[2].startswith("    2 seeds like these show a difference of ")
    assert len(lines) == 3 and shown.err == ""
    (value,) = recorded("judge", "tiny", *SMOKE, "--json").json
    assert value["verdicts"][0]["result"] == "supported" and value["answer"] in lines[1]


def test_figures_prints_the_paths_it_wrote(recorded: Door, tmp_path: Path) -> None:
    shown = recorded("figures", *SMOKE)
    assert shown.out.splitlines() == [
        f"results/smoke/figures/tiny.{suffix}" for suffix in ("svg", "png", "json")
    ]
    assert all((tmp_path / line).is_file() for line in shown.out.splitlines())
    assert recorded("figures", "tiny", *SMOKE, "--json").json == shown.out.splitlines()
    assert recorded("status", *SMOKE, "--json").json[-1]["figure"] == "of these records"


def test_status_says_why_a_figure_is_stale(recorded: Door, tmp_path: Path) -> None:
    recorded("figures", *SMOKE)
    sidecar = tmp_path / "results" / "smoke" / "figures" / "tiny.json"
    sidecar.write_text(sidecar.read_text().replace('"data_hash": "', '"data_hash": "0'))
    assert recorded("status", *SMOKE, "--json").json[-1]["figure"] == "stale"
    assert "tiny\n  figure: its records have changed\n" in recorded("status", "--why", *SMOKE).out


def test_export_writes_the_same_table_everywhere(recorded: Door, tmp_path: Path) -> None:
    shown = recorded("export", "tiny", *SMOKE)
    assert shown.status == 0 and len(shown.out.splitlines()) == 1 + 4
    written = recorded("export", "tiny", *SMOKE, "--output", "tiny.csv")
    assert written.out == "" and written.err == "4 trials in tiny.csv\n"
    assert (tmp_path / "tiny.csv").read_text() == shown.out
    assert recorded("export", "tiny", *SMOKE, "-o", "tiny.parquet").status == 0
    refused = recorded("export", "tiny", *SMOKE, "-o", "tiny.xlsx")
    assert refused.status == 1 and "tiny.xlsx: a table is written as .csv or .parquet." in refused.err


def test_show_prints_a_record_and_how_to_train_it_again(recorded: Door, tmp_path: Path) -> None:
    trial = tiny(tmp_path).trials[0].id
    shown = recorded("show", trial[:6], "--profile", "smoke")
    assert f"trial: {trial}" in shown.out and "  lr: 1" in shown.out
    assert shown.err == f"Train it again: bnstudy show {trial} --profile smoke --rerun\n"
    value = recorded("show", trial, "--profile", "smoke", "--json").json
    assert value["trial"] == trial and value["arm"] == {"network": "affine"}
    many = recorded("show", "", "--profile", "smoke")
    assert many.status == 1 and "4 trials begin with ''; give more digits: " in many.err


def test_compare_shows_two_arms(recorded: Door) -> None:
    words = ("compare", "tiny:network=bn", "tiny:network=affine", *SMOKE)
    shown = recorded(*words)
    assert shown.out.startswith("a: tiny:network=bn (mean of seeds 0, 1)\nb: tiny:network=affine (mean of")
    assert "recipes differ in: norm (batch_norm and affine)" in shown.out
    assert recorded(*words, "--json").json["outcomes"][0]["a minus b"] == pytest.approx(0.1005)


def test_names_are_taken_once(recorded: Door) -> None:
    assert recorded("judge", "tiny", "tiny", *SMOKE).out.count("Does it train?") == 1


# What goes wrong


def test_damage_in_the_middle_of_a_ledger_is_named(recorded: Door, tmp_path: Path) -> None:
    path = tmp_path / "results" / "smoke" / "tiny.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([lines[0], lines[1].replace("0.8", "0.9"), *lines[2:]]))
    for words in (
        ("judge", "tiny"),
        ("status",),
        ("plan", "tiny"),
        ("run", "tiny"),
        ("figures",),
        ("export", "tiny"),
    ):
        shown = recorded(*words, *SMOKE)
        assert shown.status == 1 and shown.out == "", words
        assert shown.err.startswith("bnstudy: results/smoke/tiny.jsonl, line 2: its content does not fit"), (
            words
        )


def test_a_torn_last_line_is_a_note_and_no_error(recorded: Door, tmp_path: Path) -> None:
    path = tmp_path / "results" / "smoke" / "tiny.jsonl"
    path.write_text(path.read_text()[:-40])
    shown = recorded("status", *SMOKE)
    assert shown.status == 0 and "line 4: the last line was cut off" in shown.err
    assert recorded("status", *SMOKE, "--json").json[-1]["done"] == 3


@pytest.mark.parametrize(
    "words",
    [("list",), ("run", "tiny"), ("run", "--all"), ("plan", "tiny"), ("judge",), ("status",), ("figures",)],
)
def test_a_broken_ablation_is_named_and_the_others_go_on(
    words: tuple[str, ...], recorded: Door, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "run", lambda chosen, *rest: {a.name: Tally(4, 4) for a in chosen})
    (tmp_path / "own" / "broken.py").write_text("ablation = oops\n")
    (tmp_path / "own" / "leaves.py").write_text("raise SystemExit(0)\n")
    (tmp_path / "own" / "thin.py").write_text(TINY.replace("seeds=2", 'levels={"network": ("bm",)}'))
    shown = recorded(*words, *SMOKE)
    assert shown.status == 0 and ("tiny" in shown.out)
    assert (
        "broken" in shown.err and "own/broken.py, line 1: NameError: name 'oops' is not defined" in shown.err
    )
    assert "own/leaves.py, line 1: SystemExit" in shown.err
    assert "own/thin.py, line 16, levels: No level of factor 'network' named 'bm'" in shown.err


def test_a_broken_ablation_that_is_named_is_the_error(door: Door, tmp_path: Path) -> None:
    (tmp_path / "own" / "broken.py").write_text("ablation = oops\n")
    shown = door("run", "broken", *SMOKE)
    assert shown.status == 1 and shown.err.count("\n") == 1 and "NameError" in shown.err


def test_failed_trials_are_status_3(recorded: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    tally = Tally(4, 3, missing=1, failed={"3f9c": "RuntimeError: out of luck, 3 times"})
    monkeypatch.setattr(study, "run", lambda *_: {"tiny": tally})
    shown = recorded("run", "tiny", *SMOKE)
    assert shown.status == 3 and shown.out.startswith("tiny: Does it train?")
    assert shown.err == (
        "tiny: 1 trial failed (RuntimeError: out of luck, 3 times). The same command tries again.\n"
    )


def test_a_run_in_which_everything_failed_says_so(
    door: Door, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = write(tmp_path / "results" / "smoke", tiny(tmp_path), lambda arm, seed: crashed())
    failed = {trial: record.outcome.reason or "" for trial, record in ledger.recorded().items()}
    monkeypatch.setattr(study, "run", lambda *_: {"tiny": Tally(4, 0, missing=4, failed=failed)})
    shown = door("run", "tiny", *SMOKE)
    assert shown.status == 3 and "No trial is finished yet" in shown.out and "4 trials failed" in shown.err
    why = door("status", "--why", *SMOKE).out
    assert "4 trials crashed: RuntimeError: out of luck, 3 times" in why


def test_an_interrupted_run_says_what_is_safe(recorded: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(study, "run", interrupted)
    shown = recorded("run", "tiny", *SMOKE)
    assert shown.status == 130 and shown.out == ""
    assert shown.err == (
        "tiny: 4 of 4 trials are safe in results/smoke.\nInterrupted. The same command goes on from there.\n"
    )


def test_an_interrupt_elsewhere_is_status_130(recorded: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(study, "judge", interrupted)
    assert recorded("judge", "tiny", *SMOKE).status == 130


def test_results_that_are_no_folder_are_told(recorded: Door, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for words in (("run", "tiny"), ("judge", "tiny"), ("status",)):
        shown = recorded(*words, *SMOKE, "--results", "file")
        assert shown.status == 1 and shown.err.startswith("bnstudy: Cannot "), (words, shown.err)


# Terminals


@pytest.mark.parametrize("columns", ["60", "200"])
@pytest.mark.parametrize("words", [("list",), ("plan", "lr-sweep"), ("status",)])
def test_tables_fit_narrow_and_wide_terminals(
    words: tuple[str, ...], columns: str, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    lines = door(*words).out.splitlines()
    table = [line for line in lines if "──" in line or line.startswith(("lr-sweep ", "network="))]
    assert table and max(map(len, table)) <= int(columns)
    assert not any(a == b == "" for a, b in pairwise(lines)), "stray blank lines"


@pytest.mark.slow
def test_it_works_from_any_directory_without_a_terminal(trained: Path) -> None:
    for folder, results in ((Path("/"), trained / "results"), (trained / "own", Path("../results"))):
        done = command(folder, "status", "--profile", "smoke", "--results", str(results), NO_COLOR="1")
        assert done.returncode == 0 and "lr-sweep" in done.stdout and "\x1b" not in done.stdout
        assert done.stderr == ""


@pytest.mark.parametrize("words", ["list", "plan lr-sweep --profile paper", "status --why --json"])
def test_a_reader_that_has_seen_enough_is_no_error(words: str, tmp_path: Path) -> None:
    done = subprocess.run(
        f"{sys.executable} -m bnstudy {words} | true",
        shell=True,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.stderr == "" and done.returncode == 0


# Machines and images


@pytest.fixture
def no_images(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A machine without Fashion-MNIST and without a network."""
    from bnstudy.training import data

    def gone(*_: object) -> None:
        raise BnstudyError("there is no network")

    monkeypatch.setenv("BNSTUDY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(data, "SYSTEM_FOLDER", tmp_path / "system")
    for name in ("_require_torchvision", "_require_apt", "_from_mirror", "_from_debian"):
        monkeypatch.setattr(data, name, gone)
    yield


def test_data_without_a_source_is_one_sentence(door: Door, no_images: None) -> None:
    shown = door("data")
    assert shown.status == 1 and shown.out == ""
    assert shown.err.splitlines()[-1].startswith("bnstudy: ") and "--data-dir" in shown.err


def test_data_shows_where_the_images_are(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    from bnstudy.training import data

    monkeypatch.setattr(data, "fetch", lambda folder, notify: Path("/cache/fashion-mnist.bin"))
    source = data.Source("cache", "/cache/fashion-mnist.bin", available=True, note="checked")
    monkeypatch.setattr(data, "where", lambda folder: (source,))
    shown = door("data")
    assert "cache   /cache/fashion-mnist.bin   yes         checked" in shown.out
    assert shown.out.endswith("\n\n/cache/fashion-mnist.bin holds the 70,000 images, checked.\n")
    assert door("data", "--json").json["sources"][0]["available"] is True


def test_doctor_fails_where_something_is_broken(
    door: Door, no_images: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bnstudy.commands import doctor

    monkeypatch.setattr(doctor, "alone_or_not", lambda: True)
    shown = door("doctor")
    assert shown.status == 1 and "broken" in shown.out and "--data-dir" in shown.out
    rows = door("doctor", "--json").json
    assert {row["what"]: row["state"] for row in rows}["images"] == "broken"
    monkeypatch.setattr(doctor, "_data", lambda folder: iter(()))
    assert door("doctor").status == 0


def test_bench_prints_what_was_measured(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    from bnstudy.commands import bench

    def measure(
        workers: int, epochs: int, data_dir: Path | None, say: Callable[[str], None], case: str, **asked: Any
    ) -> dict[str, Any]:
        assert asked == {"repetitions": 3, "pack_sizes": True, "operators": False}
        say("1/3 bnstudy: 30,000 images/s")
        seen = {"bnstudy": [30_000.0, 29_000.0, 31_000.0], "plain": [10_000.0, 9_000.0, 11_000.0]}
        speeds = {"steps": [40_000.0] * 3, "peak": [100.0] * 3}
        about = {"case": case, "workers": workers, "epochs": epochs, "provenance": {}}
        sizes = {"pack": 8, "pack_sizes": {"2": [20_000.0] * 3}}
        return {**about, **bench._compared(seen), **bench._of_peak({**seen, **speeds}, BN_LENET), **sizes}

    monkeypatch.setattr(bench, "measure", measure)
    shown = door("bench", "--workers", "1", "--epochs", "1", "--pack-sizes", "-o", "kept")
    assert "  bnstudy to plain: 3.0 times" in shown.out.splitlines() and shown.err
    assert sorted(path.name for path in Path("kept").iterdir()) == [
        f"bn-lenet.{kind}" for kind in ("json", "png", "svg")
    ]
    assert door("bench", "--pack-sizes", "--json").json["ratios"] == {"bnstudy to plain": 3.0}
