"""A run shows how far it is: a live line where the terminal can, plain lines elsewhere."""

import io
from collections.abc import Iterator

import pytest
from rich.console import Console

from bnstudy.books.schedule import Tally
from bnstudy.commands import progress
from bnstudy.commands.progress import Speed, describe, shown


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """The clock, to be set by the test."""
    clock = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    yield clock


def tally(recorded: int, images: int = 0, **more: object) -> Tally:
    return Tally(**{"total": 16, "recorded": recorded, "images_planned": 9000, "images": images} | more)  # type: ignore[arg-type]


def test_speed_is_that_of_the_last_minute(now: list[float]) -> None:
    speed = Speed()
    assert speed.of(0) == 0
    for second in range(1, 200):
        now[0] = 1000 + second
        found = speed.of(100 * min(second, 100) + 500 * max(0, second - 100))
    assert found == pytest.approx(500)


def test_images_of_a_pack_that_was_lost_do_not_make_the_speed_negative(now: list[float]) -> None:
    speed = Speed()
    for second, images in enumerate((0, 500, 1000, 200, 700)):
        now[0] = 1000 + second
        assert speed.of(images) >= 0
    assert speed.of(700) == pytest.approx(700 / 4), "what was lost took its time"


def test_a_line_says_how_far_how_fast_and_how_long() -> None:
    assert describe(tally(0), 0) == "0/16 trials"
    assert describe(tally(8, 4500), 1500) == "8/16 trials · 1,500 images/s · 0:03 left"
    assert describe(tally(16, 9000), 1500).endswith("0:00 left")
    assert describe(tally(15, 9100), 1500).endswith("0:00 left"), "never negative"


def test_a_line_says_what_went_wrong() -> None:
    line = describe(tally(8, retried=["lost"], failed={"a": "crashed", "b": "crashed"}), 0)
    assert line == "8/16 trials · 1 pack started again · 2 failed"


def plain(steps: list[tuple[float, Tally]], now: list[float], width: int = 20) -> list[str]:
    file = io.StringIO()
    with shown(Console(file=file, width=width), "lr-sweep") as notify:
        for at, each in steps:
            now[0] = at
            notify(each)
    return file.getvalue().splitlines()


def test_without_a_terminal_there_is_a_whole_line_at_the_start_now_and_then_and_at_the_end(
    now: list[float],
) -> None:
    steps = [(1000.0 + second, tally(second // 4, 100 * second)) for second in range(60)]
    lines = plain([*steps, (1060.0, tally(16, 9000))], now)
    assert lines[0] == "lr-sweep: 0/16 trials"
    assert lines[-1].startswith("lr-sweep: 16/16 trials · ")
    assert len(lines) == 1 + 5 + 1
    assert all(line.startswith("lr-sweep: ") for line in lines), "not wrapped at the width of nothing"


def test_the_end_is_shown_where_some_trials_failed(now: list[float]) -> None:
    lines = plain([(1000.0, tally(0)), (1001.0, tally(14, failed={"a": "x", "b": "x"}))], now)
    assert lines == ["lr-sweep: 0/16 trials", "lr-sweep: 14/16 trials · 2 failed"]


def test_a_terminal_that_cannot_move_its_cursor_gets_plain_lines(
    now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    file = io.StringIO()
    with shown(Console(file=file, force_terminal=True), "lr-sweep") as notify:
        notify(tally(16))
    assert file.getvalue() == "lr-sweep: 16/16 trials\n"


def test_a_terminal_gets_one_live_line_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, force_interactive=True, width=120)
    with shown(console, "lr-sweep") as notify:
        notify(tally(8, 4500))
    assert "lr-sweep" in file.getvalue() and "8/16 trials" in file.getvalue()
    assert "\x1b[2K" in file.getvalue()
