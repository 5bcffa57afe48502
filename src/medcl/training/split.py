"""Which cases are trained on and which are scored during training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medcl.data.dataset import Dataset
from medcl.data.store import Store
from medcl.errors import RunError
from medcl.settings import TrainSettings

FEWEST_TO_HOLD_BACK = 5


@dataclass(frozen=True)
class Split:
    """Training and validation cases.

    Attributes:
        training: Case names.
        validation: Case names; empty where nothing is scored.
        dense: Whether validation is on dense labels; on strokes otherwise.
        words: What validation means, for humans.
        reasons: Sentences for the log.
    """

    training: list[str]
    validation: list[str]
    dense: bool
    words: str
    reasons: tuple[str, ...]


def choose_split(dataset: Dataset, store: Store, settings: TrainSettings) -> Split:
    """Choose validation cases: dense labels of the validation part if there are any, else held-back training cases.

    Held-back cases are drawn with the seed of the settings and are not trained on.

    Raises:
        RunError: There is no training case.
    """
    training = store.cases("Tr")
    if not training:
        raise RunError(f"{dataset.folder}: expected training cases in imagesTr, found none.")
    dense = [case.id for case in dataset.cases("Val") if case.label is not None]
    limit = settings.validation_cases or 20
    if dense and not settings.holdout:
        chosen = dense[:limit]
        words = f"dense labels of {len(chosen)} validation case{'s' if len(chosen) > 1 else ''}"
        return Split(training, chosen, True, words, (f"validation: {words}",))
    annotated = [i for i in training if store[i].scribble is not None or store[i].label is not None]
    share = settings.holdout
    if share is None:
        share = 0.1 if len(annotated) >= FEWEST_TO_HOLD_BACK else 0.0
    count = min(limit, max(1, round(share * len(annotated)))) if share and len(annotated) > 1 else 0
    if not count:
        words = "nothing: there are no dense validation labels and no case is held back"
        return Split(training, [], False, words, (f"validation: {words}",))
    order = np.random.default_rng(settings.seed).permutation(len(annotated))
    # Dense labels tell more than strokes: where some cases have them, only such cases are held back.
    with_labels = [annotated[int(i)] for i in order if store[annotated[int(i)]].label is not None]
    held = sorted((with_labels or [annotated[int(i)] for i in order])[:count])
    kind = "dense labels" if with_labels else "strokes"
    words = f"{kind} of {len(held)} case{'s' if len(held) > 1 else ''} held back from training"
    if not with_labels:
        words += " (share of stroke pixels found)"
    kept = [case_id for case_id in training if case_id not in held]
    return Split(kept, held, bool(with_labels), words, (f"validation: {words}: {', '.join(held)}",))
