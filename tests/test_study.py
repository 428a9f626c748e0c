"""What a run prepares before it trains, and what it leaves alone when there is nothing to train."""

import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import fakes
import pytest

from bnstudy.books import executors
from bnstudy.books.schedule import Tally
from bnstudy.commands import study
from bnstudy.commands.study import Machinery, Place
from bnstudy.design import Ablation
from bnstudy.errors import BnstudyError
from bnstudy.training import data, machine

REAL = fakes.design()
SAMPLE = replace(REAL, base=REAL.base.replace(data="sample"), name="sampled")


class Pools:
    """Stands for the pool: packs run here, and what was asked for is remembered."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.devices: list[list[str]] = []
        self.closed = 0
        self.images: list[Path | None] = []
        self.fetched: list[Path | None] = []
        monkeypatch.setattr(executors, "Pool", self.start)
        monkeypatch.setattr(data, "fetch", self.fetch)
        monkeypatch.setattr(machine, "devices", lambda asked: ["cpu"])
        monkeypatch.setattr(study, "cores", lambda: 3)

    def start(self, run: executors.Run, devices: list[str]) -> executors.InProcess:
        self.devices.append(devices)
        here = executors.InProcess(self.train)
        here.close = self.close  # type: ignore[method-assign]
        return here

    def train(self, job: Any, report: Callable[[int], None]) -> Any:
        self.images.append(job.images)
        return fakes.train(job, report)

    def close(self) -> None:
        self.closed += 1

    def fetch(self, folder: Path | None, notify: Callable[[str], None]) -> Path:
        self.fetched.append(folder)
        return Path("images.npz")


@pytest.fixture
def pools(monkeypatch: pytest.MonkeyPatch) -> Pools:
    return Pools(monkeypatch)


@contextmanager
def shown(name: str) -> Iterator[Callable[[Tally], None]]:
    yield lambda tally: None


def run(
    folder: Path, *ablations: Ablation, said: list[str] | None = None, **options: Any
) -> dict[str, Tally]:
    place = Place(folder, "quick", (said if said is not None else []).append)
    return study.run(ablations, place, Machinery(**options), shown)


def test_a_run_uses_one_worker_a_core_but_no_more_than_packs(pools: Pools, tmp_path: Path) -> None:
    said: list[str] = []
    run(tmp_path, SAMPLE, said=said)
    assert pools.devices == [["cpu"] * 3] and said == ["3 workers on cpu"]
    run(tmp_path / "one", replace(SAMPLE, seeds=range(1)), said=said)
    assert len(pools.devices[1]) == 2
    run(tmp_path / "asked", SAMPLE, workers=1, said=said)
    assert pools.devices[2] == ["cpu"] and said[-1] == "1 worker on cpu"


def test_workers_share_the_gpus(pools: Pools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "devices", lambda asked: ["cuda:0", "cuda:1"])
    said: list[str] = []
    run(tmp_path, SAMPLE, said=said)
    run(tmp_path / "more", SAMPLE, workers=3, said=said)
    assert pools.devices == [["cuda:0", "cuda:1"], ["cuda:0", "cuda:1", "cuda:0"]]
    assert said[0] == "2 workers on cuda:0, cuda:1"


def test_every_ablation_is_recorded_and_the_workers_end(pools: Pools, tmp_path: Path) -> None:
    tallies = run(tmp_path, REAL, SAMPLE)
    assert {name: (t.recorded, t.missing) for name, t in tallies.items()} == {
        "lr-sweep": (12, 0),
        "sampled": (12, 0),
    }
    assert len(pools.devices) == 1 and pools.closed == 1
    assert pools.images == [Path("images.npz")] * 4 + [None] * 4


def test_nothing_missing_starts_nothing(pools: Pools, tmp_path: Path) -> None:
    run(tmp_path, REAL)
    (tmp_path / "quick" / "optuna.journal").unlink()
    ledger = tmp_path / "quick" / "lr-sweep.jsonl"
    before = ledger.read_bytes()
    said: list[str] = []
    assert run(tmp_path, REAL, said=said) == {"lr-sweep": Tally(total=12, recorded=12)}
    assert len(pools.devices) == len(pools.fetched) == 1 and said == []
    assert ledger.read_bytes() == before and not (tmp_path / "quick" / "optuna.journal").exists()


def test_images_are_fetched_only_for_packs_that_need_them(pools: Pools, tmp_path: Path) -> None:
    run(tmp_path, SAMPLE)
    assert pools.fetched == []
    run(tmp_path, REAL, data_dir=tmp_path)
    assert pools.fetched == [tmp_path]
    run(tmp_path, REAL, replace(SAMPLE, seeds=range(3)))
    assert len(pools.devices) == 3 and len(pools.fetched) == 1


@pytest.mark.parametrize("workers", [0, -1])
def test_a_run_needs_a_worker(pools: Pools, tmp_path: Path, workers: int) -> None:
    with pytest.raises(BnstudyError, match=rf"--workers {workers}: at least one worker is needed"):
        run(tmp_path, REAL, workers=workers)
    assert pools.devices == pools.fetched == []


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"executor": "rya"}, "No executor named 'rya'. Did you mean 'ray'"),
        ({"ray_address": "a:6379"}, "--ray-address a:6379 is for --executor ray"),
    ],
)
def test_where_packs_run_is_asked_in_words_that_exist(options: dict[str, str], told: str) -> None:
    with pytest.raises(BnstudyError, match=re.escape(told)):
        Machinery(**options)  # type: ignore[arg-type]


def test_a_device_that_is_not_there_is_told_before_anything_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "fetch", pytest.fail)
    with pytest.raises(BnstudyError, match=r"No device 'cuda:7': .*--device cpu"):
        run(tmp_path, REAL, device="cuda:7")


def test_the_workers_end_when_a_run_breaks(pools: Pools, tmp_path: Path) -> None:
    (tmp_path / "quick").mkdir()
    (tmp_path / "quick" / "sampled.jsonl").write_text("damaged\n")
    with pytest.raises(BnstudyError, match=r"sampled\.jsonl, line 1"):
        run(tmp_path, SAMPLE)
    with pytest.raises(BnstudyError, match=r"sampled\.jsonl, line 1"):
        run(tmp_path, REAL, SAMPLE)
    assert pools.devices == []

    def breaking(job: Any, report: Callable[[int], None]) -> Any:
        raise KeyboardInterrupt

    pools.train = breaking  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, REAL)
    assert pools.closed == 2  # by the run and by its caller


def test_a_record_that_was_cut_off_is_told_once_and_trained_again(pools: Pools, tmp_path: Path) -> None:
    run(tmp_path, SAMPLE)
    ledger = tmp_path / "quick" / "sampled.jsonl"
    whole = ledger.read_bytes()
    ledger.write_bytes(whole[:-300])
    said: list[str] = []
    assert run(tmp_path, SAMPLE, said=said)["sampled"].missing == 0
    assert [text for text in said if "cut off" in text] == said[:1] and "was moved to" in said[0]
    assert ledger.read_bytes().startswith(whole[: whole.rindex(b"\n", 0, -300) + 1])
    assert len(ledger.read_bytes().splitlines()) == 12


def test_missing_packs_are_known_without_optuna(tmp_path: Path) -> None:
    ledger = Place(tmp_path, "quick", pytest.fail).ledger("lr-sweep")
    assert sum(len(pack.trials) for pack in study.missing(REAL, ledger)) == 12


# A polite kill


def test_a_polite_kill_ends_a_run_like_ctrl_c() -> None:
    """Batch systems send it some seconds before they kill."""
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), study.terminable():
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(5)
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_run_may_be_started_outside_of_the_main_thread(pools: Pools, tmp_path: Path) -> None:
    """Where no signal handler can be set: in a notebook's or a server's thread."""
    tallies: list[dict[str, Tally]] = []
    thread = threading.Thread(target=lambda: tallies.append(run(tmp_path, SAMPLE)))
    thread.start()
    thread.join(60)
    assert tallies[0]["sampled"].missing == 0
