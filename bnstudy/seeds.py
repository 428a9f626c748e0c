"""Named random streams: a draw depends on its seed and its meaning, never on what was drawn before."""

import hashlib

STREAMS = ("split", "init", "order", "dropout", "noise")


def stream(seed: int, name: str, *keys: str | int) -> int:
    """Return the generator seed, in [0, 2**63), of one named stream of a replicate.

    `stream(3, "init", "conv1.weight")` is the same number for every arm that has that tensor, so a
    layer that is added or removed moves no other draw (common random numbers).
    """
    if name not in STREAMS:
        raise ValueError(f"no stream named {name!r}; the streams are {', '.join(STREAMS)}")
    text = "/".join(["bnstudy", str(seed), name, *map(str, keys)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
