"""A draw depends on its seed and its meaning alone: nothing that is added or removed moves another draw."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnstudy.seeds import STREAMS, stream

keys = st.lists(st.integers(0, 10**6) | st.sampled_from(("conv1.weight", "fc3.bias")), max_size=3)

# Records on disk were drawn from these: a change of one makes every trial another trial.
GOLDEN = {
    (0, "split"): 137605644092326963,
    (3, "init", "conv1.weight"): 5216143881756780591,
    (3, "order", 0): 1849418242102468197,
    (3, "order", 10): 3233968991857919823,
    (2**40, "dropout", "fc1", 7): 7656890445045862738,
}


def test_streams_are_golden() -> None:
    assert {key: stream(*key) for key in GOLDEN} == GOLDEN  # type: ignore[arg-type]


@given(st.integers(), st.sampled_from(STREAMS), keys)
def test_a_stream_is_a_seed_for_a_generator(seed: int, name: str, more: list[str | int]) -> None:
    assert 0 <= stream(seed, name, *more) < 2**63
    assert stream(seed, name, *more) == stream(seed, name, *more)


def test_streams_differ_by_seed_name_and_keys() -> None:
    drawn = [
        stream(seed, name, *more)
        for seed in range(20)
        for name in STREAMS
        for more in [(), *((epoch,) for epoch in range(20)), ("conv1.weight",), ("conv1.bias",)]
    ]
    assert len(set(drawn)) == len(drawn) == 20 * len(STREAMS) * 23


def test_neighbouring_streams_have_nothing_in_common() -> None:
    """Half of the 63 bits differ: 31.5 on average, with a standard error of 0.14 over 800 pairs."""
    pairs = [(stream(s, "order", e), stream(s + 1, "order", e)) for s in range(20) for e in range(20)]
    pairs += [(stream(s, "order", e), stream(s, "order", e + 1)) for s in range(20) for e in range(20)]
    differing = sum((a ^ b).bit_count() for a, b in pairs) / len(pairs)
    assert abs(differing - 31.5) < 0.8


def test_a_stream_is_cut_where_its_keys_are() -> None:
    assert stream(1, "order", 11) != stream(1, "order", 1, 1) != stream(11, "order", 1)


def test_an_unknown_stream_is_an_error() -> None:
    with pytest.raises(ValueError, match="no stream named 'ordre'; the streams are split, init, order"):
        stream(0, "ordre")
