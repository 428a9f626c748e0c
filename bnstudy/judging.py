"""From an ablation's ledger to its verdicts and its answer."""

from dataclasses import dataclass

import pandas as pd

from bnstudy import parties, repeats, sentences, verdicts
from bnstudy.design import Ablation
from bnstudy.ledger import chosen
from bnstudy.places import Place
from bnstudy.verdicts import Verdict


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
    finished = len(parties.finished(frame))
    preview = place.preview(ablation, finished)
    judged = verdicts.judge(ablation, frame, bool(preview))
    answer = sentences.answer(ablation, frame, judged[0]) if judged and finished else ""
    return Judged(ablation, frame, judged, answer, preview, tuple(repeats.told(records)))
