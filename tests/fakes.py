"""A design and packs without any training, for what brings packs to workers: importable, as workers need."""

import os
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnstudy.design import Ablation, Factor, Level, Trial, across
from bnstudy.errors import DeviceLost
from bnstudy.outcome import Outcome
from bnstudy.packs import Job, Result

if TYPE_CHECKING:
    from bnstudy.books.ledger import Ledger

STEP = 100
"""Images a pack reports before it starts."""


def design(seeds: int = 2, name: str = "lr-sweep") -> Ablation:
    """Two packs of three trials for each seed; the last rate diverges."""
    return Ablation(
        name=name,
        question="Which rates train?",
        source="d2l 8.5",
        factors=(
            Factor("norm", levels=(Level("bn"), Level("affine", norm="affine"))),
            across("lr", 0.3, 3, 300),
        ),
        seeds=range(seeds),
    )


def outcome(trial: Trial) -> Outcome:
    """Return what the trial measures, on every machine and in every pack."""
    if trial.arm.recipe.lr > 100:
        return Outcome(status="diverged", diverged_at=7, diverged_in="loss")
    return Outcome(status="ok", precise_test_accuracy=int(trial.id[:4], 16) / 0xFFFF)


def train(job: Job, report: Callable[[int], None]) -> Result:
    """Return the outcomes of a pack at once."""
    report(STEP)
    return Result(tuple(map(outcome, job.pack.trials)), {"device": job.device})


def act(job: Job, report: Callable[[int], None]) -> Result:
    """Leave this process's id in the folder `images`, do what is written there for the seed, then train."""
    assert job.images is not None
    seed = job.pack.trials[0].seed
    write_whole(job.images / f"{seed}.pid", str(os.getpid()))
    script = job.images / f"{seed}.script"
    match script.read_text().split() if script.exists() else []:
        case ["hold"]:
            while script.exists():
                time.sleep(0.01)
        case ["exit", status]:
            os._exit(int(status))
        case ["raise"]:
            raise FileNotFoundError(f"{Path.home() / 'data' / 'images'}\nis not there")
        case ["lose", *words]:
            raise DeviceLost(" ".join(words))
        case ["answer", "nonsense"]:
            return Result((), {"lock": threading.Lock()})  # cannot be sent
    return train(job, report)


def look_around(job: Job, report: Callable[[int], None]) -> Result:
    """Return with the provenance what the process sees: its GPU, its threads, and the images."""
    assert job.images is not None
    time.sleep(0.5)  # so that another worker gets the next pack
    result = train(job, report)
    names = {"gpu": "CUDA_VISIBLE_DEVICES", "threads": "OMP_NUM_THREADS"}
    seen = {"images": job.images.read_text(), "path": str(job.images)}
    return Result(result.outcomes, result.provenance | seen | {k: os.environ[v] for k, v in names.items()})


def keep(content: Any) -> Path:
    """Stand for a node's cache of images."""
    path = Path(os.environ["BNSTUDY_CACHE"]) / f"{os.getpid()}.images"
    path.write_bytes(content.tobytes())
    return path


def absent(job: Job, report: Callable[[int], None]) -> Result:
    """Stand for a pack function that is gone when workers look for it: tests delete the name."""
    raise NotImplementedError


def write_whole(path: Path, text: str) -> None:
    """Write a file that others see either whole or not at all."""
    path.with_suffix(".part").write_text(text)
    path.with_suffix(".part").replace(path)


def seen(ledger: "Ledger") -> list[tuple[str, Outcome]]:
    """Return every record's trial and outcome, sorted by trial: a ledger without its provenance and order."""
    return sorted(((r.trial, r.outcome) for r in ledger.records()), key=lambda pair: pair[0])


def eventually(true: Callable[[], object], seconds: float = 60) -> None:
    """Return as soon as something is true; fail when it takes too long."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"still not true after {seconds} seconds"
        time.sleep(0.005)


def ended(pids: Iterable[int]) -> bool:
    """Return whether none of these processes runs; where nobody collects orphans, they stay as zombies."""
    import psutil

    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                return False
    return True
