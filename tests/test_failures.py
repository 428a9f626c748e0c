"""Real trainings through the command line, killed and interrupted: the same records as undisturbed ones."""

import ctypes
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import fakes
import psutil
import pytest

pytestmark = pytest.mark.slow

RUN = [
    "run",
    "tiny",
    "--profile",
    "smoke",
    "--device",
    "cpu",
    "--ablations",
    "ablations",
    "--results",
    "results",
]
TRIALS = 16
TINY = """
from bnstudy.design import Ablation, Factor, Level, Profile, across

ablation = Ablation(
    question="Does it survive?",
    source="here",
    factors=(Factor("norm", levels=(Level("bn"), Level("affine", norm="affine"))), across("lr", 1, 1000)),
    seeds=range(4),
    smoke=Profile(
        base={"data": "sample", "train_images": 256, "validation_images": 64, "batch_size": 64, "epochs": 1}
    ),
)
"""


class Command:
    """`bnstudy run tiny` as users start it: one process group, as in a terminal."""

    def __init__(self, folder: Path, workers: int = 2, before: Callable[[], object] = lambda: None) -> None:
        (folder / "ablations").mkdir(exist_ok=True)
        (folder / "ablations" / "tiny.py").write_text(TINY)
        self.ledger = folder / "results" / "smoke" / "tiny.jsonl"
        self.told = folder / "told.txt"

        def prepare() -> None:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # where tests run in the background it is ignored
            before()

        with self.told.open("w") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "bnstudy", *RUN, "--workers", str(workers)],
                cwd=folder,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                process_group=0,
                preexec_fn=prepare,
            )

    def end(self, seconds: float = 60) -> int:
        """Wait for the end; return the exit status."""
        return self.process.wait(seconds)

    def lines(self) -> int:
        """Count the records that are in the ledger."""
        return self.ledger.read_bytes().count(b"\n") if self.ledger.exists() else 0

    def says(self) -> str:
        return self.told.read_text()

    def outcomes(self) -> dict[str, str]:
        """Return each trial's outcome as it stands in the ledger, which must hold each once."""
        records = [json.loads(line) for line in self.ledger.read_text().splitlines()]
        found = {record["trial"]: json.dumps(record["outcome"]) for record in records}
        assert len(found) == len(records)
        return found


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., Command]]:
    """Start commands in one folder; kill what still runs at the end."""
    begun: list[Command] = []

    def begin(**options: object) -> Command:
        begun.append(Command(tmp_path, **options))  # type: ignore[arg-type]
        return begun[-1]

    yield begin
    for command in begun:
        command.process.kill()
        command.process.wait()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Command:
    """A run by one worker that nothing happens to."""
    command = Command(tmp_path_factory.mktemp("undisturbed"), workers=1)
    assert command.end() == 0, command.says()
    assert len(command.outcomes()) == TRIALS and "1 worker on cpu" in command.says()
    return command


def test_two_workers_give_the_same_bits_as_one(begin: Callable[..., Command], undisturbed: Command) -> None:
    command = begin()
    assert command.end() == 0, command.says()
    assert command.outcomes() == undisturbed.outcomes()


def test_a_complete_run_is_left_alone(undisturbed: Command) -> None:
    before = undisturbed.ledger.read_bytes()
    again = Command(undisturbed.told.parent)
    assert again.end() == 0, again.says()
    assert undisturbed.ledger.read_bytes() == before and "worker" not in again.says()


def test_a_killed_coordinator_loses_nothing_that_is_recorded(
    begin: Callable[..., Command], undisturbed: Command
) -> None:
    """At random moments, of which some are in the middle of writing."""
    for least in (1, 6):
        command = begin()
        fakes.eventually(lambda: command.lines() >= least)  # noqa: B023
        time.sleep(random.uniform(0, 0.5))
        children = command_workers(command)
        command.process.kill()
        command.end()
        fakes.eventually(lambda: not any(map(psutil.pid_exists, children)), 5)  # noqa: B023
    before = command.ledger.read_bytes().rpartition(b"\n")[0]
    command = begin()
    assert command.end() == 0, command.says()
    assert command.ledger.read_bytes().startswith(before)
    assert command.outcomes() == undisturbed.outcomes()


def command_workers(command: Command) -> list[int]:
    """The processes of a command that train."""
    children = psutil.Process(command.process.pid).children()
    return [child.pid for child in children if "spawn_main" in " ".join(child.cmdline())]


def test_a_killed_worker_is_replaced_while_the_run_goes_on(
    begin: Callable[..., Command], undisturbed: Command
) -> None:
    command = begin()
    fakes.eventually(lambda: command.lines() >= 1)
    time.sleep(random.uniform(0, 0.5))
    before = command_workers(command)
    os.kill(random.choice(before), signal.SIGKILL)
    fakes.eventually(lambda: len(set(command_workers(command)) - set(before)) == 1)
    assert command.end() == 0, command.says()
    assert command.outcomes() == undisturbed.outcomes()


def test_an_interrupted_run_says_what_is_safe_and_goes_on(
    begin: Callable[..., Command], undisturbed: Command
) -> None:
    """Ctrl-C while workers start, Ctrl-C and a polite kill while they train."""
    for number, (group, least) in {signal.SIGINT: (True, 0), signal.SIGTERM: (False, 7)}.items():
        command = begin()
        fakes.eventually(lambda: "workers on cpu" in command.says() and command.lines() >= least)  # noqa: B023
        assert_ends_cleanly(command, number, group)
    command = begin()
    fakes.eventually(lambda: command.lines() >= 9)
    assert_ends_cleanly(command, signal.SIGINT, True)
    assert begin().end() == 0
    assert command.outcomes() == undisturbed.outcomes()


def assert_ends_cleanly(command: Command, number: signal.Signals, group: bool) -> None:
    time.sleep(random.uniform(0, 0.2))
    start = time.monotonic()
    (os.killpg if group else os.kill)(command.process.pid, number)
    assert command.end() == 130, command.says()
    assert time.monotonic() - start < 3
    told = command.says()
    assert f"tiny: {command.lines()} of {TRIALS} trials are safe in results/smoke." in told
    assert told.endswith("The same command goes on from there.\n") and "Traceback" not in told


# Places that cannot be written to


def small_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, 12_000))


def without_override() -> None:
    """Take from root the power to write where nobody may; any other user has it not."""
    if os.geteuid() == 0:
        ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)  # PR_CAPBSET_DROP, CAP_DAC_OVERRIDE


def assert_one_sentence(command: Command, sentence: str) -> None:
    assert command.end() == 1
    assert command.says().splitlines()[-1].startswith(f"bnstudy: {sentence}")
    assert "Traceback" not in command.says()


def test_a_full_disk_is_a_sentence_and_what_is_recorded_stays(
    begin: Callable[..., Command], undisturbed: Command
) -> None:
    command = begin(before=small_files)
    assert_one_sentence(command, "Cannot write to results/smoke/tiny.jsonl, so 2 trained trials were not")
    assert 0 < command.lines() < TRIALS
    assert command.outcomes().items() <= undisturbed.outcomes().items()
    again = begin()
    assert again.end() == 0, again.says()
    assert again.outcomes() == undisturbed.outcomes()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere root cannot give up its power for a test")
def test_a_folder_that_may_not_be_written_to_is_a_sentence(
    begin: Callable[..., Command], tmp_path: Path
) -> None:
    (tmp_path / "results").mkdir(mode=0o555)
    command = begin(before=without_override)
    assert_one_sentence(command, "Cannot write to results/smoke: Permission denied.")
