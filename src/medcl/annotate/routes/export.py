"""GET /api/cases/{case}/export, /api/export.zip and /api/report.html: what other programs and people take away."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import numpy as np
from fastapi import APIRouter, Query, Response
from fastapi.responses import FileResponse, HTMLResponse
from starlette.background import BackgroundTask

from medcl.annotate.context import Context, Here
from medcl.annotate.exporting import MEDIA_TYPES, Format, What, export_bytes, file_name, write_zip
from medcl.annotate.labels import newest_label
from medcl.annotate.masks import newest_mask
from medcl.annotate.problems import Refused
from medcl.annotate.schemas import Problem
from medcl.data.dicom_seg import is_dicom_source
from medcl.data.labels import UNLABELLED
from medcl.data.layout import Case

router = APIRouter(prefix="/api", tags=["export"])

AskedWhat = Annotated[What, Query(description="The newest prediction, what is drawn, or the dense label.")]
AskedFormat = Annotated[Format, Query(alias="format", description="DICOM-SEG needs a source that is DICOM.")]
_REFUSALS: dict[int | str, dict[str, Any]] = {404: {"model": Problem}, 422: {"model": Problem}}


@router.get("/cases/{case_id}/export", response_class=Response, responses=_REFUSALS)
def export_case(case_id: str, context: Here, what: AskedWhat = "mask", form: AskedFormat = "nifti") -> Response:
    """Return a map of a case as a file on the grid of its image."""
    case = context.case(case_id)
    indices = read_what(context, case, what)
    if indices is None:
        raise Refused(404, f"case {case.id}: {_NOTHING[what]}")
    content = export_bytes(indices, case, context.dataset(), what, form)
    return download(content, file_name(case.id, what, form), MEDIA_TYPES[form])


@router.get("/export.zip", response_class=FileResponse, responses=_REFUSALS)
def export_all(context: Here, what: AskedWhat = "mask", form: AskedFormat = "nifti") -> FileResponse:
    """Return the maps of all cases that have one as a zip."""
    cases, dataset = context.cases(), context.dataset()
    if form == "dicom-seg":
        others = [case.id for case in cases if not is_dicom_source(case.images[0])]
        if others:
            raise Refused(
                422,
                f"DICOM segmentations refer to a DICOM series, and {len(others)} of {len(cases)} cases come from other "
                f"files (such as {others[0]}); ask for nifti or nrrd, or export the DICOM cases one by one.",
            )
    folder = Path(tempfile.mkdtemp(prefix="medcl-export-"))
    try:
        path = folder / "export.zip"
        count = write_zip(path, cases, dataset, what, form, lambda case: read_what(context, case, what))
        if not count:
            raise Refused(404, f"no case of {dataset.name}: {_NOTHING[what]}")
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return FileResponse(
        path,
        media_type="application/zip",
        filename=f"{dataset.name}_{what}.zip",
        background=BackgroundTask(shutil.rmtree, folder, ignore_errors=True),
    )


@router.get("/report.html", response_class=HTMLResponse)
def report(context: Here) -> HTMLResponse:
    """Return a page of its own, without any link to the outside: what the annotation cost and what it bought."""
    from medcl.annotate.reporting import annotation_report

    headers = {"Content-Disposition": 'inline; filename="report.html"', "Content-Security-Policy": _REPORT_POLICY}
    return HTMLResponse(annotation_report(context), headers=headers)


_REPORT_POLICY = (
    "sandbox allow-scripts; default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "frame-ancestors 'none'"
)
"""The report brings its style and script inside; in the sandbox it has no origin, so it can call nothing here."""

_NOTHING: dict[What, str] = {
    "mask": "has no prediction yet; train first.",
    "strokes": "nothing is drawn yet.",
    "label": "has no dense label yet; accept a prediction first.",
}


def read_what(context: Context, case: Case, what: What) -> np.ndarray | None:
    """Return a map of a case, int16 (Z, Y, X) with `UNLABELLED`, or None where there is none."""
    if what == "label":
        return newest_label(context, case)
    if what == "strokes":
        strokes = context.strokes(case) if case.split == "Tr" else _strokes_in_file(context, case)
        return strokes if strokes is not None and bool((strokes != UNLABELLED).any()) else None
    return newest_mask(context, case)


def _strokes_in_file(context: Context, case: Case) -> np.ndarray | None:
    return None if case.scribble is None else context.dataset().read_scribble(case)


def download(content: bytes, name: str, media_type: str) -> Response:
    """Answer with a file to keep; its name may hold any letters (RFC 6266)."""
    plain = name.encode("ascii", "replace").decode().translate(str.maketrans('"\\?\r\n', "_____"))
    headers = {"Content-Disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"}
    return Response(content, media_type=media_type, headers=headers)
