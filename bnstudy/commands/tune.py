"""What `bnstudy tune` does, and `run` before an ablation at tuned values: search every arm, say what came."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from bnstudy.books import retries, tuning
from bnstudy.books.places import publish
from bnstudy.books.tuning import OBJECTIVE, PART, ROUND, SEEDS, Found
from bnstudy.commands import study
from bnstudy.commands.views import assignments, paragraph, table
from bnstudy.design import Ablation
from bnstudy.errors import BnstudyError
from bnstudy.words import counted

if TYPE_CHECKING:
    from bnstudy.books.schedule import Tally

Row = dict[str, Any]


def run(
    ablation: Ablation,
    place: study.Place,
    machinery: study.Machinery,
    shown: Callable[[str], Any],
    budget: int,
) -> Tally:
    """Search an ablation with `budget` points an arm; holds the lease of the folder."""
    from bnstudy.books import schedule

    packs = len(tuning.spaces(ablation)) * len(SEEDS)
    with study.terminable(), study.holding(place) as place:
        ledger = place.ledger(ablation.name, PART)
        ledger.set_aside_torn_line()
        if tuning.found(ablation, ledger.recorded(), budget):
            _write(summary(ablation, place, budget), place, ablation.name)
            return schedule.Tally(total=0, recorded=0)
        with study.training([ablation], packs, place, machinery, shown) as trainer:
            return search(ablation, place, trainer, budget)


def search(
    ablation: Ablation, place: study.Place, trainer: study.Trainer, budget: int | None = None
) -> Tally:
    """Search an ablation on workers that are ready; write what was found beside the search's ledger.

    Without a budget, that of the search that was begun, or the default.
    """
    from bnstudy.books import search as optuna_search

    ledger = place.ledger(ablation.name, PART)
    ledger.set_aside_torn_line()
    points = budget or tuning.budget_of(ledger.recorded())

    def train(made: Ablation, said: Mapping[str, Any]) -> Tally:
        title = f"{ablation.name}, tuning, round {said['round'] + 1} of {-(-points // ROUND)}"
        queue = optuna_search.scratch()
        came = trainer.train(
            made, ledger, title=title, storage=queue, search={**said, "objective": OBJECTIVE}
        )
        retries.refuse(came.left_alone, ledger.path)
        return came

    tally = optuna_search.run(ablation, ledger, points, train)
    if not tally.failed:
        _write(summary(ablation, place, points), place, ablation.name)
        optuna_search.publish(ablation, ledger, trainer.storage, trainer.where)
    return tally


def summary(ablation: Ablation, place: study.Place, budget: int | None = None) -> Row:
    """Return what the search of an ablation found, or raise `BnstudyError` where it is not finished."""
    records = place.ledger(ablation.name, PART).recorded()
    points = budget or tuning.budget_of(records)
    found = tuning.found(ablation, records, points)
    if found is None:
        raise BnstudyError(
            f"{ablation.name} is not tuned yet: `bnstudy tune {ablation.name}{place.options}`."
        )
    return {
        "ablation": ablation.name,
        "question": ablation.question,
        "profile": place.profile,
        "budget": points,
        "objective": OBJECTIVE,
        "seeds": list(SEEDS),
        "arms": [_arm(each) for each in found],
    }


def _arm(found: Found) -> Row:
    levels = {name: level for name, level in found.best if f"{name}={level}" not in found.arm.split(",")}
    return {
        "arm": found.arm,
        "best": levels,
        "changes": {name: getattr(value, "name", value) for name, value in found.values},
        "score": found.score,
        "points": found.trials,
        "at_edge": list(found.at_edge),
    }


def _write(value: Row, place: study.Place, name: str) -> None:
    """Publish what was found beside the search's ledger."""
    content = json.dumps(value, indent=1) + "\n"
    advice = f"then `bnstudy tune {name}{place.options}`"
    publish(place.folder / PART / f"{name}.json", content.encode(), advice)


def text(value: Row) -> str:
    """Return what a search found as text: a line an arm, and a warning for every best value at an end."""
    rows = [
        {
            "arm": each["arm"] or "(all)",
            "best": assignments(each["best"]),
            "validation accuracy": each["score"],
            "points": each["points"],
            "": f"at the edge of {', '.join(each['at_edge'])}" if each["at_edge"] else "",
        }
        for each in value["arms"]
    ]
    columns = ("arm", "best", "validation accuracy", "points", *([""] if any(r[""] for r in rows) else []))
    told = (
        f"Each arm at its best of {counted(value['budget'], 'point')}: mean validation accuracy after the "
        f"last epoch, seeds {' and '.join(map(str, value['seeds']))}, which the study does not use; "
        f"{value['profile']} profile."
    )
    return "\n".join(
        [
            f"{value['ablation']}: {value['question']}",
            "",
            table(rows, columns),
            "",
            paragraph(told),
            *(paragraph(_warning(value["ablation"], each)) for each in value["arms"] if each["at_edge"]),
        ]
    )


def warnings(ablation: Ablation, place: study.Place) -> list[str]:
    """Return a sentence for each arm whose best value lies at the edge of what was searched."""
    value = summary(ablation, place)
    return [_warning(value["ablation"], each) for each in value["arms"] if each["at_edge"]]


def _warning(name: str, arm: Row) -> str:
    where = f" of {arm['arm']}" if arm["arm"] else ""
    best = ", ".join(f"{factor}={arm['best'][factor]}" for factor in arm["at_edge"])
    return f"The best{where}, {best}, is at the edge of what was searched: widen it in {name}'s file."
