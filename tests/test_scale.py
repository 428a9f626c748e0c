"""Ten thousand trials, by fakes: what planning, status, resuming and scheduling cost, and in how much memory.

Seconds are of this process and not of a clock on the wall, so that what runs beside it counts little.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import fakes
import psutil
import pytest

from bnstudy.books.executors import InProcess, Pool
from bnstudy.books.schedule import Run
from bnstudy.books.storage import open_storage
from bnstudy.commands import study, views
from bnstudy.design import Ablation
from bnstudy.packs import Job, Result

MANY = 10_000
pytestmark = pytest.mark.alone


def design(trials: int) -> Ablation:
    return fakes.design(seeds=-(-trials // 6))


def train(job: Job, report: Callable[[int], None]) -> Result:
    """Return outcomes as long as those of real trainings, 2 kB a record."""
    result = fakes.train(job, report)
    curve = tuple(n / 7 for n in range(20))
    long = [replace(o, first_losses=curve, validation_accuracy=curve[:10]) for o in result.outcomes]
    return Result(tuple(long), {"wall_seconds": 1.5, "host_cpu": "x" * 40})


def run_of(place: study.Place, ablation: Ablation) -> Run:
    """Return what `bnstudy run` makes before its first pack: the ledger and the journal are read."""
    storage = open_storage(place.folder, pytest.fail)
    return Run(ablation, place.ledger(ablation.name), storage, InProcess(train))


def place_in(folder: Path) -> study.Place:
    (folder / "quick").mkdir(parents=True, exist_ok=True)
    return study.Place(folder, "quick", pytest.fail)


def seconds(what: Callable[[], object], times: int = 2) -> float:
    """Return how long something takes this process, the shortest of some times."""
    taken = []
    for _ in range(times):
        start = time.process_time()
        what()
        taken.append(time.process_time() - start)
    return min(taken)


@pytest.fixture(scope="module")
def scheduled(tmp_path_factory: pytest.TempPathFactory) -> tuple[study.Place, float]:
    """A folder with all trials recorded, and the milliseconds that scheduling one took."""
    place = place_in(tmp_path_factory.mktemp("many"))
    took = seconds(run_of(place, design(MANY)).execute, times=1)
    return place, took / MANY * 1000


def test_scheduling_a_trial_takes_less_than_five_milliseconds(scheduled: tuple[study.Place, float]) -> None:
    print(f"{scheduled[1]:.2f} ms a trial, fakes included")
    assert scheduled[1] < 5


@pytest.mark.parametrize("what", ["plan", "status", "resume", "resume without a journal"])
def test_each_look_at_ten_thousand_trials_takes_less_than_two_seconds(
    scheduled: tuple[study.Place, float], what: str
) -> None:
    place, more = scheduled[0], design(MANY + 6)
    looks: dict[str, Callable[[], object]] = {
        "plan": lambda: views.planned(more, place, 2),
        "status": lambda: views.state(more, place),
        "resume": lambda: run_of(place, more),
        "resume without a journal": lambda: run_of(place, more),
    }
    if "without" in what:
        (place.folder / "optuna.journal").unlink()
    taken = seconds(looks[what])
    print(f"{what}: {taken:.2f} s")
    assert taken < 2


def test_memory_stays_below_500_mebibytes(scheduled: tuple[study.Place, float]) -> None:
    """Of a process that resumes and then looks, imports included."""
    code = (
        "import re, sys; from pathlib import Path; import test_scale as t\n"
        "place = t.place_in(Path(sys.argv[1])); more = t.design(t.MANY + 6)\n"
        "t.run_of(place, more); t.views.state(more, place); place.ledger(more.name).frame(more)\n"
        # not ru_maxrss, which begins with that of the process that started this one
        "print(int(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1]) / 1024)"
    )
    folders = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    words = [sys.executable, "-c", code, str(scheduled[0].results)]
    done = subprocess.run(words, env=os.environ | {"PYTHONPATH": folders}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    print(f"{float(done.stdout):.0f} MiB")
    assert float(done.stdout) < 500


def test_time_is_proportional_to_trials(tmp_path: Path) -> None:
    """A trial of 2,000 costs at most twice what one of 10 does: nothing looks through all for each."""
    each = {}
    for trials in (12, 204, 2004):
        times = max(1, 204 // trials)
        runs = [run_of(place_in(tmp_path / f"{trials}-{n}"), design(trials)) for n in range(times)]
        each[trials] = sum(seconds(run.execute, times=1) for run in runs) / times / trials * 1000
    print({trials: f"{ms:.2f} ms" for trials, ms in each.items()})
    assert each[2004] < 2 * min(each.values())


def test_a_worker_s_memory_does_not_grow_with_the_trials(tmp_path: Path) -> None:
    """A worker gets one pack at a time and keeps nothing."""
    held = {}
    pool = Pool(train, ["cpu"])
    try:
        for trials in (30, 3000):
            place = place_in(tmp_path / str(trials))
            storage = open_storage(place.folder, pytest.fail)
            Run(design(trials), place.ledger("lr-sweep"), storage, pool).execute()
            held[trials] = psutil.Process(pool.pool[0].process.pid).memory_info().rss / 2**20
    finally:
        pool.close()
    print({trials: f"{mebibytes:.1f} MiB" for trials, mebibytes in held.items()})
    assert held[3000] < held[30] + 2
