"""Verdicts over predictions: accept one as the dense label of its case, call it wrong, or open the case again."""

from __future__ import annotations

import numpy as np
from sqlalchemy.orm import Session

from medcl.annotate.context import Context
from medcl.annotate.labels import PreparedLabel, withdraw_label
from medcl.annotate.masks import corrected, newest_prediction, read_mask
from medcl.annotate.problems import Refused
from medcl.annotate.saving import compare_versions
from medcl.annotate.schemas import Conflict, Review
from medcl.annotate.state.rows import locked_case
from medcl.annotate.state.tables import CaseRow, PredictionRow
from medcl.data.layout import Case

_NO_RUNS = np.zeros((0, 2), np.int64)


def review(context: Context, case: Case, said: Review, author: str) -> str:
    """Do what a review says, if the case is still as the reviewer saw it.

    Args:
        context: The data set.
        case: The case.
        said: The verdict.
        author: Who says it.

    Returns:
        What else happened, in a sentence, or ''.

    Raises:
        Refused: 409 the case or its prediction has moved on, 422 nothing to accept or not a training case.
        DataError: The mask cannot be read, or the label cannot be written.
    """
    if said.verdict == "accept":
        indices = _to_accept(context, case, said)
        return accept_label(context, PreparedLabel(context, case, indices), author, base_version=said.base_version)
    with context.database.session() as session:
        row = locked_case(session, case.id)
        compare_versions(session, row, said.base_version, _NO_RUNS)
        notice = withdraw_label(context, case)
        _settle(context, session, row, "" if said.verdict == "reopen" else said.verdict, author)
    context.changed()
    return notice


def accept_label(context: Context, label: PreparedLabel, author: str, *, base_version: int | None) -> str:
    """Put a prepared label in place and note the verdict in one step.

    Args:
        context: The data set.
        label: What to accept.
        author: Who accepts it.
        base_version: Version of the case that the caller saw; None: whatever it is now.

    Returns:
        A sentence about an older label, or ''.

    Raises:
        Refused: 409, the case has moved on.
    """
    try:
        with context.database.session() as session:
            row = locked_case(session, label.case.id)
            if base_version is not None:
                compare_versions(session, row, base_version, _NO_RUNS)
            notice = label.place()
            _settle(context, session, row, "accept", author)
    finally:
        label.discard()
    context.changed()
    return notice


def _to_accept(context: Context, case: Case, said: Review) -> np.ndarray:
    if case.split != "Tr":
        raise Refused(422, f"case {case.id}: only training cases take labels, this one is in images{case.split}.")
    if said.prediction is None:
        raise Refused(422, "accept: expected the number of the prediction that you looked at; send 'prediction'.")
    with context.database.session(write=False) as session:
        row = session.get(CaseRow, case.id)
        version = row.version if row is not None else 0
        newest = newest_prediction(session, case.id)
    _check_newest(case, said, newest, version)
    assert newest is not None
    return corrected(read_mask(context, case, newest), context.strokes(case))


def _check_newest(case: Case, said: Review, newest: PredictionRow | None, version: int) -> None:
    if newest is None:
        raise Refused(422, f"case {case.id}: has no prediction to accept; train and predict first.")
    if newest.id != said.prediction:
        message = (
            f"case {case.id}: prediction {newest.id} is the newest, not {said.prediction}; look at it, then accept."
        )
        body = Conflict(message=message, version=version, strokes=[], overlaps=False)
        raise Refused(409, message, body=body.model_dump(mode="json"))


def _settle(context: Context, session: Session, row: CaseRow, verdict: str, author: str) -> None:
    """Note a verdict. The version goes up; strokes that lie in their file stay written, as none has changed."""
    if row.written_version == row.version:
        row.written_version += 1
    row.version += 1
    row.verdict, row.verdict_by, row.verdict_version = verdict, author if verdict else "", row.version
    context.tell(session, "case", verdict or "reopen", case=row.id, version=row.version, author=author)
