"""Packs on a Ray cluster: of several nodes on this machine, which die and come while packs train."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import fakes
import pytest

from bnstudy.books import cluster, executors, provenance, schedule
from bnstudy.books.cluster import Cluster
from bnstudy.books.executors import Done, Event, Failed, InProcess, Progress
from bnstudy.books.ledger import Ledger
from bnstudy.commands import study
from bnstudy.commands.study import Machinery, Place
from bnstudy.errors import BnstudyError
from bnstudy.packs import Job, Pack, plan

pytestmark = pytest.mark.alone  # one cluster for all tests, in this order

TESTS = Path(__file__).parent
PACKS = plan(fakes.design(seeds=4))[::2]
"""One pack for each seed."""

WATCHED = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 300,
    "health_check_failure_threshold": 3,
}
"""A dead node is noticed after a second, and not after half a minute."""

QUIET = {"include_dashboard": False, "include_log_monitor": False}


class Nodes:
    """A head with a core and two GPUs that exist in Ray's books alone, and one node of one core."""

    def __init__(self, folder: str) -> None:
        from ray.cluster_utils import Cluster as Several

        self.several = Several()
        self.several.add_node(num_cpus=1, num_gpus=2, temp_dir=folder, _system_config=WATCHED, **QUIET)
        self.address: str = self.several.address
        self.other = self.add()

    def add(self, **options: Any) -> Any:
        return self.several.add_node(num_cpus=1, **QUIET, **options)

    def kill(self, node: Any) -> None:
        self.several.remove_node(node, allow_graceful=False)


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    # Ray's sockets need a short path.
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix="ray") as folder:
        patch.setenv("PYTHONPATH", os.pathsep.join(map(str, (TESTS.parent, TESTS))))
        patch.setenv("BNSTUDY_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("RAY_TMPDIR", folder)  # where Ray notes the cluster's address; it makes no folder for it
        (Path(folder) / "ray").mkdir()
        started = Nodes(folder)
        yield started
        started.several.shutdown()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which packs find what to do, by their seed."""
    return tmp_path_factory.mktemp("stage")


@pytest.fixture(scope="module")
def pool(nodes: Nodes, stage: Path) -> Iterator[Cluster]:
    """Two workers, each on a node of its own; the test of closing closes them."""
    pool = Cluster(
        lambda job, report: fakes.act(replace(job, images=stage), report),
        fakes.keep,
        address=nodes.address,
        device="cpu",
        limit=2,
    )
    yield pool
    pool.close()


def until(pool: Cluster, enough: Callable[[list[Event]], object], seconds: float = 100) -> list[Event]:
    """Collect events until there are enough."""
    seen: list[Event] = []
    fakes.eventually(lambda: enough(seen) or seen.extend(pool.events(0.1)), seconds)
    return seen


def ready(pool: Cluster, count: int) -> None:
    until(pool, lambda seen: sum(worker.free for worker in pool.pool) == count)


def ends(seen: list[Event]) -> list[Event]:
    return [event for event in seen if not isinstance(event, Progress)]


def script(folder: Path, pack: Pack, text: str) -> Path:
    path = folder / f"{pack.trials[0].seed}.script"
    path.write_text(text)
    return path


def pid(folder: Path, pack: Pack) -> int:
    path = folder / f"{pack.trials[0].seed}.pid"
    fakes.eventually(path.exists)
    return int(path.read_text())


def test_packs_train_on_different_nodes_and_come_back_with_the_facts_of_their_host(
    pool: Cluster, stage: Path
) -> None:
    assert not pool.free() and pool.workers == 2
    ready(pool, 2)
    holds = [script(stage, pack, "hold") for pack in PACKS[:2]]
    for pack in PACKS[:2]:
        pool.submit(Job(pack, "", None))
    assert not pool.free() and len({worker.node for worker in pool.pool}) == 2
    assert pid(stage, PACKS[0]) != pid(stage, PACKS[1])
    for hold in holds:
        hold.unlink()
    seen = until(pool, lambda seen: len(ends(seen)) == 2)
    told = [event.pack for event in seen if event == Progress(event.pack, fakes.STEP)]
    assert set(told) == set(PACKS[:2]) and len(told) == 2
    for event in ends(seen):
        trained = fakes.train(Job(event.pack, "cpu", None), lambda images: None)
        assert isinstance(event, Done) and event.result.outcomes == trained.outcomes
        assert event.result.provenance == {**provenance.host(), "device": "cpu"}
    assert pool.free()


def test_what_ends_a_pack_is_told_and_another_worker_goes_on(pool: Cluster, stage: Path) -> None:
    expected = {
        "raise": ("crashed", "FileNotFoundError: ~/data/images is not there (act, line "),
        "answer nonsense": ("crashed", "TypeError: cannot pickle"),
        "lose CUDA error: unspecified launch failure": ("lost", "DeviceLost: CUDA error: unspecified"),
        "exit 3": ("lost", "its Ray process died (ActorDiedError)"),
    }
    for pack, (text, (status, reason)) in zip(PACKS, expected.items(), strict=True):
        todo = script(stage, pack, text)
        until(pool, lambda seen: pool.free())
        pool.submit(Job(pack, "", None))
        [failed] = ends(until(pool, ends))
        assert isinstance(failed, Failed) and (failed.status, failed.pack) == (status, pack)
        assert failed.reason.startswith(reason), failed.reason
        todo.unlink()
    ready(pool, 2)
    pool.submit(Job(PACKS[0], "", None))
    assert isinstance(ends(until(pool, ends))[0], Done)


def test_a_pack_that_hangs_is_abandoned_with_its_worker(pool: Cluster, stage: Path) -> None:
    hold = script(stage, PACKS[2], "hold")
    (stage / "2.pid").unlink()
    pool.submit(Job(PACKS[2], "", None))
    process = pid(stage, PACKS[2])
    pool.abandon(PACKS[2], "it gave no sign of life")
    assert ends(until(pool, ends)) == [Failed(PACKS[2], "lost", "it gave no sign of life")]
    fakes.eventually(lambda: fakes.ended([process]), 10)
    hold.unlink()


def test_a_cluster_that_is_gone_is_told(pool: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray ends the process a minute after its head has died, with a line of its own."""
    until(pool, lambda seen: pool.free())
    with monkeypatch.context() as patch, pytest.raises(BnstudyError, match="recorded is safe: start") as told:
        patch.setattr(cluster, "unreachable", lambda address: "Connection refused")
        patch.setattr(pool, "looked", 0)
        assert pool.events(0) == [], "not at once: it may come back"
        patch.setattr(cluster, "NO_HEAD_SECONDS", -1)
        patch.setattr(pool, "looked", 0)
        pool.events(0)
    assert f"does not answer at {pool.address} any more" in str(told.value)
    with (
        monkeypatch.context() as patch,
        pytest.raises(BnstudyError, match="no node to train on for 10 min"),
    ):
        patch.setattr(pool, "_places", lambda device: {})
        patch.setattr(pool, "looked", 0)
        patch.setattr(pool, "seen", time.monotonic() - 601)
        pool.events(0)


def test_closing_kills_what_trains(pool: Cluster, stage: Path) -> None:
    until(pool, lambda seen: pool.free())
    (stage / "3.pid").unlink()
    hold = script(stage, PACKS[3], "hold")
    pool.submit(Job(PACKS[3], "", None))
    process = pid(stage, PACKS[3])
    pool.close()
    pool.close()
    fakes.eventually(lambda: fakes.ended([process]), 10)
    hold.unlink()


def test_a_worker_has_one_gpu_one_thread_and_the_content_of_the_images(nodes: Nodes, tmp_path: Path) -> None:
    """Their path on the coordinator means nothing on a node."""
    images = tmp_path / "images.bin"
    images.write_bytes(b"seventy thousand")
    pool = Cluster(fakes.look_around, fakes.keep, address=nodes.address, limit=4)
    try:
        ready(pool, 2)
        for pack in PACKS[:2]:
            pool.submit(Job(pack, "", images))
        seen = until(pool, lambda seen: len(ends(seen)) == 2)
    finally:
        pool.close()
    found = [event.result.provenance for event in seen if isinstance(event, Done)]
    assert sorted(facts["gpu"] for facts in found) == ["0", "1"]
    for facts in found:
        assert (facts["device"], facts["threads"]) == ("cuda:0", "1")
        assert facts["images"] == "seventy thousand" and facts["path"] != str(images)


class Troubled(Cluster):
    """A cluster of which a node dies as soon as it has a pack, and to which another comes."""

    nodes: Nodes
    used: set[str]
    """The nodes that packs were handed to."""
    waits = False

    def free(self) -> bool:
        """Wait for the new node, however fast the packs are."""
        if self.waits:
            self.waits = sum(worker.free for worker in self.pool) < 2
        return super().free() and not self.waits

    def submit(self, job: Job) -> None:
        super().submit(job)
        before = len(self.used)
        self.used.update(worker.node for worker in self.pool if worker.pack is not None)
        if before < len(self.used) == 2:
            self.waits = True
            self.nodes.kill(self.nodes.other)
            self.nodes.add()


def test_a_run_survives_a_node_s_death_uses_one_that_comes_and_ends_with_the_same_ledger(
    nodes: Nodes, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real trainings; only their provenance differs, and it is that of the nodes."""
    monkeypatch.setattr(Troubled, "nodes", nodes, raising=False)
    monkeypatch.setattr(Troubled, "used", set(), raising=False)
    monkeypatch.setattr(cluster, "Cluster", Troubled)
    monkeypatch.setattr(executors, "Pool", lambda run, devices: InProcess(run))
    small = {"data": "sample", "train_images": 640, "validation_images": 100, "batch_size": 64, "epochs": 1}
    design = fakes.design(seeds=3)
    ablation = replace(design, base=design.base.replace(**small))
    tallies: list[schedule.Tally] = []
    said: list[str] = []

    @contextmanager
    def shown(name: str) -> Iterator[Callable[[schedule.Tally], None]]:
        yield tallies.append

    def run(name: str, **options: Any) -> Ledger:
        place = Place(tmp_path / name, "smoke", said.append)
        study.run([ablation], place, Machinery(device="cpu", **options), shown)
        return place.ledger("lr-sweep")

    before = signal.getsignal(signal.SIGTERM)
    there = run("ray", executor="ray", ray_address=nodes.address)
    assert said == ["2 workers on cpu of the Ray cluster"] and signal.getsignal(signal.SIGTERM) == before
    tally = tallies[-1]
    assert (tally.missing, tally.failed) == (0, {}) and len(Troubled.used) == 3
    assert any(reason.startswith("its Ray ") for reason in tally.retried)
    assert fakes.seen(there) == fakes.seen(run("here")) and len(fakes.seen(there)) == 18
    for record in there.records():
        assert record.provenance["threads"] == 1 and record.provenance["device"] == "cpu"
        assert (provenance.code() | provenance.host()).items() <= record.provenance.items()
    assert capfd.readouterr() == ("", ""), "Ray prints deaths, and to standard output"


COORDINATOR = """
import sys
from dataclasses import replace
from pathlib import Path
import fakes
from bnstudy.books.cluster import Cluster
from bnstudy.books.ledger import Ledger
from bnstudy.packs import Job, plan

stage = Path(sys.argv[2])
act = lambda job, report: fakes.act(replace(job, images=stage), report)
pool = Cluster(act, fakes.keep, address=sys.argv[1], device="cpu", limit=1)
while not pool.free():
    pool.events(0.1)
pool.submit(Job(plan(fakes.design(seeds=1))[0], "", None))
while True:
    pool.events(1)
"""


def test_workers_end_when_the_coordinator_is_killed(nodes: Nodes, tmp_path: Path) -> None:
    hold = script(tmp_path, PACKS[0], "hold")
    process = subprocess.Popen([sys.executable, "-c", COORDINATOR, nodes.address, str(tmp_path)])
    try:
        worker = pid(tmp_path, PACKS[0])
    finally:
        process.kill()
        process.wait()
    fakes.eventually(lambda: fakes.ended([worker]), 20)
    hold.unlink()


def test_a_node_with_another_bnstudy_is_refused(
    nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its numbers could be of other code than the record says."""
    other = tmp_path / "other"
    shutil.copytree(TESTS.parent / "bnstudy", other / "bnstudy")
    (other / "bnstudy" / "errors.py").open("a").write("\n")
    monkeypatch.chdir(tmp_path)  # Ray lets workers import from the coordinator's folder
    node = nodes.add(env_vars={"PYTHONPATH": os.pathsep.join(map(str, (other, TESTS)))})
    pool = Cluster(fakes.train, fakes.keep, address=nodes.address, device="cpu", limit=9)
    try:
        with pytest.raises(BnstudyError, match=r"another bnstudy \(version .*, sources .*install the same"):
            until(pool, lambda seen: False)
    finally:
        pool.close()
        nodes.kill(node)


def test_a_node_that_cannot_import_bnstudy_is_told(
    nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bnstudy.py").write_text("raise ImportError('no such thing here')")
    monkeypatch.chdir(tmp_path)
    node = nodes.add(env_vars={"PYTHONPATH": os.pathsep.join(map(str, (tmp_path, TESTS)))})
    pool = Cluster(fakes.train, fakes.keep, address=nodes.address, device="cpu", limit=9)
    try:
        with pytest.raises(BnstudyError, match=r"did not come to train, 3 times in a row.*no such thing"):
            until(pool, lambda seen: False)
    finally:
        pool.close()
        nodes.kill(node)


# Nowhere to train


def test_a_device_that_the_cluster_lacks_is_told(nodes: Nodes) -> None:
    with pytest.raises(BnstudyError, match=r"No device of a Ray cluster named 'cuda:1'.*Ray chooses"):
        Cluster(fakes.train, fakes.keep, address=nodes.address, device="cuda:1", limit=1)


def test_an_address_that_nobody_answers_is_told_at_once() -> None:
    start = time.monotonic()
    with pytest.raises(BnstudyError, match=r"No Ray cluster answers at 127\.0\.0\.1:1 .*ray start --head"):
        Cluster(fakes.train, fakes.keep, address="127.0.0.1:1", limit=1)
    assert time.monotonic() - start < 10


@pytest.mark.parametrize("address", ["here", "here:", ":6379", "here:ray", "here:99999", "ray://here:10001"])
def test_an_address_that_is_none_is_told(address: str) -> None:
    with pytest.raises(BnstudyError, match=f"--ray-address '{address}' is no address: it must be host:port"):
        Cluster(fakes.train, fakes.keep, address=address, limit=1)


def test_ray_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BnstudyError, match=r"pip install 'bnstudy\[ray\]'"):
        Cluster(fakes.train, fakes.keep, limit=1)
