"""Numbers in sentences: plurals are right, and durations claim no more digits than are known."""

import pytest

from bnstudy.words import clock, counted, duration


def test_counts() -> None:
    assert [counted(n, "trial") for n in (0, 1, 2, 1400)] == [
        "0 trials",
        "1 trial",
        "2 trials",
        "1,400 trials",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (0.6, "0:01"), (59.6, "1:00"), (61, "1:01"), (3723, "1:02:03")]
)
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1, "1 second"), (42.4, "42 seconds"), (100, "2 minutes"), (3600, "60 minutes"), (23_400, "6.5 hours")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
