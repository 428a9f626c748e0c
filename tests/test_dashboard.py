"""The dashboard shows factors, levels and what runs, changes nothing, and shows no password to anyone."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import postgres
import psutil
import pytest
from handmade import diverged, outcome, write

from bnstudy.address import parse
from bnstudy.books import registry, tuning
from bnstudy.books.ledger import Record
from bnstudy.books.schedule import Queue
from bnstudy.books.storage import identity, lease, open_storage
from bnstudy.commands import study
from bnstudy.commands.dashboard import fill, serve
from bnstudy.design import Ablation
from bnstudy.errors import BnstudyError

TINY = """
from bnstudy.design import Ablation, Factor, Level, Profile, across, tuned

ablation = Ablation(
    question="Does it <b>train</b>?",
    source="here",
    factors=(Factor("norm", levels=(Level("bn"), Level("affine", norm="affine"))), across("lr", 0.3, 3)),
    seeds=range(2),
    smoke=Profile(
        seeds=1,
        base={"data": "sample", "train_images": 320, "validation_images": 100, "batch_size": 64, "epochs": 1},
    ),
)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Server]:
    with postgres.server() as running:
        yield running


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder of ablations with `tiny`."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "tiny.py").write_text(TINY)
    return tmp_path / "own"


@pytest.fixture
def tiny(own: Path) -> Ablation:
    return registry.find(own).get("tiny").at("smoke")


@pytest.fixture(params=["journal", "database"])
def place(request: pytest.FixtureRequest, tmp_path: Path, tiny: Ablation) -> study.Place:
    """A place with three records of four: one diverged, and one trial has none."""
    storage = None
    if request.param == "database":
        server: postgres.Server = request.getfixturevalue("server")
        server.execute(f"create database {(name := f'of_{abs(hash(request.node.name))}')}")
        storage = parse(server.address(name))
    place = study.Place(tmp_path / "results", "smoke", pytest.fail, storage)
    worst = {"norm": "affine", "lr": "3"}
    write(
        place.folder,
        tiny,
        lambda arm, seed: (
            None if arm["lr"] == "3" and arm != worst else diverged() if arm == worst else outcome(0.5)
        ),
    )
    return place


@contextmanager
def served(place: study.Place, host: str = "127.0.0.1") -> Iterator[str]:
    """Serve the dashboard in a thread; yield its address."""
    server = serve(place, host, 0)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def ask(url: str, method: str = "GET", **headers: str) -> tuple[int, bytes]:
    """Return what a server answers: the status and the text."""
    request = urllib.request.Request(
        url, b"{}" if method in ("POST", "PUT") else None, headers, method=method
    )
    try:
        answer: HTTPResponse = urllib.request.urlopen(request)
        with answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def asked(url: str) -> Any:
    status, text = ask(url)
    assert status == 200, text
    return json.loads(text)


def readable(trial: dict[str, Any]) -> dict[str, Any]:
    """Return what one reads of a trial."""
    params = {param["name"]: param["param_external_value"] for param in trial["params"]}
    return params | {attr["key"]: attr["value"] for attr in trial["user_attrs"]} | {"state": trial["state"]}


def test_factors_and_levels_are_readable_in_either_storage(
    place: study.Place, own: Path, tiny: Ablation
) -> None:
    fill(place, own)
    with served(place) as url:
        [summary] = asked(f"{url}/api/studies")["study_summaries"]
        shown = asked(f"{url}/api/studies/{summary['study_id']}")
        assert ask(f"{url}/dashboard")[0] == 200 and b"<html" in ask(f"{url}/")[1]
    assert summary["study_name"].startswith("tiny-")
    assert {"key": "question", "value": tiny.question} in summary["user_attrs"]
    found = [readable(trial) for trial in shown["trials"]]
    wanted = {"affine 3": "diverged", "affine 0.3": "ok", "bn 0.3": "ok"}
    assert {f"{trial['norm']} {trial['lr']}": trial["status"] for trial in found} == wanted
    assert {trial["trial"] for trial in found} < {trial.id for trial in tiny.trials}
    assert {trial["state"] for trial in found} == {"Complete"} and {trial["seed"] for trial in found} == {"0"}
    assert sorted(trial["values"][0] for trial in shown["trials"]) == [0.1, 0.5, 0.5]


def test_a_run_in_progress_is_shown_as_it_goes_and_not_disturbed(
    place: study.Place, own: Path, tiny: Ablation
) -> None:
    """Only the holder of the lease may call its own trials dead."""
    said: list[str] = []
    looking = study.Place(place.results, place.profile, said.append, place.storage)
    with lease(place.folder, place.storage):
        where = identity(place.folder) if place.storage else ""
        queue = Queue(open_storage(place.folder, pytest.fail, place.storage), tiny, where)
        claimed = queue.claim(tiny.trials[:1])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("bnstudy.commands.dashboard.say", said.append)
            fill(looking, own)

        def shown() -> list[tuple[str, Any]]:
            """A server of its own each time: one looks again only after ten seconds."""
            with served(looking) as url:
                [summary] = asked(f"{url}/api/studies")["study_summaries"]
                trials = asked(f"{url}/api/studies/{summary['study_id']}")["trials"]
            return [(trial["state"], trial.get("values")) for trial in trials]

        assert shown() == [("Running", None)]
        queue.tell(claimed[0], outcome(0.75))
        assert shown() == [("Complete", [0.75])]
    assert said == [f"A run goes on in {place.folder}: the dashboard shows it as it comes."]


def test_a_search_is_shown_and_the_arms_at_what_it_found(place: study.Place, own: Path) -> None:
    text = TINY.replace("across", "tuned").replace('"lr", 0.3, 3', '"lr", 0.1, 10')
    (own / "own_rates.py").write_text(text.replace("seeds=range(2)", "claims=(), seeds=range(2)"))
    ablation = registry.find(own).get("own-rates").at("smoke")
    points = [(("norm", norm), ("lr", rate)) for norm in ("bn", "affine") for rate in ("0.3", "3")]
    search = place.ledger(ablation.name, tuning.PART)
    search.append(
        [
            Record.of(
                ablation.name, trial, outcome(trial.arm.recipe.lr / 4), {"search": {"round": 0, "budget": 2}}
            )
            for trial in tuning.design(ablation, points).trials
        ]
    )
    write(place.folder, place.at_tuned(ablation), lambda arm, seed: outcome(0.5))
    fill(place, own)
    fill(place, own)  # what is there already stays one
    with served(place) as url:
        shown = asked(f"{url}/api/studies")["study_summaries"]
        names = {each["study_name"].removesuffix(f" {identity(place.folder)}"): each for each in shown}
        searched = asked(f"{url}/api/studies/{names['own-rates tune norm=bn']['study_id']}")["trials"]
        [final] = [each for name, each in names.items() if name.startswith("own-rates-")]
        trials = asked(f"{url}/api/studies/{final['study_id']}")["trials"]
    assert sorted(trial["values"][0] for trial in searched) == [0.075, 0.75]
    assert [readable(trial)["norm"] for trial in trials] == ["bn", "affine"]
    assert len(names) == len(shown) == 4


CHANGES = [
    ("DELETE", "/api/studies/{study}"),
    ("POST", "/api/studies"),
    ("POST", "/api/studies/{study}/rename"),
    ("PUT", "/api/studies/{study}/note"),
    ("POST", "/api/trials/{trial}/tell"),
    ("POST", "/api/trials/{trial}/user-attrs"),
    ("POST", "/api/studies/{study}/{trial}/skip"),
    ("PUT", "/api/studies/{study}/{trial}/note"),
    ("PATCH", "/api/studies"),
]


def test_nothing_can_be_changed_from_the_web(place: study.Place, own: Path) -> None:
    fill(place, own)
    with served(place) as url:
        before = asked(f"{url}/api/studies")
        number = before["study_summaries"][0]["study_id"]
        trial = asked(f"{url}/api/studies/{number}")["trials"][0]["trial_id"]
        for method, path in CHANGES:
            status, why = ask(url + path.format(study=number, trial=trial), method)
            assert status == 403 and b"for reading" in why, path
        assert asked(f"{url}/api/studies") == before


def test_looking_writes_nothing(tmp_path: Path, own: Path, tiny: Ablation) -> None:
    """Every question that optuna-dashboard answers leaves every file of the results as it was."""
    place = study.Place(tmp_path / "results", "smoke", pytest.fail)
    write(place.folder, tiny, lambda arm, seed: outcome(0.5))
    fill(place, own)
    before = {path: path.read_bytes() for path in place.folder.iterdir()}
    assert {path.name for path in before} >= {"optuna.journal", "tiny.jsonl"}
    with served(place) as url:
        for path in ("api/meta", "api/studies", "api/studies/0", "csv/0", "dashboard/studies/0/note"):
            assert ask(f"{url}/{path}")[0] == 200, path
        for path in ("api/studies/0/param_importances", "api/studies/0/plot/slice", "static/../../x", "x"):
            ask(f"{url}/{path}")
    assert {path: path.read_bytes() for path in place.folder.iterdir()} == before


def test_a_page_from_elsewhere_cannot_ask_this_machine(tmp_path: Path, own: Path, tiny: Ablation) -> None:
    """Its name may lead to 127.0.0.1 (DNS rebinding); the browser tells by which name it asks."""
    place = study.Place(tmp_path / "results", "smoke", pytest.fail)
    write(place.folder, tiny, lambda arm, seed: outcome(0.5))
    with served(place) as url:
        assert ask(f"{url}/api/studies", Host="evil.example:8080")[0] == 403
        assert ask(f"{url}/api/studies", Host="localhost:9999")[0] == 200
        assert ask(f"{url}/api/studies", Host="[::1]")[0] == 200
    with served(place, "0.0.0.0") as url:
        assert ask(f"{url}/api/studies", Host="a-laptop.example")[0] == 200


def test_it_listens_on_the_loopback_address_alone(tmp_path: Path) -> None:
    (tmp_path / "smoke").mkdir()
    server = serve(study.Place(tmp_path, "smoke", pytest.fail), "127.0.0.1", 0)
    try:
        assert server.socket.getsockname()[0] == "127.0.0.1"
        with pytest.raises(BnstudyError, match=r"Cannot listen on 127\.0\.0\.1, port \d+: .*--port"):
            serve(study.Place(tmp_path, "smoke", pytest.fail), "127.0.0.1", server.server_port)
    finally:
        server.server_close()
    with pytest.raises(BnstudyError, match=r"Cannot listen on no\.such\.host\.invalid"):
        serve(study.Place(tmp_path, "smoke", pytest.fail), "no.such.host.invalid", 0)


def test_without_records_or_package_one_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = study.Place(tmp_path / "none", "smoke", pytest.fail)
    with pytest.raises(BnstudyError, match=r"Nothing is recorded in .*bnstudy run"):
        fill(place)
    assert not place.results.exists()
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
    with pytest.raises(BnstudyError, match=r"optuna_dashboard.*bnstudy\[dashboard\]"):
        serve(study.Place(tmp_path, "smoke", pytest.fail), "127.0.0.1", 0)


# Nobody sees the password


def everything(folder: Path) -> str:
    """Return the bytes of all files below a folder."""
    return "".join(path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file())


def watched(process: subprocess.Popen[str]) -> set[str]:
    """Return the command lines of a process and its children while it runs, and its children's variables."""
    seen: set[str] = set()
    while process.poll() is None:
        time.sleep(0.1)
        try:
            main = psutil.Process(process.pid)
            seen.add(" ".join(main.cmdline()))
            for child in main.children(recursive=True):
                seen |= {" ".join(child.cmdline()), str(child.environ())}
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            pass
    return seen


@pytest.mark.slow
def test_no_password_is_shown_by_a_run_and_its_dashboard(
    tmp_path: Path, own: Path, server: postgres.Server
) -> None:
    """Not even where it was typed into the command line, once the program has started again without it."""
    server.execute("create database shown")
    address = server.address("shown")
    common = ["--profile", "smoke", "--ablations", "own", "--json"]
    start = {"cwd": tmp_path, "text": True, "stdout": -1, "stderr": -1}

    run = [sys.executable, "-m", "bnstudy", "run", "tiny", "--workers", "1", *common, "--storage", address]
    with subprocess.Popen(run, **start) as process:  # type: ignore[call-overload]
        seen = watched(process)
        printed = process.stdout.read() + process.stderr.read()
    assert process.returncode == 0, printed
    assert any("--storage=BNSTUDY_STORAGE" in line for line in seen)
    assert any("multiprocessing" in line for line in seen)

    dashboard = [sys.executable, "-m", "bnstudy", "dashboard", "--port", "0", *common]
    start["env"] = os.environ | {"BNSTUDY_STORAGE": address}
    with subprocess.Popen(dashboard, **start) as process:  # type: ignore[call-overload]
        url = json.loads("".join(process.stdout.readline() for _ in range(3)))["url"]
        [summary] = asked(f"{url}api/studies")["study_summaries"]
        assert len(asked(f"{url}api/studies/{summary['study_id']}")["trials"]) == 4
        process.send_signal(signal.SIGINT)
        printed += process.stderr.read()
    assert process.returncode == 0, printed

    typed = {line for line in seen if f"--storage {address}" in line}
    assert len(typed) <= 1, "what the user typed is seen until the program has started again, and no longer"
    everywhere = printed + everything(tmp_path / "results") + "".join(seen - typed)
    for secret in (postgres.PASSWORD, address, address.split(":")[2].split("@")[0]):
        assert secret not in everywhere


def test_a_wrong_password_is_a_sentence_on_the_command_line(
    tmp_path: Path, own: Path, server: postgres.Server
) -> None:
    address = server.address(password="wr@ng/secret")
    run = [
        sys.executable,
        "-m",
        "bnstudy",
        "run",
        "tiny",
        "--profile",
        "smoke",
        "--ablations",
        "own",
        "--json",
    ]
    for command, variables in ((run, {"BNSTUDY_STORAGE": address}), ([*run, "--storage", address], {})):
        done = subprocess.run(
            command, cwd=tmp_path, env=os.environ | variables, capture_output=True, text=True
        )
        assert done.returncode == 1 and done.stdout == ""
        [sentence] = done.stderr.splitlines()
        assert sentence.startswith("bnstudy: Cannot use the storage postgresql://team:***@127.0.0.1")
        assert "secret" not in sentence and "~/.pgpass" in sentence
    assert not (tmp_path / "results" / "smoke" / "tiny.jsonl").exists()


def test_sqlite_is_refused_on_the_command_line(tmp_path: Path) -> None:
    run = [sys.executable, "-m", "bnstudy", "run", "lr-sweep", "--storage", "sqlite:///optuna.db"]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and "SQLite cannot be the storage: when two processes claim" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_dashboard_whose_database_went_away_shows_no_password(
    own: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with postgres.server() as leaving:
        place = study.Place(tmp_path / "results", "smoke", pytest.fail, parse(leaving.address()))
        fill(place, own)
        stack = served(place)
        url = stack.__enter__()
        assert ask(f"{url}/api/studies")[0] == 200
    status, text = ask(f"{url}/api/studies")
    stack.__exit__(None, None, None)
    printed = "".join(capfd.readouterr())
    assert status == 500 and (leaked := postgres.PASSWORD) not in text.decode() + printed
    assert leaving.address().split(":")[2].split("@")[0] not in text.decode() + printed and leaked
