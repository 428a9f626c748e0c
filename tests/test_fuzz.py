"""Ledgers damaged or hostile in any place: a sentence or a correct read, by every command that reads one."""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fakes
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from bnstudy.books import executors, registry
from bnstudy.books.executors import InProcess
from bnstudy.books.ledger import Ledger, Record
from bnstudy.cli import app
from bnstudy.errors import BnstudyError
from bnstudy.outcome import Outcome

TINY = """
from bnstudy.claims import Claim, at_least
from bnstudy.design import Ablation, Factor, Level

ablation = Ablation(
    question="Is it read?",
    source="here",
    factors=(Factor("norm", control=Level("affine", norm="affine"), treatments=(Level("bn"),)),),
    seeds=range(2),
    claims=(Claim("It helps.", factor="norm", effect=at_least(0.01)),),
)
"""
OPTIONS = ["--profile", "smoke", "--ablations", "own"]
EXAMPLES = int(os.environ.get("BNSTUDY_FUZZ", "6"))
"""Of hostile lines, each typed to six commands; `BNSTUDY_FUZZ=500` for a night."""

READING = ("list", "plan tiny", "status --why", "judge tiny", "export tiny")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with an ablation of its own, in which commands are typed."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "own").mkdir()
    (folder / "own" / "tiny.py").write_text(TINY)
    (folder / "results" / "smoke").mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(executors, "Pool", lambda run, devices: InProcess(fakes.train))
        yield folder


@pytest.fixture(scope="module")
def records(home: Path) -> list[Record]:
    ablation = registry.find(home / "own").get("tiny").at("smoke")
    outcome = Outcome(status="ok", precise_test_accuracy=0.8, validation_accuracy=(0.5, 0.7), finite=True)
    made = {"wall_seconds": 1.5, "pack": {"size": 2, "slot": 0, "shares_images": False}, "attempts": 1}
    return [
        Record.of("tiny", trial, replace(outcome, test_accuracy=0.7 + n / 100), made)
        for n, trial in enumerate(ablation.trials)
    ]


def ledger_of(home: Path, content: bytes) -> Path:
    path = home / "results" / "smoke" / "tiny.jsonl"
    path.write_bytes(content)
    return path


def type_all(words: tuple[str, ...]) -> list[str]:
    """Type commands; return what each that refused said, which must be one sentence and no traceback."""
    told = []
    for command in words:
        options = OPTIONS[:2] if command.startswith("show") else OPTIONS
        shown = CliRunner().invoke(app, [*command.split(), *options])
        if isinstance(shown.exception, BnstudyError):
            assert "\n" not in str(shown.exception)
            told.append(str(shown.exception))
        elif shown.exception is not None and not isinstance(shown.exception, SystemExit):
            raise shown.exception
        assert not set(shown.stdout) & CONTROL, command
    return told


CONTROL = set(map(chr, range(32))) - set("\n\t") | {"\x7f", "\x9b"}

# Any byte


def edits(line: bytes, place: int) -> Iterator[bytes]:
    """Yield a line with one byte changed in one bit, left out, doubled, and behind a new line."""
    head, byte, rest = line[:place], line[place], line[place + 1 :]
    yield head + bytes([byte ^ 1 << place % 8]) + rest
    yield head + rest
    yield head + bytes([byte, byte]) + rest
    yield head + b"\n" + line[place:]


@pytest.mark.slow
def test_every_byte_of_a_ledger_is_read_as_it_was_or_named(home: Path, records: list[Record]) -> None:
    """Exhaustive: a bit of each byte, each byte left out, doubled, and a line's end before it."""
    first, second = (f"{record.line()}\n".encode() for record in records[:2])
    whole = first + second
    counts = dict.fromkeys(("error", "warning", "same"), 0)
    for place in range(len(whole)):
        for edited in edits(whole, place):
            warned: list[str] = []
            path = ledger_of(home, edited)
            try:
                found = Ledger(path, warned.append).records()
            except BnstudyError as error:
                assert str(error).startswith(f"{path}, line ") and "\n" not in str(error)
                counts["error"] += 1
                continue
            assert all(record in records for record in found), place
            assert len(found) + len(warned) >= 2, place
            counts["warning" if warned else "same"] += 1
    print(counts)
    assert counts["error"] > 3.9 * len(whole) and counts["same"] < 20


def test_every_command_names_damage_or_reads_on(home: Path, records: list[Record]) -> None:
    """Every 1501st byte with one of the edits in turn: all read by the same way, which is tried above."""
    whole = "".join(f"{record.line()}\n" for record in records).encode()
    show = f"show {records[0].trial}"
    refused = 0
    for number, place in enumerate(range(0, len(whole), 1501)):
        edited = list(edits(whole, place))[number % 4]
        ledger_of(home, edited)
        told = type_all((*READING, show, "run tiny --device cpu"))
        assert all("tiny.jsonl, line " in each for each in told)
        refused += len(told)
    assert refused > 5


# Any value, with a checksum that fits


def signed(content: dict[str, Any]) -> bytes:
    text = json.dumps(content)
    return f'{text[:-1]},"checksum":"{hashlib.sha256(text.encode()).hexdigest()[:16]}"}}\n'.encode()


HOSTILE = (
    *(None, True, -1, 0, 1e308, -1e308, 10**400, 2**63, [], {}, [[]], [1, "x"], {"": ""}),
    *("", "../../etc/passwd", "/etc/passwd", "<script>alert(1)</script>", '#eval(read("/etc/passwd"))'),
    *("\x1b]0;owned\x07\x1b[2J", "a\nb", "\u202e", "nul\0", "a" * 5000, "[bold]x[/bold]", "=1+1", "%s{0}"),
)
values = st.sampled_from(HOSTILE) | st.text(max_size=8) | st.integers() | st.floats(allow_nan=False)


def places(content: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the way to every value of a record."""
    inner = content.items() if isinstance(content, dict) else []
    return (
        [path, *(p for key, value in inner for p in places(value, (*path, key)))]
        if path
        else [p for key, value in inner for p in places(value, (key,))]
    )


def with_value(content: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    changed: dict[str, Any] = json.loads(json.dumps(content))
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    if isinstance(inner, dict):  # it may have been made something else already
        inner[path[-1]] = value
    return changed


NEW = [("arm", "norm"), ("arm", "<b>\x1b[2J"), ("outcome", "reason"), ("provenance", "\x1b[2J")]
NAMES = ("../escape", "/etc/passwd", "tiny\nother", "<script>", "\x1b[2J", "", "a" * 300)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_value_of_a_line_makes_a_command_break(
    home: Path, records: list[Record], data: st.DataObject
) -> None:
    """Whoever writes the line writes its checksum, too."""
    content = json.loads(records[0].line())
    del content["checksum"]
    path = data.draw(st.sampled_from(places(content)))
    changed = with_value(content, path, data.draw(values))
    if data.draw(st.booleans()):
        changed = with_value(changed, data.draw(st.sampled_from(NEW)), data.draw(values))
    ledger_of(home, signed(changed) + f"{records[1].line()}\n".encode())
    type_all((*READING, f"show {records[0].trial}", f"compare {records[0].trial} {records[1].trial}"))


@pytest.mark.parametrize(
    "name", ["../escape", "/etc/passwd", "tiny\nother", "<script>", "\x1b[2J", "", "a" * 300]
)
def test_a_hostile_name_of_an_ablation_is_a_sentence(home: Path, records: list[Record], name: str) -> None:
    content = json.loads(records[0].line()) | {"ablation": name}
    del content["checksum"]
    ledger_of(home, signed(content))
    told = type_all(("judge tiny", f"show {records[0].trial}", "run tiny --device cpu"))
    assert len(told) == 3 and all("in the ledger of 'tiny'" in each for each in told)
    assert not any(set(each) & CONTROL for each in told)
    assert sorted(p.name for p in home.iterdir()) == ["own", "results"]
