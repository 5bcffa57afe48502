"""Predictions of a case as class indices: which is the newest, what it says, and what a person's strokes make of it."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from medcl.annotate.context import Context
from medcl.annotate.state.tables import PredictionRow
from medcl.data.io import read_geometry, read_map
from medcl.data.labels import UNLABELLED
from medcl.data.layout import Case
from medcl.errors import DataError

MASK_FILE = "mask.nii.gz"


def newest_prediction(session: Session, case_id: str) -> PredictionRow | None:
    """Return the newest prediction of a case."""
    return session.scalars(
        select(PredictionRow).where(PredictionRow.case == case_id).order_by(PredictionRow.id.desc()).limit(1)
    ).first()


def read_mask(context: Context, case: Case, row: PredictionRow) -> np.ndarray:
    """Read the mask of a prediction.

    Returns:
        int16 (Z, Y, X) class indices in the grid of the case's image.

    Raises:
        DataError: The file is gone or damaged, or the image has another size by now.
    """
    path = context.state / row.folder / MASK_FILE
    if not path.resolve().is_relative_to(context.state.resolve()):
        raise DataError(f"case {case.id}: expected the prediction inside the state folder; predict it again.")
    if not path.is_file():
        raise DataError(f"case {case.id}: the file of prediction {row.id} is gone; predict it again.")
    array, geometry = read_map(path)
    expected = read_geometry(case.images[0]).size
    if geometry.size != expected:
        raise DataError(
            f"case {case.id}: the image has the size (z, y, x) {expected} now, its prediction {geometry.size}; "
            "predict it again."
        )
    known = len(context.dataset().classes)
    if array.size and not 0 <= int(array.min()) <= int(array.max()) < known:
        raise DataError(
            f"case {case.id}: prediction {row.id} was made with other classes than dataset.json has; train again."
        )
    return array.astype(np.int16)


def newest_mask(context: Context, case: Case) -> np.ndarray | None:
    """Read the newest prediction of a case, or return None where there is none.

    A training removes the files of an older prediction once a newer one is known: then that one is read.

    Raises:
        DataError: As for `read_mask`.
    """
    known = None
    while True:
        with context.database.session(write=False) as session:
            row = newest_prediction(session, case.id)
        if row is None:
            return None
        try:
            return read_mask(context, case, row)
        except DataError:
            if row.id == known:
                raise
            known = row.id
            time.sleep(0.1)


def corrected(mask: np.ndarray, strokes: np.ndarray) -> np.ndarray:
    """Return the mask with what a person drew on it: every stroked voxel takes the class of its stroke.

    Args:
        mask: Class indices (Z, Y, X).
        strokes: Class indices and `UNLABELLED`, same shape.
    """
    return np.where(strokes == UNLABELLED, mask, strokes).astype(np.int16)


def inside_folder(context: Context, path: Path) -> Path:
    """Return a path that may be written: its folder lies in the dataset folder, links followed.

    Raises:
        DataError: A link leads out.
    """
    if not path.parent.resolve().is_relative_to(context.folder):
        raise DataError(
            f"{path.parent.name}: a link that leads out of the data set, where nothing is written; "
            "put a folder in its place."
        )
    return path
