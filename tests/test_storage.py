"""Where Optuna's storages are, and who may write: one coordinator at a time."""

import os
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import fakes
import optuna
import postgres
import pytest
from optuna.trial import TrialState

from bnstudy.address import Address, parse
from bnstudy.books import storage
from bnstudy.books.executors import InProcess
from bnstudy.books.ledger import Ledger
from bnstudy.books.schedule import Run
from bnstudy.books.storage import Held, Taken, identity, lease, open_storage, read_storage
from bnstudy.errors import BnstudyError
from bnstudy.packs import Job, Result

ABLATION = fakes.design()


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Server]:
    with postgres.server() as running:
        yield running


@pytest.fixture
def team(server: postgres.Server, request: pytest.FixtureRequest) -> Address:
    """The address of an empty database."""
    name = f"team_{abs(hash(request.node.name))}"
    server.execute(f"create database {name}")
    return parse(server.address(name))


HOLDER = """
import sys, time
from pathlib import Path
from bnstudy.books.storage import lease
with lease(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_coordinator_is_refused_and_a_dead_one_holds_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        refusal = pytest.raises(BnstudyError, match=r"Another bnstudy is running on .*--results")
        with refusal, lease(tmp_path):
            pytest.fail("two coordinators")
        holder.kill()
        holder.wait()
        with lease(tmp_path):
            pass
    with lease(tmp_path):
        pass


def test_a_lock_that_somebody_removed_stops_the_one_who_held_it(tmp_path: Path) -> None:
    """Else a second coordinator would lock a new file, and both would append."""
    with lease(tmp_path) as held:
        held()
        (tmp_path / ".lock").unlink()
        with pytest.raises(BnstudyError, match=r"lease on .* was lost .*removed.*records nothing more"):
            held()
        with lease(tmp_path), pytest.raises(BnstudyError, match="was lost"):
            held()


def test_a_folder_that_cannot_be_written_to_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refusal = pytest.raises(BnstudyError, match=r"Cannot write to .*file.*: .*--results")
    with refusal, lease(tmp_path / "file"):
        pytest.fail("no folder")
    (tmp_path / "optuna.journal").mkdir()
    with pytest.raises(BnstudyError, match=r"Cannot write to .*optuna\.journal: .*--results"):
        open_storage(tmp_path, pytest.fail)


# A team's database


def execute(
    folder: Path, team: Address, held: Held, run: Callable[..., Result] = fakes.train, seeds: int = 2
) -> None:
    """Run what is missing in this process, as `bnstudy run` does with a storage."""
    ledger = Ledger(folder / "lr-sweep.jsonl", pytest.fail, held)
    opened = open_storage(folder, pytest.fail, team)
    Run(fakes.design(seeds), ledger, opened, InProcess(run), where=identity(folder)).execute()


def recorded(folder: Path) -> list[Any]:
    return fakes.seen(Ledger(folder / "lr-sweep.jsonl", pytest.fail))


def undisturbed(seeds: int = 2) -> list[Any]:
    return sorted(((t.id, fakes.outcome(t)) for t in fakes.design(seeds).trials), key=lambda pair: pair[0])


def states(folder: Path, team: Address) -> list[TrialState]:
    [name] = [
        name
        for name in optuna.get_all_study_names(open_storage(folder, pytest.fail, team))
        if name.endswith(identity(folder))
    ]
    study = optuna.load_study(study_name=name, storage=open_storage(folder, pytest.fail, team))
    return sorted(trial.state for trial in study.get_trials())


def test_a_run_on_a_database_makes_the_same_ledger(tmp_path: Path, team: Address) -> None:
    for seeds in (2, 3, 3):
        with lease(tmp_path, team) as held:
            execute(tmp_path, team, held, seeds=seeds)
        assert recorded(tmp_path) == undisturbed(seeds)
    assert states(tmp_path, team) == [TrialState.COMPLETE] * 18
    assert not (tmp_path / "optuna.journal").exists()


def test_results_folders_share_a_database_and_no_study(tmp_path: Path, team: Address) -> None:
    """One coordinator fails what another left running: it must be another's of the same folder."""
    mine, yours = tmp_path / "mine", tmp_path / "yours"
    with lease(mine, team) as held, lease(yours, team) as also:
        execute(mine, team, held)
        execute(yours, team, also, seeds=1)
    assert states(mine, team) == [TrialState.COMPLETE] * 12
    assert states(yours, team) == [TrialState.COMPLETE] * 6


def test_a_folder_seen_from_two_machines_has_one_coordinator(tmp_path: Path, team: Address) -> None:
    """The lock file of a copy is another one; the database knows both by what they hold."""
    here, there = tmp_path / "here", tmp_path / "there"
    with lease(here, team):
        shutil.copytree(here, there)
        with pytest.raises(Taken, match=r"another machine.*delete .*there/\.identity"), lease(there, team):
            pytest.fail("two coordinators")
    with lease(there, team):
        pass
    (there / ".identity").unlink()
    with lease(here, team), lease(there, team):
        pass


def test_a_killed_coordinator_holds_nothing_in_the_database(tmp_path: Path, team: Address) -> None:
    code = HOLDER.replace("lease(Path(sys.argv[1]))", "lease(Path(sys.argv[1]), parse(os.environ['TEAM']))")
    code = code.replace("import sys", "import os, sys").replace(
        "from bnstudy.books.storage", "from bnstudy.address import parse\nfrom bnstudy.books.storage"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a")]
    environment = {**os.environ, "TEAM": team.secret}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        shutil.copytree(tmp_path / "a", tmp_path / "b")
        with pytest.raises(Taken), lease(tmp_path / "b", team):
            pytest.fail("two coordinators")
        holder.kill()
        holder.wait()

    def free() -> bool:
        try:
            with lease(tmp_path / "b", team):
                return True
        except Taken:
            return False

    fakes.eventually(free)


def test_coordinators_that_come_first_together_make_the_tables_once(tmp_path: Path, team: Address) -> None:
    with ThreadPoolExecutor(4) as pool:
        opened = list(pool.map(lambda _: open_storage(tmp_path, pytest.fail, team), range(4)))
    assert [optuna.get_all_study_names(each) for each in opened] == [[]] * 4


def test_what_optuna_writes_together_is_written_together_or_not_at_all(tmp_path: Path, team: Address) -> None:
    """A coordinator may be killed between two statements."""
    opened = open_storage(tmp_path, pytest.fail, team)
    assert isinstance(opened, optuna.storages.RDBStorage)
    with suppress(ZeroDivisionError), opened.engine.begin() as connection:
        connection.exec_driver_sql("create table half (number int)")
        raise ZeroDivisionError
    with opened.engine.begin() as connection:
        assert connection.exec_driver_sql("select to_regclass('half')").scalar() is None


def test_a_reader_cannot_write_into_the_database(tmp_path: Path, team: Address) -> None:
    reading = read_storage(tmp_path, team)
    assert optuna.get_all_study_names(reading) == []
    with pytest.raises(optuna.exceptions.StorageInternalError) as told:
        optuna.create_study(study_name="mine", storage=reading)
    assert "read-only transaction" in str(told.value.__cause__)
    assert optuna.get_all_study_names(open_storage(tmp_path, pytest.fail, team)) == []


LOSSES = {
    "all connections": "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()",
    "the lease's alone": "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory'",
}


@pytest.mark.parametrize("loss", LOSSES)
def test_a_lost_lease_stops_all_appends_and_loses_nothing(
    tmp_path: Path, team: Address, server: postgres.Server, loss: str
) -> None:
    ran: list[Job] = []

    def losing(job: Job, report: Callable[[int], None]) -> Result:
        ran.append(job)
        if len(ran) == 3:
            server.execute(LOSSES[loss])
        return fakes.train(job, report)

    lost = pytest.raises(BnstudyError, match=r"lease on .* was lost \(.*same command goes on")
    with lost as told, lease(tmp_path, team) as held:
        execute(tmp_path, team, held, losing)
    assert_secret(told.value, team)
    assert len(recorded(tmp_path)) == 6 and len(ran) == 3
    with lease(tmp_path, team) as held:
        execute(tmp_path, team, held)
    assert recorded(tmp_path) == undisturbed()
    ended = states(tmp_path, team)
    assert ended.count(TrialState.COMPLETE) == 12 and set(ended) <= {TrialState.COMPLETE, TrialState.FAIL}


def test_a_run_outlives_connections_that_a_firewall_drops(
    tmp_path: Path, team: Address, server: postgres.Server
) -> None:
    """Optuna's are idle for as long as packs train; the lease's alone decides who may write."""

    def dropping(job: Job, report: Callable[[int], None]) -> Result:
        server.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'bnstudy' "
            "and pid not in (select pid from pg_locks where locktype = 'advisory')"
        )
        return fakes.train(job, report)

    with lease(tmp_path, team) as held:
        execute(tmp_path, team, held, dropping)
    assert recorded(tmp_path) == undisturbed()
    assert states(tmp_path, team) == [TrialState.COMPLETE] * 12


def test_a_lock_that_a_pool_of_connections_dropped_is_noticed(tmp_path: Path, team: Address) -> None:
    """Behind a pooler the same connection may become another session, which holds nothing."""
    with storage._database_lease(tmp_path, team) as held:
        held()
        held.args[0].execute("select pg_advisory_unlock_all()")  # type: ignore[attr-defined]
        with pytest.raises(BnstudyError, match="the lock is gone"):
            held()


# Secrets


def assert_secret(error: BaseException, team: Address) -> None:
    """Neither an error nor what led to it, as anyone would print it, holds the password."""
    text = "".join(traceback.format_exception(error)) + repr(error) + repr(team)
    assert postgres.PASSWORD not in text
    assert team.secret not in text and team.secret.split(":")[2].split("@")[0] not in text


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"password": "wr/ng:p@ss"}, "password authentication failed"),
        ({"database": "nowhere"}, "does not exist"),
        ({"database": "postgres?sslmode=nonsense"}, "sslmode"),
        ({"database": "postgres?colour=blue"}, "cannot read the options"),
        ({"database": "postgres?sslmode=require"}, "SSL"),
    ],
    ids=["password", "database", "value", "option", "ssl"],
)
def test_a_database_that_refuses_is_a_sentence_without_the_password(
    tmp_path: Path, server: postgres.Server, wrong: dict[str, str], said: str
) -> None:
    team = parse(server.address(**wrong))
    for attempt in (lease(tmp_path, team).__enter__, lambda: open_storage(tmp_path, pytest.fail, team)):
        with pytest.raises(BnstudyError, match=said) as told:
            attempt()
        assert_secret(told.value, team)
        assert "postgresql://team:***@127.0.0.1" in str(told.value)
        assert "wr/ng" not in "".join(traceback.format_exception(told.value))


def test_a_host_that_does_not_answer_is_a_sentence(tmp_path: Path) -> None:
    team = parse("postgresql://team:secret%40word@localhost:1/study")
    with pytest.raises(BnstudyError, match=r"team:\*\*\*@localhost:1/study: .*refused") as told:
        open_storage(tmp_path, pytest.fail, team)
    assert_secret(told.value, team)


def test_without_the_package_one_is_told_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(BnstudyError, match=r"psycopg.*bnstudy\[postgresql\]"):
        open_storage(tmp_path, pytest.fail, parse("postgresql://localhost/study"))


def test_an_identity_that_is_none_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / ".identity").write_text("../../x")
    with pytest.raises(BnstudyError, match=r"\.identity should hold"):
        identity(tmp_path)
