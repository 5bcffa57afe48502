"""MONAI Label's REST protocol under /monai: see docs/monai-label.md for what works and what does not."""

from __future__ import annotations

import asyncio
import hmac
import time
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Body, Form, Query, Request, Response, UploadFile
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from medcl.annotate import monai_label as protocol
from medcl.annotate.context import Author, Context, Here
from medcl.annotate.jobs import queue
from medcl.annotate.labels import PreparedLabel, newest_label
from medcl.annotate.masks import corrected, newest_mask, newest_prediction
from medcl.annotate.pool import suggest
from medcl.annotate.problems import Refused
from medcl.annotate.reviewing import accept_label
from medcl.annotate.routes.export import download
from medcl.annotate.routes.jobs import cancel_job, look_after, put_job
from medcl.annotate.schemas import NewJob, Problem
from medcl.annotate.state.tables import EventRow, JobRow, ModelRow
from medcl.annotate.uploads import receive_image, receive_map
from medcl.data.layout import Case
from medcl.queries import queries

router = APIRouter(prefix="/monai", tags=["MONAI Label"], responses={404: {"model": Problem}, 422: {"model": Problem}})

PREDICT_SECONDS = 600.0
"""How long `/infer/` waits for a prediction."""

_LOCAL = ("127.0.0.1", "::1")
_Params = Annotated[dict[str, Any] | None, Body()]
_NO_SESSIONS = "Sessions are not served; send the image with PUT /datastore/ and name it in /infer/."


@router.get("/info/")
@router.get("/info", include_in_schema=False)
def info(context: Here) -> dict[str, Any]:
    """Say what this server has: labels, model, trainer, query strategies, images."""
    return protocol.info_document(context, _strategies())


@router.get("/auth/")
def auth() -> dict[str, Any]:
    """Say that callers need a token: 3D Slicer then asks for a name and a password."""
    return {"enabled": True, "client_id": "medcl", "realm": "medcl"}


@router.post("/auth/token", responses={401: {"model": Problem}})
def auth_token(
    request: Request, password: Annotated[str, Form(max_length=400)], username: str = Form("")
) -> dict[str, str]:
    """Take the server's token as the password and give it back as the bearer token that clients then send."""
    token: str = request.app.state.token
    if not hmac.compare_digest(password.encode(), token.encode()):
        raise Refused(401, "expected the token that medcl annotate printed as the password, got another one.")
    return {"access_token": token, "token_type": "Bearer"}


@router.get("/auth/token/valid")
def auth_valid(author: Author) -> dict[str, str]:
    """Answer callers whose token is right; others never come here."""
    return {"username": author, "email": "", "name": author, "role": "user"}


@router.post("/activelearning/{strategy}")
def next_sample(strategy: str, request: Request, context: Here, params: _Params = None) -> dict[str, Any]:
    """Name the image where the next stroke should go; {} when there is none."""
    known = _strategies()
    if strategy not in known:
        raise Refused(404, f"unknown strategy '{strategy[:60]}'; known: {', '.join(known)}.")
    case_id = _next_case(context, strategy)
    if case_id is None:
        return {}
    local = request.client is not None and request.client.host in _LOCAL
    return protocol.sample(context, context.case(case_id), local=local)


@router.post("/infer/{model}", response_class=Response)
async def infer(
    model: str,
    context: Here,
    author: Author,
    image: Annotated[str, Query(max_length=255)] = "",
    session_id: str = "",
    output: Literal["image", "json", "all"] | None = None,
    params: Annotated[str, Form()] = "{}",
    file: UploadFile | None = None,
    label: UploadFile | None = None,
) -> Response:
    """Return the newest model's mask of an image, with the strokes drawn here on it; predicts first if need be."""
    asked = protocol.parsed_params(params)
    _check_model(context, model)
    if session_id:
        raise Refused(422, _NO_SESSIONS)
    if file is not None:
        raise Refused(
            422, "expected an image of this data set by its id (image=...); PUT a new one to /datastore/ first."
        )
    if label is not None:
        raise Refused(422, "expected no label with /infer/: strokes are drawn on medcl's own page, or sent as files.")
    case = await run_in_threadpool(context.case, image)
    await _predicted(context, case, author)
    return await run_in_threadpool(_answer, context, case, asked, output)


@router.get("/train/")
def train_status(context: Here, check_if_running: bool = False) -> dict[str, Any]:
    """Return the newest training as a task; 404 while none was started, or (`check_if_running`) none runs."""
    row = _newest_training(context)
    if row is None or (check_if_running and row.state not in ("queued", "running")):
        raise Refused(404, "No training is running." if check_if_running else "No training was started yet.")
    return protocol.task(row)


@router.post("/train/", responses={429: {"model": Problem}})
def train_all(context: Here, author: Author, params: _Params = None) -> dict[str, Any]:
    """Train, as `/train/medcl` does; `params` may hold the settings under the trainer's name."""
    inner = (params or {}).get(protocol.MODEL)
    result = _train(context, author, inner if isinstance(inner, dict) else params or {})
    return {**result, protocol.MODEL: {"result": result, "detail": None}}


@router.post("/train/{model}", responses={429: {"model": Problem}})
def train_one(model: str, context: Here, author: Author, params: _Params = None) -> dict[str, Any]:
    """Train on all strokes and labels so far; `params` may hold 'minutes'."""
    if model != protocol.MODEL:
        raise Refused(404, f"unknown trainer '{model[:60]}'; known: {protocol.MODEL}.")
    return _train(context, author, params or {})


@router.delete("/train/")
def train_stop(context: Here, author: Author) -> dict[str, Any]:
    """Cancel trainings that run or wait."""
    row = _newest_training(context)
    if row is None or row.state not in ("queued", "running"):
        raise Refused(404, "No training is running.")
    cancel_job(context, author, row.id)
    return protocol.task(_newest_training(context) or row)


@router.get("/datastore/")
def datastore(context: Here, output: Literal["stats", "all", "train"] | None = None) -> Any:
    """Return how many images and labels there are, or (`output=all`) which."""
    if output == "all":
        return protocol.datastore_objects(context)
    statistics = protocol.datastore_statistics(context)
    return statistics["train"] if output == "train" else statistics


@router.put("/datastore/", responses={409: {"model": Problem}, 413: {"model": Problem}})
@router.put("/datastore/image", include_in_schema=False)
def add_image(
    context: Here,
    author: Author,
    file: UploadFile,
    image: Annotated[str, Query(max_length=200)] = "",
    params: Annotated[str, Form()] = "{}",
) -> dict[str, str]:
    """Add a training image. One that is there is never overwritten."""
    protocol.parsed_params(params)
    return {"image": receive_image(context, image, file.filename or "", file.file, author)}


@router.get("/datastore/image", response_class=Response)
def get_image(context: Here, image: Annotated[str, Query(max_length=255)]) -> Response:
    """Return an image; what viewers cannot open (DICOM, pictures) comes as NIfTI, of several channels the first."""
    case = context.case(image)
    name, _ = protocol.image_name(case)
    found = protocol.image_file(context, case)
    if isinstance(found, bytes):
        return download(found, name, "application/octet-stream")
    return FileResponse(found, media_type="application/octet-stream", filename=name)


@router.get("/datastore/image/info")
def get_image_info(context: Here, image: Annotated[str, Query(max_length=255)]) -> dict[str, Any]:
    """Return what is known about an image."""
    case = context.case(image)
    return protocol.sample(context, case, local=False)


@router.put("/datastore/label", responses={413: {"model": Problem}})
def save_label(
    context: Here,
    author: Author,
    image: Annotated[str, Query(max_length=255)],
    label: UploadFile,
    tag: Annotated[str, Query(max_length=60)] = "final",
    params: Annotated[str, Form()] = "{}",
) -> dict[str, str]:
    """Accept a label that a viewer made as the dense label of an image; an older one is kept aside."""
    asked = protocol.parsed_params(params)
    case = context.case(image)
    if (tag or "final") != "final":
        raise Refused(422, f"tag: expected 'final', got '{tag}'; predictions ('original') are made here.")
    if case.split != "Tr":
        raise Refused(422, f"case {case.id}: only training cases take labels, this one is in images{case.split}.")
    meaning = protocol.numbers_to_classes(asked, context.dataset().classes)
    indices = receive_map(context, case, label.filename or "", label.file, meaning)
    notice = accept_label(context, PreparedLabel(context, case, indices), author, base_version=None)
    return {"image": case.id, "label": case.id, **({"notice": notice} if notice else {})}


@router.get("/datastore/label", response_class=Response)
def get_label(
    context: Here, label: Annotated[str, Query(max_length=255)], tag: Annotated[str, Query(max_length=60)] = "final"
) -> Response:
    """Return a label of an image: 'original' is the newest prediction, 'final' the dense label."""
    case = context.case(label)
    if tag not in ("", *protocol.TAGS):
        raise Refused(404, f"unknown tag '{tag}'; known: {', '.join(protocol.TAGS)}.")
    indices = _mask(context, case) if tag == "original" else newest_label(context, case)
    if indices is None:
        raise Refused(404, f"case {case.id}: has no label with the tag '{tag or 'final'}' yet.")
    content, _ = protocol.encoded_map(indices, case, context.dataset().classes, ".nii.gz")
    return download(content, f"{case.id}.nii.gz", "application/gzip")


@router.get("/logs/", response_class=PlainTextResponse)
def logs(context: Here, lines: Annotated[int, Query(ge=0, le=10_000)] = 300) -> PlainTextResponse:
    """Return what happened lately, a line an event, oldest first."""
    with context.database.session(write=False) as session:
        rows = session.scalars(select(EventRow).order_by(EventRow.id.desc()).limit(lines or 10_000)).all()
    words = [(f"{row.at:%Y-%m-%d %H:%M:%S}", row.author, row.kind, row.action, row.case, row.job) for row in rows]
    text = "\n".join(" ".join(str(word) for word in line if word not in (None, "")) for line in reversed(words))
    return PlainTextResponse(text + "\n" if text else "")


@router.get("/session/{session_id}", responses={406: {"model": Problem}})
@router.delete("/session/{session_id}", responses={406: {"model": Problem}})
def no_session(session_id: str) -> None:
    """Say that there are no sessions, as the protocol provides (406)."""
    raise Refused(406, _NO_SESSIONS)


@router.put("/session/", responses={406: {"model": Problem}})
def no_new_session() -> None:
    """Say that there are no sessions, as the protocol provides (406)."""
    raise Refused(406, _NO_SESSIONS)


# --- what stands behind ---


def _answer(context: Context, case: Case, asked: dict[str, Any], output: str | None) -> Response:
    mask = _mask(context, case)
    if mask is None:
        raise Refused(404, f"case {case.id}: its prediction is gone again; ask once more.")
    ending = str(asked.get("result_extension") or ".nii.gz")
    compress = asked.get("result_compress", True) is not False
    content, names = protocol.encoded_map(
        mask,
        case,
        context.dataset().classes,
        ending,
        kind=str(asked.get("result_dtype") or ""),
        compress=compress,
    )
    result = {"label_names": names, "image": case.id}
    if output == "json":
        return JSONResponse(result)
    if output == "image":
        return download(content, f"{case.id}{ending}", "application/octet-stream")
    body, kind = protocol.multipart(result, f"label{ending}", content)
    return Response(body, media_type=kind)


def _mask(context: Context, case: Case) -> np.ndarray | None:
    """Return the newest prediction with the strokes on it, or None."""
    mask = newest_mask(context, case)
    if mask is None or case.split != "Tr":
        return mask
    return corrected(mask, context.strokes(case))


def _check_model(context: Context, name: str) -> None:
    if name != protocol.MODEL:
        raise Refused(404, f"unknown model '{name[:60]}'; known: {protocol.MODEL}.")
    with context.database.session(write=False) as session:
        if session.scalar(select(ModelRow.id).limit(1)) is None:
            raise Refused(404, "there is no model yet; draw some strokes and train first (POST /monai/train/medcl).")


async def _predicted(context: Context, case: Case, author: str) -> None:
    """Wait until a case has a prediction; asks for it where nobody did. Newer ones come by themselves with training."""
    until = time.monotonic() + PREDICT_SECONDS
    job: int | None = None
    while not await run_in_threadpool(_is_predicted, context, case):
        if job is None:
            asked = NewJob(kind="predict", cases=[case.id])
            job = (await run_in_threadpool(put_job, context, author, asked)).id
        state, message = await run_in_threadpool(_job_state, context, job)
        over = state in ("crashed", "cancelled", "finished")
        if over and not await run_in_threadpool(_is_predicted, context, case):
            raise Refused(422, f"case {case.id}: could not be predicted ({message or state}).")
        if time.monotonic() > until:
            raise Refused(422, f"case {case.id}: not predicted within {PREDICT_SECONDS:.0f} s; ask again later.")
        await asyncio.sleep(0.3)


def _is_predicted(context: Context, case: Case) -> bool:
    with context.database.session(write=False) as session:
        return newest_prediction(session, case.id) is not None


def _job_state(context: Context, job: int) -> tuple[str, str]:
    look_after(context)  # else nobody would, while a caller waits here for a worker that has died or left
    with context.database.session(write=False) as session:
        row = session.get(JobRow, job)
        return (row.state, row.message) if row is not None else ("cancelled", "it is gone")


def _newest_training(context: Context) -> JobRow | None:
    with context.database.session(write=False) as session:
        return session.scalars(select(JobRow).where(JobRow.kind == "train").order_by(JobRow.id.desc()).limit(1)).first()


def _train(context: Context, author: str, params: dict[str, Any]) -> dict[str, Any]:
    minutes = params.get("minutes", 2.0)
    if isinstance(minutes, bool) or not isinstance(minutes, int | float) or not 0 < minutes <= 24 * 60:
        raise Refused(422, f"minutes: expected a number above 0 and up to 1440, got {str(minutes)[:40]!r}.")
    new = NewJob(kind="train", minutes=float(minutes))
    return protocol.task(put_job(context, author, new, refuse=_refuse_second_training))


def _refuse_second_training(session: Session) -> None:
    row = queue.open_training(session)
    if row is not None:
        raise Refused(429, f"A training is {row.state} already (job {row.id}); stop it first or wait.")


def _strategies() -> dict[str, str]:
    return {name: queries.get(name).description for name in queries}


def _next_case(context: Context, strategy: str) -> str | None:
    found = suggest(context, strategy, 1, 0)
    return found[0].case if found else None
