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
from contextlib import suppress
from pathlib import Path

import fakes
import psutil
import pytest

pytestmark = pytest.mark.slow

RUN = "run tiny --profile smoke --device cpu --ablations ablations --results results"
TRIALS = 12
TINY = """
from bnstudy.design import Ablation, Factor, Level, Profile, across

ablation = Ablation(
    question="Does it survive?",
    source="here",
    factors=(Factor("norm", levels=(Level("bn"), Level("affine", norm="affine"))), across("lr", 1, 1000)),
    seeds=range(3),
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
                [sys.executable, "-m", "bnstudy", *RUN.split(), "--workers", str(workers)],
                cwd=folder,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                process_group=0,
                preexec_fn=prepare,
            )

    def end(self, seconds: float = 120) -> int:
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


def test_a_complete_run_is_left_alone(undisturbed: Command) -> None:
    before = undisturbed.ledger.read_bytes()
    again = Command(undisturbed.told.parent)
    assert again.end() == 0, again.says()
    assert undisturbed.ledger.read_bytes() == before and "worker" not in again.says()


def workers_of(command: Command) -> list[int]:
    """The processes of a command that train."""
    found = []
    for child in psutil.Process(command.process.pid).children():
        with suppress(psutil.Error):  # it has just ended
            found += [child.pid] if "spawn_main" in " ".join(child.cmdline()) else []
    return found


def test_two_workers_of_which_one_is_killed_give_the_same_bits_as_one(
    begin: Callable[..., Command], undisturbed: Command
) -> None:
    command = begin()
    fakes.eventually(lambda: command.lines() >= 1)
    os.kill(random.choice(workers_of(command)), signal.SIGKILL)
    assert command.end() == 0, command.says()
    assert '"attempts":2' in command.ledger.read_text()
    assert command.outcomes() == undisturbed.outcomes()


def test_a_run_that_is_stopped_in_every_way_gives_the_same_bits(
    begin: Callable[..., Command], undisturbed: Command
) -> None:
    """Ctrl-C while workers start, then a kill and a polite kill while they train."""
    recorded = b""
    for way, least in (interrupt, 0), (kill, 2), (kill_politely, 4):
        command = begin()
        wait_until(command, least)
        way(command)
        before, recorded = recorded, whole_lines(command)
        assert recorded.startswith(before)
    command = begin()
    assert command.end() == 0, command.says()
    assert whole_lines(command).startswith(recorded)
    assert command.outcomes() == undisturbed.outcomes()


def wait_until(command: Command, least: int) -> None:
    """Wait until so many trials are recorded, and a moment that is different each time."""
    fakes.eventually(lambda: "workers on cpu" in command.says() and command.lines() >= least)
    time.sleep(random.uniform(0, 0.03))  # on a fast machine the rest takes 0.1 seconds


def whole_lines(command: Command) -> bytes:
    return command.ledger.read_bytes().rpartition(b"\n")[0] if command.ledger.exists() else b""


def kill(command: Command) -> None:
    """Nothing of the coordinator runs any more; its workers notice."""
    workers = workers_of(command)
    command.process.kill()
    assert command.end() == -signal.SIGKILL
    fakes.eventually(lambda: fakes.ended(workers), 5)


def interrupt(command: Command) -> None:
    """A terminal sends Ctrl-C to every process of the group."""
    os.killpg(command.process.pid, signal.SIGINT)
    assert_ends_cleanly(command)


def kill_politely(command: Command) -> None:
    command.process.terminate()
    assert_ends_cleanly(command)


def assert_ends_cleanly(command: Command) -> None:
    """The command ends at once, says what is safe and how to go on."""
    start = time.monotonic()
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
    assert_one_sentence(command, "Cannot write to results/smoke/tiny.jsonl, so 3 trained trials were not")
    assert 0 < command.lines() < TRIALS
    assert command.outcomes().items() <= undisturbed.outcomes().items()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere root cannot give up its power for a test")
def test_a_folder_that_may_not_be_written_to_is_a_sentence(
    begin: Callable[..., Command], tmp_path: Path
) -> None:
    (tmp_path / "results").mkdir(mode=0o555)
    command = begin(before=without_override)
    assert_one_sentence(command, "Cannot write to results/smoke: Permission denied.")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 KiB at `results`, where this user may mount one."""
    place = tmp_path / "results"
    place.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24k", "none", place], capture_output=True
    ).returncode:
        pytest.skip("only root may mount a file system; RLIMIT_FSIZE stands for it above")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def test_after_space_is_made_the_same_command_goes_on(
    begin: Callable[..., Command], undisturbed: Command, small_disk: Path
) -> None:
    command = begin()
    assert command.end() == 1
    last = command.says().splitlines()[-1]
    assert last.startswith("bnstudy: Cannot write to ") and "No space left on device" in last
    recorded = command.outcomes()
    assert len(recorded) < TRIALS and recorded.items() <= undisturbed.outcomes().items()

    subprocess.run(["mount", "-o", "remount,size=4m", small_disk], check=True)
    command = begin()
    assert command.end() == 0, command.says()
    assert command.outcomes() == undisturbed.outcomes()


REAL_KILLS = int(os.environ.get("BNSTUDY_REAL_KILLS", "3"))


@pytest.mark.timeout(120 + 60 * REAL_KILLS)
def test_random_kills_of_real_trainings_give_the_same_bits(
    begin: Callable[..., Command], undisturbed: Command
) -> None:
    """As many as wanted by `BNSTUDY_REAL_KILLS=10`: the coordinator or a worker, at random moments."""
    kills, command = 0, begin()
    while kills < REAL_KILLS and command.process.poll() is None:
        wait_until(command, 0)
        time.sleep(random.uniform(0, 0.5))
        victims = [command.process.pid] if random.random() < 0.5 else workers_of(command)
        if victims and command.process.poll() is None:
            os.kill(random.choice(victims), signal.SIGKILL)
            kills += 1
        if victims == [command.process.pid]:
            command.end()
            command = begin()
    for _ in range(3):  # a pack whose worker was killed three times is run again
        command.end()
        command = begin()
    assert command.end() == 0, command.says()
    records = [json.loads(line) for line in command.ledger.read_text().splitlines()]
    print(f"{kills} kills")
    assert kills > 0
    finished = {r["trial"]: json.dumps(r["outcome"]) for r in records if r["outcome"]["status"] != "lost"}
    assert finished == undisturbed.outcomes()
