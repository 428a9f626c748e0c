"""From an ablation's ledger to its verdicts and its answer."""

from dataclasses import dataclass

import pandas as pd

from bnstudy.books.ledger import chosen
from bnstudy.books.places import Place
from bnstudy.design import Ablation
from bnstudy.judgement import parties, refinement, repeats, sentences, verdicts
from bnstudy.judgement.phrases import listed
from bnstudy.judgement.refinement import Held
from bnstudy.judgement.verdicts import Verdict
from bnstudy.plots.drawing import Drawing


@dataclass(frozen=True)
class Judged:
    """An ablation with its records, its verdicts and the answer to its question."""

    ablation: Ablation
    frame: pd.DataFrame
    verdicts: list[Verdict]
    answer: str
    preview: str
    repeated: tuple[str, ...] = ()
    """What is to be said of trials that are recorded several times."""
    refined: Held | None = None
    """With the further rates that are recorded, which no verdict is about."""

    @property
    def measured(self) -> str:
        """The answer without the primary verdict: what was measured of the sides, and between the rates."""
        verdict = sentences.sentence(self.verdicts[0]) if self.verdicts else ""
        return " ".join(self.answer.replace(verdict, "").split())

    @property
    def drawing(self) -> Drawing:
        """What its figure is drawn from: with further rates where it is of rates."""
        if self.refined is None or self.ablation.figure != "learning rates":
            return Drawing(self.ablation, self.finished, self.preview)
        return Drawing(self.refined.ablation, self.refined.frame, self.preview)

    @property
    def finished(self) -> pd.DataFrame:
        """The rows of trainings that ran to their end, diverged or not."""
        return parties.finished(self.frame)


def judge(ablation: Ablation, place: Place) -> Judged:
    """Return the verdicts on an ablation's records and its answer."""
    ablation = place.at_tuned(ablation)
    ledger = place.ledger(ablation.name)
    records = ledger.records()
    frame = ledger.frame(ablation, chosen(records))
    # No claim or figure looks at the recipes: with their 40 columns rows take twice as long to select.
    frame = frame.drop(columns=[name for name in frame if str(name).startswith("recipe.")]).copy()
    finished = len(parties.finished(frame))
    preview = place.preview(ablation, finished)
    judged = verdicts.judge(ablation, frame, bool(preview))
    answer = sentences.answer(ablation, frame, judged[0]) if judged and finished else ""
    refined = (
        refinement.held(ablation, place)
        if place.ledger(ablation.name, refinement.PART).path.exists()
        else None
    )
    if refined and answer:
        answer = listed(filter(None, [answer, refinement.told(refined)]), " ")
    return Judged(ablation, frame, judged, answer, preview, tuple(repeats.told(records)), refined)
