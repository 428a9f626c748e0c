"""A ledger gives back what was written, or says what is wrong: never less, never something else."""

import hashlib
import json
import math
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bnstudy.books.ledger import Ledger, Record
from bnstudy.books.record import LARGEST
from bnstudy.design import Ablation, Factor, Level, across, trial_id
from bnstudy.errors import BnstudyError
from bnstudy.outcome import FINISHED, UNFINISHED, Outcome
from bnstudy.recipe import Recipe

OUTCOME = Outcome(
    status="ok", online_train_loss=(0.7, None), test_accuracy=0.87, weight_norms={"fc.bias": 1.5}
)
BATCH, AFFINE = Level("bn"), Level("affine", norm="affine")
ABLATION = Ablation(
    name="lr-sweep",
    question="Which rates train?",
    source="d2l 8.5",
    factors=(Factor("norm", levels=(BATCH, AFFINE)), across("lr", 0.3, 3.0)),
    seeds=range(2),
)


def record(seed: int = 0, outcome: Outcome = OUTCOME, **changes: Any) -> Record:
    recipe = changes.pop("recipe", Recipe(lr=0.3))
    made = Record("lr-sweep", trial_id(recipe, seed), {"norm": "bn"}, seed, recipe, outcome, {"cores": 2})
    return replace(made, **changes)


def ledger_of(folder: Path, *lines: str | bytes, notify: Callable[[str], None] = pytest.fail) -> Ledger:
    """A ledger of these lines; bytes are written as they are. Without `notify` a warning is a failure."""
    ledger = Ledger(folder / "lr-sweep.jsonl", notify)
    ledger.path.write_bytes(b"".join(x.encode() + b"\n" if isinstance(x, str) else x for x in lines))
    return ledger


def signed(**changes: Any) -> str:
    """A record's line with some content changed by hand and a checksum that fits: another version's."""
    content = json.loads(record().line()) | changes
    del content["checksum"]
    text = json.dumps(content)
    return f'{text[:-1]},"checksum":"{hashlib.sha256(text.encode()).hexdigest()[:16]}"}}'


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "results" / "paper" / "lr-sweep.jsonl", pytest.fail)


# Reading back what was written


def test_a_line_is_the_documented_json() -> None:
    """Golden: committed ledgers are full of such lines, and other programs read them."""
    short = record(provenance={}, outcome=Outcome(status="crashed", reason="é"))
    content = json.loads(short.line())
    assert list(content) == [
        *("schema", "ablation", "trial", "arm", "seed", "recipe", "outcome", "provenance", "checksum")
    ]
    assert content["schema"] == 1 and content["recipe"]["revisions"] == dict(short.recipe.revisions)
    rest = short.line().replace(f',"checksum":"{content["checksum"]}"', "")
    assert hashlib.sha256(rest.encode()).hexdigest()[:16] == content["checksum"]
    assert "\n" not in short.line() and short.line().isascii()


def test_a_line_of_the_first_version_is_read_for_ever(tmp_path: Path) -> None:
    line = (
        '{"schema":1,"ablation":"lr-sweep","trial":"38eaadf3ec9f4d09","arm":{"norm":"bn"},"seed":0,'
        '"recipe":{"lr":0.3,"revisions":{"train":1}},"outcome":{"status":"ok"},"provenance":{},'
        '"checksum":"dbd1b8971592e6dd"}'
    )
    (found,) = ledger_of(tmp_path, line).records()
    assert found.recipe.fingerprint == Recipe(lr=0.3).fingerprint
    assert found.outcome == Outcome(status="ok")


def test_records_come_back_in_order_and_their_folder_is_made(ledger: Ledger) -> None:
    assert ledger.records() == [] and ledger.recorded() == {}
    assert not ledger.path.parent.exists(), "reading must not write"
    ledger.append([record(0), record(1)])
    ledger.append([])
    ledger.append([record(2)])
    assert ledger.records() == [record(0), record(1), record(2)]


def test_a_record_is_made_of_a_trial() -> None:
    trial = ABLATION.trials[-1]
    made = Record.of("lr-sweep", trial, OUTCOME, {"cores": 2})
    assert made.trial == trial.id and made.arm == {"norm": "affine", "lr": "3"} and made.seed == 1


finite = st.floats(allow_nan=False, allow_infinity=False)
storable = st.integers(1 - LARGEST, LARGEST - 1)
shares = st.lists(st.floats(0, 1), max_size=4).map(tuple)
outcomes = st.builds(
    Outcome,
    status=st.sampled_from(FINISHED + UNFINISHED),
    reason=st.none() | st.text(),
    diverged_at=st.none() | storable,
    diverged_in=st.none() | st.text(),
    online_train_loss=st.lists(st.none() | finite, max_size=4).map(tuple),
    validation_accuracy=shares,
    last_test_accuracies=shares,
    test_accuracy=st.none() | finite,
    train_loss=st.none() | finite,
    epochs_to_85=st.none() | st.integers(0, 10),
    finite=st.none() | st.booleans(),
    weight_norms=st.none() | st.dictionaries(st.text(), st.none() | finite, max_size=3),
)
recipes = st.builds(
    Recipe,
    norm=st.sampled_from(("none", "affine")),
    lr=st.floats(min_value=0, exclude_min=True, allow_infinity=False),
    momentum=st.floats(0, 1, exclude_min=True),
    batch_size=st.integers(1, 1000),
    flush_denormals=st.booleans(),
    revisions=st.dictionaries(st.sampled_from(("norms", "train")), st.integers(1, 9)),
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | finite | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
in_one_folder = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@settings(in_one_folder, max_examples=50)
@given(outcomes, recipes, storable, st.dictionaries(st.text(), anything, max_size=3))
def test_every_record_comes_back_equal(
    tmp_path: Path, outcome: Outcome, recipe: Recipe, seed: int, provenance: dict[str, Any]
) -> None:
    ledger = ledger_of(tmp_path)
    written = record(seed, outcome, recipe=recipe, provenance=provenance)
    ledger.append([written])
    assert ledger.records() == [written]


def test_what_json_has_no_word_for_is_written_as_something_it_has(ledger: Ledger) -> None:
    """A pack took minutes to train: an odd value in it must not keep it out of the ledger."""
    outcome = replace(OUTCOME, train_loss=math.inf, weight_norms={"a": math.nan})
    ledger.append([record(0, outcome, provenance={"pack": {9: (1, -math.inf), 10: "half \ud800"}})])
    (found,) = ledger.records()
    assert found.outcome.train_loss is None and found.outcome.weight_norms == {"a": None}
    assert found.provenance == {"pack": {"9": [1, None], "10": "half ?"}}
    assert not {"NaN", "Infinity"} & set(ledger.path.read_text().replace(":", ",").split(","))


def test_what_would_not_read_back_is_never_written(ledger: Ledger) -> None:
    wrong = [record(1, trial="0" * 16), record(1, ablation="other"), record(1, outcome=Outcome(status="odd"))]
    for each in wrong:
        with pytest.raises(ValueError, match="would not read back"):
            ledger.append([record(0), each])
    assert ledger.records() == []


def test_each_trial_counts_once(ledger: Ledger) -> None:
    """What finished first stays: running again must not let anyone choose among outcomes."""
    crashed, lost = Outcome(status="crashed"), Outcome(status="lost")
    first, second = replace(OUTCOME, test_accuracy=0.1), replace(OUTCOME, test_accuracy=0.2)
    made = [record(0, crashed), record(1, second), record(2, crashed), record(2, lost)]
    made += [record(0, second), record(1, first), record(0, lost), record(0, first)]
    stamped = [replace(r, provenance={"recorded": f"2026-01-{9 - n:02}"}) for n, r in enumerate(made)]
    for order in (made, stamped, stamped[::-1]):
        ledger.path.unlink(missing_ok=True)
        ledger.append(order)
        outcomes = {held.seed: held.outcome for held in ledger.recorded().values()}
        assert outcomes == {0: first, 1: first, 2: lost if order is made else crashed}
        assert set(outcomes) == {0, 1, 2}


def test_blank_lines_and_foreign_line_ends_hold_no_record(tmp_path: Path) -> None:
    ledger = ledger_of(tmp_path, "", record(0).line() + "\r", "  ", record(1).line(), b" \t")
    assert ledger.records() == [record(0), record(1)]
    ledger.append([record(2)])
    assert ledger.records() == [record(0), record(1), record(2)]


# Torn lines


def test_wherever_a_write_is_cut_off_the_whole_lines_count(tmp_path: Path) -> None:
    lines = [f"{record(seed).line()}\n".encode() for seed in range(3)]
    whole = b"".join(lines)
    for cut in range(len(whole) - len(lines[2]) - 2, len(whole)):
        warned: list[str] = []
        ledger = ledger_of(tmp_path, whole[:cut], notify=warned.append)
        last = whole[:cut].rpartition(b"\n")[2]
        is_whole = last + b"\n" in lines
        assert ledger.records() == [record(seed) for seed in range(whole[:cut].count(b"\n") + is_whole)]
        assert len(warned) == (last != b"" and not is_whole)
        assert ledger.path.read_bytes() == whole[:cut], "only the owner of a ledger may change it"


def test_the_coordinator_sets_a_torn_line_aside_and_loses_nothing(tmp_path: Path) -> None:
    warned: list[str] = []
    ledger = ledger_of(tmp_path, record(0).line(), b'{"schema":1,"abl', notify=warned.append)
    assert ledger.set_aside_torn_line()
    assert not ledger.set_aside_torn_line()
    assert len(warned) == 1 and "lr-sweep.jsonl.torn" in warned[0] and "run again" in warned[0]
    ledger.append([record(1)])
    assert ledger.records() == [record(0), record(1)]
    ledger.path.write_bytes(ledger.path.read_bytes() + b'{"schema":1,\0\0')
    ledger.append([record(2)])
    assert ledger.records() == [record(0), record(1), record(2)]
    assert ledger.torn_path.read_bytes() == b'{"schema":1,"abl\n{"schema":1,\0\0\n'


def test_a_warning_is_a_python_warning_by_default(tmp_path: Path) -> None:
    torn = ledger_of(tmp_path, b"{")
    with pytest.warns(UserWarning, match="line 1: the last line was cut off"):
        assert Ledger(torn.path).records() == []


def test_a_whole_last_line_without_its_newline_counts(tmp_path: Path) -> None:
    ledger = ledger_of(tmp_path, record(0).line().encode())
    assert ledger.records() == [record(0)]
    assert not ledger.set_aside_torn_line()
    ledger.append([record(1)])
    assert ledger.records() == [record(0), record(1)]
    assert not ledger.torn_path.exists()


# Damage

GOOD = record().line()
DAMAGE: dict[str, tuple[str | bytes, str]] = {
    "half a line": (GOOD[:40], "not JSON"),
    "two lines in one": (GOOD + GOOD, "not JSON"),
    "a changed digit": (GOOD.replace("0.87", "0.88"), "checksum"),
    "zeros": (b"\0" * 40 + b"\n", "not JSON"),
    "no text": (GOOD.encode().replace(b"bn", b"\xff\xfe") + b"\n", "not JSON"),
    "NaN with a checksum": (
        signed(outcome={"status": "ok", "test_accuracy": math.nan}),
        "outcome.test_accuracy",
    ),
    "NaN": (GOOD.replace("0.87", "NaN"), "not JSON"),
    "beyond all numbers": (GOOD.replace("0.87", "1e999"), "checksum"),
    "no object": ("[1]", "checksum"),
    "bottomless": ("[" * 5000, "not JSON"),
    "a merge conflict": ("<<<<<<< HEAD", "not JSON"),
    "no checksum": ('{"schema":1}', "checksum"),
    "a missing part": (signed(outcome={}), "outcome.status"),
    "a wrong type": (signed(seed="3"), "seed"),
    "truth for a number": (signed(outcome={"status": "ok", "test_accuracy": True}), "outcome.test_accuracy"),
    "a list for a table": (signed(arm=[]), "arm"),
    "an older schema": (signed(schema=0), "schema"),
    "a recipe of another trial": (signed(recipe=Recipe(lr=0.2).as_dict()), "trial"),
    "another seed": (signed(seed=1), "trial"),
    "a seed that no table holds": (signed(seed=LARGEST), "seed"),
    "a step that no table holds": (signed(outcome={"status": "ok", "diverged_at": LARGEST}), "outcome"),
    "a pack that is none": (signed(provenance={"pack": 3}), "provenance.pack"),
    "a slot beyond the pack": (signed(provenance={"pack": {"size": 2, "slot": 2}}), "provenance.pack"),
    "a pack beyond all memory": (signed(provenance={"pack": {"size": 10**9}}), "provenance.pack"),
    "a time that is no number": (signed(provenance={"wall_seconds": "long"}), "provenance.wall_seconds"),
    "revisions that are none": (signed(recipe={"revisions": {"train": "x"}}), "revisions"),
    "another ablation": (signed(ablation="bias"), "'bias'"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_names_the_line_and_what_to_do(tmp_path: Path, name: str) -> None:
    line, what = DAMAGE[name]
    ledger = ledger_of(tmp_path, record(1).line(), line, record(2).line())
    with pytest.raises(BnstudyError) as caught:
        ledger.records()
    message = str(caught.value)
    assert message.startswith(f"{ledger.path}, line 2: ") and what in message
    assert "backup" in message and "move that line out" in message and "\n" not in message


@pytest.mark.parametrize(
    "line",
    [
        signed(schema=2),
        signed(schema=2, anything={}),
        signed(outcome={"status": "ok", "sharpness": 1.0}),
        signed(outcome={"status": "bored"}),
        signed(recipe={"lr": 0.3, "weight_decay": 0.1}),
        signed(recipe={"lr": 0.3, "norm": "norm_of_tomorrow"}),
        signed(signature="x"),
    ],
)
def test_a_newer_version_s_line_asks_for_an_upgrade(tmp_path: Path, line: str) -> None:
    with pytest.raises(BnstudyError, match=r"line 1: .*newer bnstudy wrote it.*[Uu]pgrade"):
        ledger_of(tmp_path, line).records()


def reading(folder: Path, content: bytes, originals: list[Record]) -> str:
    """How a changed ledger reads; whatever is silent, and any exception but ours, is a failure."""
    warned: list[str] = []
    ledger = ledger_of(folder, content, notify=warned.append)
    try:
        found = ledger.records()
    except BnstudyError as error:
        assert str(error).startswith(f"{ledger.path}, line ")
        return "error"
    assert all(each in originals for each in found), "silently changed"
    assert len(found) + len(warned) >= len(originals), "silently lost"
    return "warning" if warned else "same"


def test_no_changed_byte_goes_unnoticed(tmp_path: Path) -> None:
    originals = [record(0), record(1)]
    whole = "".join(f"{each.line()}\n" for each in originals).encode()
    values = b'\0\n \xff0915"{}[],:\\eEun-.'
    for place, old in enumerate(whole):
        new = old ^ 1 << place % 8 if place % 2 else values[place // 2 % len(values)]
        changed = whole[:place] + bytes([new]) + whole[place + 1 :]
        same_content = changed.rstrip() == whole.rstrip()
        assert reading(tmp_path, changed, originals) == ("same" if same_content else "error")


@settings(in_one_folder, max_examples=200)
@given(st.integers(0, 10**4), st.integers(0, 60), st.binary(max_size=20))
def test_no_edit_within_a_line_goes_unnoticed(tmp_path: Path, start: int, length: int, new: bytes) -> None:
    originals = [record(0), record(1)]
    whole = "".join(f"{each.line()}\n" for each in originals).encode()
    start %= len(whole)
    reading(tmp_path, whole[:start] + new + whole[start + length :], originals)


# A system that refuses


def test_a_full_disk_leaves_the_ledger_as_it_was(ledger: Ledger) -> None:
    """A limit on the file's size makes the system write a part and then refuse, as a full disk does."""
    ledger.append([record(0)])
    before = ledger.path.read_bytes()
    run = in_another_process(f"append_beyond_a_limit({str(ledger.path)!r})")
    assert "2 trained trials were not recorded: File too large" in run.stdout, run.stderr
    assert ledger.path.read_bytes() == before


def append_beyond_a_limit(path: str) -> None:
    import resource

    size = Path(path).stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, size + 100))
    try:
        Ledger(Path(path)).append([record(1), record(2)])
    except BnstudyError as error:
        print(error)


def test_a_disk_that_fails_to_flush_leaves_the_ledger_as_it_was(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    ledger.append([record(0)])
    with monkeypatch.context() as patch, pytest.raises(BnstudyError, match=r"No space left.*--results"):
        patch.setattr(os, "fsync", fail)
        ledger.append([record(1)])
    assert ledger.records() == [record(0)]


def test_a_folder_that_is_none_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file")
    ledger = Ledger(tmp_path / "results" / "lr-sweep.jsonl")
    refused: list[Callable[[], object]] = [ledger.records, lambda: ledger.append([record()])]
    for action in refused:
        with pytest.raises(BnstudyError, match=r"lr-sweep\.jsonl.*Not a directory"):
            action()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_told_in_a_sentence(ledger: Ledger) -> None:
    ledger.append([record(0)])
    ledger.path.chmod(0o444)
    with pytest.raises(BnstudyError, match="Permission denied"):
        ledger.append([record(1)])


# Others at the same time


def in_another_process(call: str) -> subprocess.CompletedProcess[str]:
    """Run a function of this module in a fresh interpreter."""
    code = f"import {Path(__file__).stem} as tests; tests.{call}"
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parent,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_killed_writer_loses_nothing_that_it_was_told_is_safe(tmp_path: Path) -> None:
    run = in_another_process(f"kill_writers({str(tmp_path / 'lr-sweep.jsonl')!r}, 20)")
    assert run.returncode == 0, run.stderr
    torn, whole = map(int, run.stdout.split())
    assert whole > 0 and torn <= 20


def kill_writers(path: str, times: int) -> None:
    """Start a writer, kill -9 it, look at the ledger; print how many lines were torn and how many whole."""
    safe = torn = 0
    for turn in range(times):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            append_until_killed(Path(path), safe, writer)
        wait_for_a_bad_moment(Path(path), in_a_write=turn % 2 == 0)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(writer)
        with os.fdopen(reader) as told:
            promised = max([safe, *map(int, told.read().split())])
        warned: list[str] = []
        ledger = Ledger(Path(path), warned.append)
        seeds = [each.seed for each in ledger.records()]
        assert seeds == list(range(len(seeds))) and len(seeds) >= promised
        assert ledger.set_aside_torn_line() == bool(warned)
        safe, torn = len(seeds), torn + len(warned) // 2
    print(torn, safe)


def wait_for_a_bad_moment(path: Path, in_a_write: bool) -> None:
    """Wait until the file grows (a third to all of such kills tear a line), or for a random while."""
    if not in_a_write:
        time.sleep(random.uniform(0.01, 0.1))
        return
    before = path.stat().st_size if path.exists() else 0
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline and not (path.exists() and path.stat().st_size > before):
        pass


def append_until_killed(path: Path, seed: int, told: int) -> None:
    """Append packs of long lines, and tell how many records are safe after each."""
    filling = {"filling": "x" * 200_000}
    while True:
        Ledger(path).append([record(seed + slot, provenance=filling) for slot in range(4)])
        seed += 4
        os.write(told, f"{seed}\n".encode())


def test_a_reader_beside_a_writer_sees_whole_records(ledger: Ledger) -> None:
    packs = [[record(2 * pack + slot) for slot in range(2)] for pack in range(40)]
    beside = Ledger(ledger.path, lambda message: None)

    def write() -> None:
        for pack in packs:
            ledger.append(pack)

    writer = threading.Thread(target=write)
    writer.start()
    while writer.is_alive():
        seeds = [each.seed for each in beside.records()]
        assert seeds == list(range(len(seeds)))
    writer.join()
    assert len(beside.records()) == 80


def test_reading_is_quick_and_needs_no_pandas(tmp_path: Path) -> None:
    """10,000 records of ten epochs took 0.6 to 1.0 s and 51 MB; here 1,000 take far below 1 s."""
    losses = tuple(random.random() for _ in range(10))
    outcome = replace(OUTCOME, online_train_loss=losses, validation_accuracy=losses)
    ledger = ledger_of(tmp_path, *(record(seed, outcome).line() for seed in range(1000)))
    start = time.process_time()
    assert len(ledger.records()) == 1000
    assert time.process_time() - start < 1
    heavy = {"pandas", "torch", "numpy", "optuna"}
    code = f"import sys, bnstudy.books.ledger; print(sorted({heavy!r} & set(sys.modules)))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[1], capture_output=True, text=True
    )
    assert loaded.stdout.strip() == "[]", loaded.stderr


# Frames


def test_a_frame_has_the_design_s_order_and_levels(ledger: Ledger) -> None:
    backwards = [Record.of("lr-sweep", trial, OUTCOME, {}) for trial in reversed(ABLATION.trials)]
    renamed = [replace(each, arm={"norm": "as it was named then", "lr": "0.3"}) for each in backwards]
    ledger.append([*renamed[1:], record(77)])
    frame = ledger.frame(ABLATION)
    assert list(frame["trial"]) == [trial.id for trial in ABLATION.trials[:-1]]
    assert list(frame["lr"]) == ["0.3", "3", "0.3", "3", "0.3", "3", "0.3"]
    assert list(frame["norm"].cat.categories) == ["bn", "affine"] and frame["lr"].cat.ordered
    assert frame["norm"].max() == "affine"
    assert list(frame["recipe.lr"]) == [0.3, 3.0] * 3 + [0.3]
    assert len(ledger.frame()) == 8, "without a design every trial counts"


def test_a_frame_has_numbers_where_outcomes_have_them(ledger: Ledger) -> None:
    ledger.append([record(0), record(1, Outcome(status="diverged", diverged_at=7, finite=False))])
    frame = ledger.frame()
    assert list(frame.columns[:5]) == ["ablation", "trial", "seed", "norm", "status"]
    numbers = ["test_accuracy", "train_loss", "diverged_at", "epochs_to_85"]
    assert all(frame[name].dtype == "float64" for name in numbers)
    assert frame["test_accuracy"].isna().tolist() == [False, True]
    assert frame["finite"].isna().tolist() == [True, False]
    assert frame["online_train_loss"][0] == (0.7, None)


def test_a_frame_without_records_has_all_columns(ledger: Ledger) -> None:
    frame = ledger.frame(ABLATION)
    assert len(frame) == 0 and {"norm", "lr", "status", "test_accuracy"} <= set(frame.columns)
    assert frame["test_accuracy"].dtype == "float64" and len(ledger.frame()) == 0


def test_a_factor_named_like_a_column_is_refused(ledger: Ledger) -> None:
    ledger.append([record(arm={"status": "bn"})])
    with pytest.raises(BnstudyError, match="factor cannot be named 'status'"):
        ledger.frame()
