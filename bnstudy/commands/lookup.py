"""Records looked up: one in full, trained again, compared with another, and all of them as a table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnstudy.books import registry
from bnstudy.commands import study
from bnstudy.commands.views import assignments, table, tally
from bnstudy.errors import BnstudyError
from bnstudy.recipe import REVISIONS, level_name

if TYPE_CHECKING:
    import pandas as pd

    from bnstudy.books.ledger import Record

Row = dict[str, Any]

COMPARED = (
    "precise_test_accuracy",
    "test_accuracy",
    "batch_test_accuracy",
    "precise_train_accuracy",
    "validation_area",
)


def find(trial: str, place: study.Place) -> Record:
    """Return the record whose id begins so, from any ledger of the profile, its searches among them."""
    found = {
        record.trial: record
        for part in ("tune", "refine", "")
        for path in sorted((place.folder / part).glob("*.jsonl"))
        for record in place.ledger(path.stem, part).recorded().values()
        if record.trial.startswith(trial)
    }
    if not found:
        raise BnstudyError(
            f"No trial {trial!r} is recorded in {place.folder}; "
            f"`bnstudy export NAME{place.options}` lists a ledger's trials."
        )
    if len(found) > 1:
        raise BnstudyError(
            f"{len(found)} trials begin with {trial!r}; give more digits: {', '.join(sorted(found)[:4])}."
        )
    return next(iter(found.values()))


def record_text(value: Mapping[str, Any], prefix: str = "") -> str:
    """Return a record as text, a field a line."""
    lines = []
    for name, field in value.items():
        if isinstance(field, dict) and field:
            lines += [f"{prefix}{name}:", record_text(field, f"{prefix}  ")]
        else:
            lines.append(f"{prefix}{name}: {_field(field)}")
    return "\n".join(lines)


def _field(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_field, value)) or "-"
    return "-" if value is None else level_name(value)


def rerun(record: Record, data_dir: Path | None, device: str, say: study.Say) -> Row:
    """Train a recorded trial again, in the same place of as large a pack; return what differs."""
    from bnstudy.books.ledger import Record
    from bnstudy.design import Arm, Trial
    from bnstudy.packs import Job, Pack
    from bnstudy.training import data, machine, work

    if dict(record.recipe.revisions) != REVISIONS:
        raise BnstudyError(
            f"Trial {record.trial} is of revisions {assignments(record.recipe.revisions)}, this code of "
            f"{assignments(REVISIONS)}: its numbers differ on purpose."
        )
    images = data.fetch(data_dir, say) if record.recipe.data != "sample" else None
    trial = Trial(Arm(tuple(record.arm.items()), record.recipe), record.seed)
    place = {"size": 2, "slot": 0, "shares_images": True} | record.provenance.get("pack", {})
    pack = Pack((trial,) * place["size"], shares_images=place["shares_images"])
    result = work.run_pack(Job(pack, machine.devices(device)[0], images), lambda images: None)
    again = Record.of(record.ablation, trial, result.outcomes[place["slot"]], result.provenance)
    before, after = (json.loads(each.line())["outcome"] for each in (record, again))
    return {
        "trial": record.trial,
        "bitwise": before == after,
        "differences": {
            k: {"recorded": before[k], "rerun": after[k]} for k in before if before[k] != after[k]
        },
        "provenance": result.provenance,
    }


def rerun_text(value: Row) -> str:
    """Return what came of a rerun as text."""
    if value["bitwise"]:
        return f"Trial {value['trial']}, trained again, gives the same outcome to the last bit."
    head = f"Trial {value['trial']}, trained again, gives another outcome:"
    return f"{head}\n{record_text(value['differences'], '  ')}"


def compared(a: str, b: str, place: study.Place, ablations: Path | None = None) -> Row:
    """Return two trials or arms side by side: recipes' difference, numbers (means over seeds), curves."""
    sides = {"a": _records(a, place, ablations), "b": _records(b, place, ablations)}
    left, right = sides.values()
    found = left[0].recipe.differences(right[0].recipe)
    means = {name: (_mean(left, name), _mean(right, name)) for name in COMPARED}
    return {
        side: {
            "name": name,
            "trials": [record.trial for record in sides[side]],
            "seeds": [record.seed for record in sides[side]],
            "status": tally([record.outcome.status for record in sides[side]]),
        }
        for side, name in (("a", a), ("b", b))
    } | {
        "differs_in": {name: {"a": x, "b": y} for name, (x, y) in found.items()},
        "outcomes": [
            {"outcome": name, "a": x, "b": y, "a minus b": _minus(x, y)} for name, (x, y) in means.items()
        ],
        "validation_accuracy": {side: _curve(records) for side, records in sides.items()},
    }


def _records(text: str, place: study.Place, ablations: Path | None) -> list[Record]:
    """Return the finished records that a trial's id or `ABLATION:factor=level,...` means, one a seed."""
    name, colon, arm = text.partition(":")
    if not colon:
        return [find(text, place)]
    ablation = place.at_tuned(registry.find(ablations).get(name).at(place.profile))
    wanted = dict(part.strip().partition("=")[::2] for part in arm.split(",") if part.strip())
    for factor, level in wanted.items():
        ablation.factor(factor).level(level)
    arms = [arm for arm in ablation.arms if wanted.items() <= dict(arm.levels).items()]
    if len(arms) > 1:
        unnamed = ", ".join(f.name for f in ablation.factors if f.name not in wanted)
        raise BnstudyError(
            f"{text} means {len(arms)} arms; name a level of {unnamed}, too: {name}:{arms[0].name}."
        )
    found = [
        record
        for record in place.ledger(name).recorded().values()
        if record.outcome.finished and record.recipe.fingerprint == arms[0].recipe.fingerprint
    ]
    if not found:
        raise BnstudyError(
            f"Nothing is recorded of {text} in {place.folder}; `bnstudy run {name}{place.options}`."
        )
    return sorted(found, key=lambda record: record.seed)


def _mean(records: Sequence[Record], name: str) -> float | None:
    values = [getattr(record.outcome, name) for record in records]
    return None if None in values else sum(values) / len(values)


def _minus(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


def _curve(records: Sequence[Record]) -> list[float]:
    curves = [record.outcome.validation_accuracy for record in records]
    return [sum(values) / len(values) for values in zip(*curves, strict=False)]


def compare_text(value: Row) -> str:
    """Return a comparison as text."""
    differs = ", ".join(
        f"{k} ({level_name(v['a'])} and {level_name(v['b'])})" for k, v in value["differs_in"].items()
    )
    curves = [
        {"epoch": epoch, "a": x, "b": y}
        for epoch, (x, y) in enumerate(zip_longest(*value["validation_accuracy"].values()), 1)
    ]
    return "\n".join(
        [
            *(f"{side}: {value[side]['name']} ({_described(value[side])})" for side in ("a", "b")),
            f"recipes differ in: {differs or 'nothing'}",
            "",
            table(value["outcomes"], ("outcome", "a", "b", "a minus b")),
            "",
            "validation accuracy",
            table(curves, ("epoch", "a", "b")),
        ]
    )


def _described(side: Row) -> str:
    """Return whose numbers a side shows: seeds, and how many trials diverged."""
    seeds = ", ".join(map(str, side["seeds"]))
    told = f"seed {seeds}" if len(side["seeds"]) == 1 else f"mean of seeds {seeds}"
    other = [f"{n} {status}" for status, n in side["status"].items() if status != "ok"]
    return ", ".join([told, *other])


def recorded(name: str, place: study.Place) -> pd.DataFrame:
    """Return the table of all that an ablation's ledger holds; raises `BnstudyError` where it is nothing."""
    frame = place.ledger(name).frame()
    if frame.empty:
        raise BnstudyError(
            f"Nothing is recorded of {name} in {place.folder}; `bnstudy run {name}{place.options}`."
        )
    return frame


def csv(frame: pd.DataFrame) -> str:
    """Return a table of records as CSV; lists are JSON."""
    return _flat(frame).to_csv(index=False)


def write_table(frame: pd.DataFrame, path: Path) -> None:
    """Write a table of records as .csv or .parquet."""
    if path.suffix not in (".csv", ".parquet"):
        raise BnstudyError(f"{path}: a table is written as .csv or .parquet.")
    try:
        parquet = path.suffix == ".parquet"
        path.write_bytes(_flat(frame).to_parquet(index=False) if parquet else csv(frame).encode())
    except OSError as error:
        raise BnstudyError(f"Cannot write {path}: {error.strerror or error}.") from error


def _flat(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the table with its lists and mappings as JSON texts."""
    flat = frame.copy()
    for name, column in frame.items():
        if column.dtype == object:
            flat[name] = [json.dumps(v) if isinstance(v, tuple | list | dict) else v for v in column]
    return flat
