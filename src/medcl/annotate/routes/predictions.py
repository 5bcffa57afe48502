"""Predicted masks and their uncertainty."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, Response
from sqlalchemy import select

from medcl.annotate.context import Context, Here
from medcl.annotate.nifti_view import write_volume
from medcl.annotate.problems import Refused
from medcl.annotate.sending import NIFTI, send_file
from medcl.annotate.state.tables import PredictionRow
from medcl.annotate.volumes import cached, drop_older
from medcl.data.io import read_map
from medcl.data.layout import Case

router = APIRouter(prefix="/api/cases", tags=["predictions"])
_NIFTI: dict[int | str, dict[str, Any]] = {
    200: {"content": {NIFTI: {}}, "description": "NIfTI-1, uncompressed, in the view grid."}
}


@router.get("/{case}/prediction.nii", response_class=FileResponse, responses=_NIFTI)
def get_prediction(context: Here, request: Request, case: str) -> Response:
    """The newest predicted mask: uint8 class indices."""
    return send_file(context, request, *_volume(context, context.case(case), "mask"), NIFTI)


@router.get("/{case}/uncertainty.nii", response_class=FileResponse, responses=_NIFTI)
def get_uncertainty(context: Here, request: Request, case: str) -> Response:
    """The entropy of the newest prediction: uint8, 255 where all classes are equally likely."""
    return send_file(context, request, *_volume(context, context.case(case), "uncertainty"), NIFTI)


def _volume(context: Context, case: Case, what: Literal["mask", "uncertainty"]) -> tuple[str, Callable[[], Path]]:
    with context.database.session(write=False) as session:
        row = session.scalars(
            select(PredictionRow).where(PredictionRow.case == case.id).order_by(PredictionRow.id.desc()).limit(1)
        ).first()
    if row is None:
        raise Refused(404, f"case {case.id}: has no prediction yet; train, and it comes by itself.")
    if len(context.dataset().classes) > 256:
        raise Refused(422, f"expected at most 256 classes, got {len(context.dataset().classes)}.")
    folder = context.state / row.folder
    name = f"{what}-{hashlib.sha256(case.id.encode('utf-8', 'surrogateescape')).hexdigest()[:32]}"
    tag = hashlib.sha256(f"{row.folder}\n{what}".encode()).hexdigest()[:32]

    def build(path: Path) -> None:
        source = folder / f"{what}.nii.gz"
        if not source.is_file():
            raise Refused(404, f"case {case.id}: a newer prediction is coming; ask again.")
        array, _ = read_map(source)
        view = context.view(case)
        if array.shape != tuple(view.grid.geometry.size):
            raise Refused(404, f"case {case.id}: its image has changed since the prediction; train or predict again.")
        write_volume(path, view, array.astype("uint8"))
        drop_older(path.parent, name)

    return tag, lambda: cached(context, f"{name}-{tag}.nii", build)
