"""Nobody gets in: files are data and never code, and no name in them leads anywhere else."""

import ast
import json
import os
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import fakes
import pytest
from handmade import outcome, records

import bnstudy
from bnstudy import cli
from bnstudy.books import registry
from bnstudy.books.executors import InProcess
from bnstudy.books.ledger import Ledger
from bnstudy.books.record import _sealed as sealed
from bnstudy.books.schedule import Run
from bnstudy.books.storage import open_storage
from bnstudy.commands import study
from bnstudy.commands.dashboard import fill
from bnstudy.commands.options import printable

PACKAGE = Path(bnstudy.__file__).parent

Door = Callable[..., tuple[int, str]]
unpickled: list[str] = []
"""What was looked up by a pickle while a test listened."""
listening: list[bool] = []


def hook(event: str, args: tuple[object, ...]) -> None:
    if listening and event == "pickle.find_class":
        unpickled.append(".".join(map(str, args)))


sys.addaudithook(hook)


@pytest.fixture(autouse=True)
def no_pickle_is_read() -> Iterator[None]:
    unpickled.clear()
    listening.append(True)
    yield
    listening.clear()
    assert unpickled == []


@pytest.fixture
def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Door:
    """Run `bnstudy` in an empty folder; return its status and all it printed."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def run(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["bnstudy", *words])
        status: object = 0
        try:
            cli.main()
        except SystemExit as end:
            status = end.code
        printed = "".join(capsys.readouterr())
        assert "Traceback" not in printed
        assert isinstance(status, int)
        return status, printed

    return run


class Bomb:
    """A pickle that leaves a trace where it is read."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("exploded",)


def test_the_hook_hears_a_pickle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hook that hears nothing would let everything pass."""
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(Bomb()))
    assert unpickled == ["posix.mkdir"] and (tmp_path / "exploded").is_dir()
    unpickled.clear()


# The code

CODE = {"eval()", "exec()", "compile()", "__import__()", "import_module", "exec_module", "load_module"}
PICKLES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle"}
READERS = {"read_pickle", "unsafe_load", "full_load"}
SERVERS = {"make_server", "serve_forever", "HTTPServer", "TCPServer", "bind", "listen", "create_server"}

MAY: dict[str, set[str]] = {
    "registry": {"exec_module"},  # the ablation files themselves, which the user names
    "data": {"import_module"},  # torchvision's data sets, by a name in the code
}
"""Which modules may run code that is no import statement."""


def called(path: Path) -> set[str]:
    """Return what a file calls, builtin functions with brackets, and the modules it imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Call(func=ast.Name(id=name)):
                names |= {name, f"{name}()"}
            case ast.Call(func=ast.Attribute(attr=name)):
                names.add(name)
            case ast.Import():
                names |= {alias.name.split(".")[0] for alias in node.names}
            case ast.ImportFrom():
                names |= {str(node.module).split(".")[0], *(alias.name for alias in node.names)}
    return names


def test_calls_are_read(tmp_path: Path) -> None:
    """The reader itself: one that reads nothing would pass for ever."""
    path = tmp_path / "module.py"
    path.write_text("import pickle as p\ndef f(net):\n    net.eval(); exec(x); http.make_server(1)\n")
    assert called(path) == {"pickle", "eval", "exec", "exec()", "make_server"}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.stem)
def test_no_module_turns_data_into_code(path: Path) -> None:
    found = called(path) & (CODE | PICKLES | READERS)
    assert found <= MAY.get(path.stem, set()), path.stem
    text = path.read_text()
    assert "torch.load" not in text and "allow_pickle=True" not in text and "shell=True" not in text


def test_the_dashboard_alone_listens() -> None:
    listening = {path.stem for path in PACKAGE.rglob("*.py") if called(path) & SERVERS}
    assert listening == {"dashboard", "run_commands"}


# Files that somebody else wrote

FILES = (
    "lr-sweep.jsonl",
    "lr-sweep.jsonl.torn",
    "optuna.journal",
    "optuna.journal.snapshot",
    ".identity",
    "figures/lr-sweep.json",
    "tune/lr-sweep.jsonl",
    "tune/lr-sweep.json",
    "certificates/2026-01-01-seed-1.json",
)
COMMANDS = (
    ("list",),
    ("plan", "lr-sweep"),
    ("status", "--why"),
    ("judge", "lr-sweep"),
    ("figures", "lr-sweep"),
    ("export", "lr-sweep"),
    ("show", "ab"),
    ("compare", "ab", "lr-sweep:network=bn,lr=1"),
    ("verify", "lr-sweep"),
    ("run", "lr-sweep"),
    ("dashboard", "--port", "0"),
)


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_a_folder_of_pickles_is_a_sentence(door: Door, words: tuple[str, ...]) -> None:
    folder = Path("results") / "smoke"
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(pickle.dumps(Bomb()))
    status, printed = door(*words, "--profile", "smoke")
    assert status == 1 and "lr-sweep.jsonl, line 1" in printed, printed
    assert not Path("exploded").exists()
    assert (folder / "lr-sweep.jsonl").read_bytes() == pickle.dumps(Bomb()), "nothing is lost"


HOSTILE: dict[str, Callable[[bytes], bytes]] = {
    "a pickle": lambda text: pickle.dumps(Bomb()),
    "a pickle as a line": lambda text: text + pickle.dumps(Bomb()) + b"\n",
    "another class": lambda text: text.replace(b"CategoricalDistribution", b"os.system"),
    "a call": lambda text: text.replace(b'\\"choices\\"', b'\\"__class__\\"'),
    "a deep list": lambda text: text + b"[" * 100_000 + b"\n",
    "a large number": lambda text: text + b'{"op_code":' + b"9" * 5000 + b"}\n",
    "an unknown operation": lambda text: text + b'{"op_code":99,"worker_id":"x"}\n',
    "a trial that is a list": lambda text: text.replace(b'"trial":"', b'"trial":["').replace(b'"},', b'"]},'),
}


@pytest.mark.parametrize("change", HOSTILE)
def test_a_hostile_journal_is_set_aside_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    monkeypatch.chdir(tmp_path)

    def execute(seeds: int) -> None:
        ledger = Ledger(tmp_path / "lr-sweep.jsonl", pytest.fail)
        storage = open_storage(tmp_path, lambda text: None)
        Run(fakes.design(seeds), ledger, storage, InProcess(fakes.train)).execute()

    execute(1)
    journal = tmp_path / "optuna.journal"
    journal.write_bytes(HOSTILE[change](journal.read_bytes()))
    execute(2)
    wanted = sorted(((t.id, fakes.outcome(t)) for t in fakes.design(2).trials), key=lambda pair: pair[0])
    assert fakes.seen(Ledger(tmp_path / "lr-sweep.jsonl")) == wanted
    assert (tmp_path / "optuna.journal.damaged").exists() and not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"trials": [{}], "data_hash": 1}', "9" * 5000, "\0", "\ud800"]
)
def test_a_hostile_sidecar_cannot_be_read_and_is_drawn_again(tmp_path: Path, text: str) -> None:
    ablation = registry.find().get("lr-sweep").at("smoke")
    place = study.Place(tmp_path, "smoke", pytest.fail)
    (place.folder / "figures").mkdir(parents=True)
    (place.folder / "figures" / "lr-sweep.json").write_bytes(text.encode(errors="surrogatepass"))
    assert "cannot be read" in study.stale_figure(ablation, place, {})


# Names

NAMES = ("../../x", "/etc/x", "a\0b", "a\nb", "a" * 300, "..", ".", "", "-x", "a/b", "\x1b[31m", "<b>", "A")


@pytest.mark.parametrize("name", NAMES)
def test_a_record_of_another_name_goes_nowhere(door: Door, name: str, tmp_path: Path) -> None:
    """The name of the file is the ablation's; what a line says must be the same."""
    ablation = registry.find().get("lr-sweep").at("smoke")
    [line, *_] = (record.line() for record in records(ablation, lambda arm, seed: outcome(0.5)))
    whole = json.loads(line) | {"ablation": name}
    del whole["checksum"]
    folder = Path("results") / "smoke"
    folder.mkdir(parents=True)
    (folder / "lr-sweep.jsonl").write_bytes(sealed(json.dumps(whole, separators=(",", ":")).encode()) + b"\n")
    before = sorted(tmp_path.rglob("*"))
    for words in (("status",), ("run", "lr-sweep")):
        status, printed = door(*words, "--profile", "smoke")
        assert status == 1 and "lr-sweep.jsonl, line 1: it is a record of" in printed
        assert "\x1b" not in printed
    assert set(tmp_path.rglob("*")) - set(before) <= {tmp_path / "here" / folder / ".lock"}


@pytest.mark.parametrize("name", [name for name in NAMES if "\0" not in name and name != "-x"])
def test_a_name_on_the_command_line_goes_nowhere(door: Door, name: str, tmp_path: Path) -> None:
    for command in ("new", "run", "show"):
        status, printed = door(command, name)
        assert status == 1 and printed.startswith("bnstudy: ") and printed.count("\n") == 1
        assert "\x1b" not in printed
    assert list(tmp_path.rglob("*")) == [tmp_path / "here"]


def test_files_with_odd_names_are_named_and_never_loaded(door: Door) -> None:
    Path("own").mkdir()
    odd = ["a" * 101, "x\x1b[31my", "-rf", "a b", "a\nb", "A", "1", "a-b", "a..b", "café"]
    for name in odd:
        (Path("own") / f"{name}.py").write_text("import os; os.mkdir('exploded')")
    (Path("own") / os.fsdecode(b"\xff.py")).write_text("import os; os.mkdir('exploded')")
    status, printed = door("list", "--ablations", "own", "--json")
    assert status == 0 and not Path("exploded").exists() and "\x1b" not in printed
    broken = json.loads(printed[: printed.rindex("}") + 1])["broken"]
    assert set(broken) == {*odd, "\udcff"} and all("is named in lower case" in why for why in broken.values())


@pytest.mark.parametrize("option", ["--ablations", "--results"])
@pytest.mark.parametrize("path", ["a" * 300, "a/" * 3000, "loop", "file/below"], ids=len)
def test_a_path_that_the_system_refuses_is_a_sentence(door: Door, option: str, path: str) -> None:
    Path("loop").symlink_to("loop")
    Path("file").touch()
    for words in (("list",), ("run", "lr-sweep"), ("new", "mine"), ("status",)):
        if words[0] == "new" and option == "--results":
            continue
        status, printed = door(*words, option, path)
        assert status == 0 or (status == 1 and printed.count("bnstudy: ") == 1), words


def test_levels_from_a_ledger_do_not_command_the_terminal(door: Door) -> None:
    ablation = registry.find().get("lr-sweep").at("smoke")
    [line, *_] = (record.line() for record in records(ablation, lambda arm, seed: outcome(0.5)))
    whole = json.loads(line) | {"arm": {"\x1b]0;owned\x07": "../../\x9b31m\r\x00", "lr": "<script>"}}
    del whole["checksum"]
    folder = Path("results") / "smoke"
    folder.mkdir(parents=True)
    (folder / "lr-sweep.jsonl").write_bytes(sealed(json.dumps(whole, separators=(",", ":")).encode()) + b"\n")
    for words in (
        ("show", whole["trial"]),
        ("export", "lr-sweep"),
        ("status", "--why"),
        ("judge", "lr-sweep"),
    ):
        status, printed = door(*words, "--profile", "smoke")
        assert status == 0 and not set(printed) & {"\x1b", "\x07", "\x9b", "\r", "\0"}, words


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a\tb\nc é 汉", "a\tb\nc é 汉"), ("\x1b[2J\r", "\\x1b[2J\\x0d"), ("\udcff\x9b", "\\udcff\\x9b")],
)
def test_what_is_printed_is_harmless_and_words_stay(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_the_dashboard_does_not_load_what_a_folder_names(tmp_path: Path) -> None:
    """Ledgers of ablations that nobody declared are passed over: their names open nothing."""
    place = study.Place(tmp_path, "smoke", pytest.fail)
    place.folder.mkdir()
    for name in ("..jsonl", "x\x1b.jsonl", "os.jsonl"):
        (place.folder / name).write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(bnstudy.errors.BnstudyError, match="Nothing is recorded"):
        fill(place)
