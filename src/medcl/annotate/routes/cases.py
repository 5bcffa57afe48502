"""Cases: the list, pictures and volumes."""

from __future__ import annotations

import contextlib
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, Response

from medcl.annotate.cases import summaries, summary
from medcl.annotate.context import Here
from medcl.annotate.schemas import CaseState, CaseSummary
from medcl.annotate.sending import NIFTI, send_file
from medcl.annotate.volumes import ChangedError, image_volume, map_volume, thumbnail

_TRIES = 5
router = APIRouter(prefix="/api/cases", tags=["cases"])
_NIFTI: dict[int | str, dict[str, Any]] = {
    200: {"content": {NIFTI: {}}, "description": "NIfTI-1, uncompressed, in the view grid."}
}


@router.get("")
def get_cases(
    context: Here,
    search: Annotated[str, Query(max_length=255, description="Part of the id, whatever its case.")] = "",
    state: Annotated[CaseState | None, Query(description="Only these.")] = None,
) -> list[CaseSummary]:
    """The case list: training, validation, test."""
    cases = [case for case in context.cases() if search.casefold() in case.id.casefold()]
    return [row for row in summaries(context, cases) if state is None or row.state == state]


@router.get("/{case}")
def get_case(context: Here, case: str) -> CaseSummary:
    """One row of the case list."""
    return summary(context, context.case(case))


@router.get("/{case}/thumbnail.png", response_class=FileResponse, responses={200: {"content": {"image/png": {}}}})
def get_thumbnail(context: Here, request: Request, case: str) -> Response:
    """A small picture: of the middle slices, the one that shows most."""
    return send_file(context, request, *thumbnail(context, context.case(case)), "image/png", gzip=False)


@router.get("/{case}/image.nii", response_class=FileResponse, responses=_NIFTI)
def get_image(
    context: Here, request: Request, case: str, channel: Annotated[int, Query(ge=0, le=9999)] = 0
) -> Response:
    """A channel of the scan, or all of a colour picture (RGB24)."""
    return send_file(context, request, *image_volume(context, context.case(case), channel), NIFTI)


@router.get("/{case}/scribble.nii", response_class=FileResponse, responses=_NIFTI)
def get_scribble(context: Here, request: Request, case: str) -> Response:
    """What is drawn now: uint8, 0 unlabelled, class index + 1 elsewhere."""
    return send_file(context, request, *map_volume(context, context.case(case), "scribble"), NIFTI)


@router.get("/{case}/label.nii", response_class=FileResponse, responses=_NIFTI)
def get_label(context: Here, request: Request, case: str) -> Response:
    """The dense label: uint8, 0 unlabelled, class index + 1 elsewhere."""
    for _ in range(_TRIES):
        with contextlib.suppress(ChangedError):
            return send_file(context, request, *map_volume(context, context.case(case), "label"), NIFTI)
    raise ChangedError(context.case(case))
