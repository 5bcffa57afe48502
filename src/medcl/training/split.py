"""Which cases are trained on, which of them keep their annotation, and which are scored during training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medcl.data.dataset import Dataset
from medcl.data.store import Store
from medcl.errors import RunError, unknown_name
from medcl.settings import TrainSettings

FEWEST_TO_HOLD_BACK = 5
_DRAW_OF_CASES = 1  # a stream of its own: the held-back cases stay the same whatever `cases` says


@dataclass(frozen=True)
class Split:
    """Training and validation cases.

    Attributes:
        training: Case names.
        annotated: Those of them whose strokes or labels are learnt from; the others are images alone.
        validation: Case names; empty where nothing is scored.
        dense: Whether validation is on dense labels; on strokes otherwise.
        words: What validation means, for humans.
        reasons: Sentences for the log.
    """

    training: list[str]
    annotated: list[str]
    validation: list[str]
    dense: bool
    words: str
    reasons: tuple[str, ...]


def choose_split(dataset: Dataset, store: Store, settings: TrainSettings) -> Split:
    """Choose the annotated cases and the validation cases.

    Validation: dense labels of the validation part if there are any, else held-back training cases. Held-back cases are
    drawn with the seed of the settings and are not trained on; where `cases` leaves annotation unused, only such cases
    are held back.

    Raises:
        RunError: There is no training case, or `cases` asks for what is not there.
    """
    training = store.cases("Tr")
    if not training:
        raise RunError(f"{dataset.folder}: expected training cases in imagesTr, found none.")
    annotated = [i for i in training if store[i].scribble is not None or store[i].label is not None]
    kept = choose_annotated(annotated, settings.cases, settings.seed)
    reasons = (f"annotation of {len(kept)} of {len(annotated)} cases is used",) if settings.cases is not None else ()
    dense = [case.id for case in dataset.cases("Val") if case.label is not None]
    limit = settings.validation_cases or 20
    if dense and not settings.holdout:
        held, on_labels = dense[:limit], True
        words = f"dense labels of {len(held)} validation case{'s' if len(held) > 1 else ''}"
    else:
        held, on_labels, words = _hold_back(annotated, kept, store, settings, limit)
    used = [i for i in kept if i not in held]
    rest = [i for i in training if i not in held and (i in used or settings.unannotated)]
    names = f": {', '.join(held)}" if held and held[0] in training else ""
    return Split(rest, used, held, on_labels, words, (*reasons, f"validation: {words}{names}"))


def choose_annotated(annotated: Sequence[str], wish: int | float | Sequence[str] | None, seed: int) -> list[str]:
    """Choose the training cases that keep their annotation.

    Args:
        annotated: Cases that have any.
        wish: How many, which share, or which ones; None keeps all.
        seed: Seed of the draw. With one seed, the choice of a smaller number is part of that of a larger one.

    Returns:
        Names in the order of `annotated`.

    Raises:
        RunError: More cases than there are, or a name that is none of them.
    """
    if wish is None:
        return list(annotated)
    if isinstance(wish, int | float):
        number = wish if isinstance(wish, int) else max(1, round(wish * len(annotated)))
        if number > len(annotated):
            raise RunError(
                f"cases: expected at most {len(annotated)}, the number of annotated training cases, got {number}."
            )
        order = np.random.default_rng([seed, _DRAW_OF_CASES]).permutation(len(annotated))
        chosen = {annotated[int(i)] for i in order[:number]}
    else:
        for name in wish:
            if name not in annotated:
                raise RunError(f"cases: {unknown_name('annotated training case', name, annotated)}")
        chosen = set(wish)
    return [name for name in annotated if name in chosen]


def _hold_back(
    annotated: list[str], kept: list[str], store: Store, settings: TrainSettings, limit: int
) -> tuple[list[str], bool, str]:
    """Return the held-back cases, whether they have dense labels, and what that means in words."""
    share = settings.holdout
    if share is None:
        share = 0.1 if len(annotated) >= FEWEST_TO_HOLD_BACK else 0.0
    count = min(limit, max(1, round(share * len(annotated)))) if share and len(annotated) > 1 else 0
    if not count:
        return [], False, "nothing: there are no dense validation labels and no case is held back"
    order = np.random.default_rng(settings.seed).permutation(len(annotated))
    # Cases whose annotation is not learnt from are the first to serve; the few that are kept must not become fewer.
    spare = [annotated[int(i)] for i in order if annotated[int(i)] not in kept]
    pool = spare or [annotated[int(i)] for i in order]
    # Dense labels tell more than strokes: where some cases have them, only such cases are held back.
    with_labels = [case_id for case_id in pool if store[case_id].label is not None]
    held = sorted((with_labels or pool)[:count])
    kind = "dense labels" if with_labels else "strokes"
    words = f"{kind} of {len(held)} case{'s' if len(held) > 1 else ''} held back from training"
    if not with_labels:
        words += " (share of stroke pixels found)"
    return held, bool(with_labels), words
