"""The certificate of a verified sample: how it comes about, what it holds, its file and its text."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bnstudy.books.places import publish, unwritable
from bnstudy.commands import study
from bnstudy.commands.sampling import Asked, Sample, draw
from bnstudy.commands.verify import Rerun, Shown, rigged, verify
from bnstudy.commands.views import assignments, table, tally
from bnstudy.judgement import certify
from bnstudy.judgement.certify import MEASURED, PACK_SIZE
from bnstudy.recipe import REVISIONS, level_name
from bnstudy.words import counted

COPY = "or verify a copy of the folder with --results"
"""What else there is to do where a certificate cannot be written."""

CERTIFIED = ("bitwise", "within tolerance")

VERDICTS = {
    "bitwise": "Certified bitwise: every number of each is equal to the last bit.",
    "within tolerance": "Certified within tolerance: not to the last bit, since another environment rounds "
    "differently.",
    "failed": "Failed: not everything comes out as it is recorded.",
    "not shown": "Not certified: nothing speaks against the records, but evidence is missing.",
}

Row = dict[str, Any]
Found = Sequence[tuple[Rerun, certify.Judged]]


def make(asked: Asked, margin: float, place: study.Place, machinery: study.Machinery, shown: Shown) -> Row:
    """Draw a sample of a folder's records, train it again, publish the certificate and return it.

    Interrupted it leaves none. `shown` gives the context in which progress is displayed.
    """
    sample = draw(asked, place)
    for name, n in sample.stale.items():
        place.say(
            f"{name}: {counted(n, 'record')} of other revisions than this code's ({assignments(REVISIONS)}) "
            "cannot be compared and are left out."
        )
    folder = _folder(place)
    with rigged(sample.drawn, place, machinery, shown) as trainer:
        found = verify(sample.drawn, trainer)
        value = content(asked, margin, sample, found, trainer.facts)
    path = folder / f"{value['made'].replace(':', '')}-seed-{asked.seed}.json"
    value = {"profile": place.profile} | value
    publish(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode(), COPY)
    return value | {"path": str(path)}


def content(asked: Asked, margin: float, sample: Sample, found: Found, facts: Mapping[str, Any]) -> Row:
    """Return what a certificate says; plain values, without NaN and infinity."""
    levels = [judged.level for _, judged in found]
    equal = certify.equivalence([p for p in (_paired(rerun) for rerun, _ in found) if p is not None], margin)
    verdict = certify.verdict(levels, equal)
    here = next((rerun.here for rerun, _ in found if rerun.outcome), facts)
    return {
        "verdict": verdict,
        "certified": verdict in CERTIFIED,
        "made": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "seed": asked.seed,
        "sample": asked.size,
        "drawn": len(sample.drawn),
        "of": sample.of,
        "undetected": certify.undetected(len(sample.drawn), sample.of),
        "left_out_as_stale": sample.stale,
        "ledgers_sha256": sample.ledgers,
        "levels": certify.LEVELS,
        "reached": tally(levels),
        "equivalence": None if verdict == "bitwise" else asdict(equal),
        "trials": [_trial(rerun, judged) for rerun, judged in found],
        "differs": _differs([rerun for rerun, _ in found if rerun.outcome]),
        "here": {name: value for name, value in here.items() if name not in MEASURED},
    }


def _paired(rerun: Rerun) -> float | None:
    """Return by how much the precise test accuracy came out higher than it is recorded."""
    name = "precise_test_accuracy"
    before, after = rerun.recorded[name], (rerun.outcome or {}).get(name)
    return None if before is None or after is None else float(after - before)


def _trial(rerun: Rerun, judged: certify.Judged) -> Row:
    record, apart = rerun.drawn.record, rerun.apart if rerun.outcome else {}
    at = max(apart, key=lambda name: apart[name]) if apart else None
    return {
        "ablation": record.ablation,
        "trial": record.trial,
        "arm": record.arm,
        "seed": record.seed,
        "checksum": rerun.drawn.checksum,
        **asdict(judged),
        "different_values": len(apart) if rerun.outcome else None,
        "largest_relative_difference": _finite(apart[at]) if at else 0.0 if rerun.outcome else None,
        "largest_at": at,
        "first_steps": asdict(rerun.steps) | {"largest": _finite(rerun.steps.largest)}
        if rerun.steps and rerun.outcome
        else None,
    }


def _finite(value: float) -> float | None:
    return value if value < float("inf") else None


def _differs(reruns: Sequence[Rerun]) -> list[Row]:
    """Return the facts of the environment that differ, and for how many trials."""
    seen = Counter(
        (fact, json.dumps(there), json.dumps(here))
        for rerun in reruns
        for fact, (there, here) in rerun.differs.items()
        if fact != PACK_SIZE or rerun.apart  # where all is equal, it does not matter
    )
    return [
        {"fact": fact, "recorded": json.loads(there), "here": json.loads(here), "trials": n}
        for (fact, there, here), n in seen.items()
    ]


def _folder(place: study.Place) -> Path:
    """Return the folder of certificates, made if need be: better refused before a training than after it."""
    path = place.folder / "certificates"
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(path, error, COPY) from error
    return path


def text(value: Row) -> str:
    """Return a certificate as text: the verdict, what is behind it, and what differs in the environment."""
    lines = [
        f"{value['drawn']} of {counted(value['of'], 'finished trial')} ({value['profile']} profile), drawn "
        f"with seed {value['seed']}, trained again.",
        VERDICTS[value["verdict"]],
    ]
    if value["verdict"] != "bitwise":
        lines += ["", table(_levels(value), ("level", "reached", "means"))]
    if value["certified"] and value["undetected"]:
        lines.append(
            f"Of all {value['of']:,}, at most {value['undetected']:,} come out otherwise (95% confidence)."
        )
    troubled = [
        row | {"trial": f"{row['ablation']} {row['trial']}"} for row in value["trials"] if row["reason"]
    ]
    if troubled:
        lines += ["", table(troubled, ("trial", "level", "reason"))]
    if value["differs"]:
        rows = [{k: _shown(v) for k, v in row.items()} for row in value["differs"]]
        lines += ["", "The environment differs:", table(rows, ("fact", "recorded", "here", "trials"))]
    return "\n".join([*lines, "", f"certificate: {value['path']}"])


def _shown(value: Any) -> Any:
    return value if value is None or type(value) is int else level_name(value)


def _levels(value: Row) -> list[Row]:
    """Return what each level found."""
    total = value["drawn"]
    reached: Counter[str] = Counter(value["reached"])
    return [
        {"level": "L0", "reached": f"{reached['L0']} of {total}", "means": value["levels"]["L0"]},
        {
            "level": "L1",
            "reached": f"{reached['L0'] + reached['L1']} of {total}",
            "means": value["levels"]["L1"] + _steps(value["trials"]),
        },
        {"level": "L2", "reached": value["equivalence"]["state"], "means": _equivalence(value)},
    ]


def _steps(trials: Sequence[Row]) -> str:
    """Return how many first steps agree, where rounding parts some trials earlier."""
    steps = [row["steps"] for row in trials if row["steps"] is not None]
    early = [n for n in steps if n < certify.FIRST_STEPS]
    if not early:
        return ""
    span = f"{min(early)}" if min(early) == max(early) else f"{min(early)} to {max(early)}"
    return f" ({len(early)} of {len(steps)} over the first {span} only)"


def _equivalence(value: Row) -> str:
    """Return what the mean difference says, and what the sample could have seen."""
    found, meaning = value["equivalence"], value["levels"]["L2"]
    margin = f"within {100 * found['margin']:.2g} points"
    if found["mean"] is None:
        need = f"at least {certify.LEAST_TRIALS} trials are needed: --sample {certify.LEAST_TRIALS}"
        return f"{meaning}, {margin}; {need}"
    mean, low, high, visible = (f"{100 * found[k]:.2f}" for k in ("mean", "low", "high", "visible"))
    return (
        f"{meaning}, {margin}: {mean} points, 90% interval {low} to {high}; {found['trials']} trials of this "
        f"spread see {visible} points (80% power)"
    )
