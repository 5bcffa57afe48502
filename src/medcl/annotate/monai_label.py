"""What MONAI Label's clients read and send: documents of its REST protocol made from a data set, and back.

The protocol's facts (paths, keys, forms) are those of MONAI Label's public client and its 3D Slicer and OHIF plug-ins
(github.com/Project-MONAI/MONAILabel: `monailabel/client/client.py`, `plugins/`). Maps travel as class indices: 0 is
background, k the k-th label, and one more value named 'ignore' where a label leaves voxels unlabelled.
"""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any, Literal

import numpy as np
from sqlalchemy import func, select

from medcl.annotate.context import Context
from medcl.annotate.exporting import scratch_file
from medcl.annotate.problems import Refused
from medcl.annotate.state.tables import JobRow, ModelRow, PredictionRow
from medcl.data.io import read_geometry, read_image, write_image, write_map
from medcl.data.labels import IGNORE, UNLABELLED
from medcl.data.layout import Case, split_ending
from medcl.files import file_digest

MODEL = "medcl"
"""The one model and trainer: the newest of the project."""

RESULT_ENDINGS = (".nii.gz", ".nii", ".nrrd")
ResultType = Literal["uint8", "uint16"]
TAGS = ("original", "final")
"""Labels by tag: the newest prediction, and the dense label."""

_STATES = {"queued": "PENDING", "running": "RUNNING", "finished": "DONE", "cancelled": "CANCELED", "crashed": "ERROR"}


def info_document(context: Context, strategies: dict[str, str]) -> dict[str, Any]:
    """Return the answer of `/info/`.

    Models are listed once there is one: 3D Slicer runs what is listed on every new image.

    Args:
        context: The data set.
        strategies: Name of a query strategy -> what it does.
    """
    from medcl import __version__

    dataset = context.dataset()
    labels = list(dataset.classes[1:])
    with context.database.session(write=False) as session:
        model = session.scalars(select(ModelRow).order_by(ModelRow.id.desc()).limit(1)).first()
        train = session.scalars(
            select(JobRow).where(JobRow.kind == "train").order_by(JobRow.id.desc()).limit(1)
        ).first()
    numbers = {name: index for index, name in enumerate(dataset.classes)}
    described = {
        "type": "segmentation",
        "labels": {name: numbers[name] for name in labels},
        "dimension": 3,
        "description": "The newest model of this project, with your strokes over its mask.",
        "config": {},
    }
    score = model.scores.get("dice", 0.0) if model is not None else 0.0
    stats = {"best_metric": score if isinstance(score, float) and np.isfinite(score) else 0.0}
    if train is not None and train.state == "running":
        stats |= {"epoch": max(1, round(100 * train.share)), "total_epochs": 100}
    return {
        "name": f"medcl - {dataset.name}",
        "description": "Segmentation from a few strokes.",
        "version": __version__,
        "labels": labels,
        "models": {MODEL: described} if model is not None else {},
        "trainers": {MODEL: {"description": "Train on all strokes and labels so far.", "config": {"minutes": 2.0}}},
        "strategies": {name: {"description": text} for name, text in strategies.items()},
        "scoring": {},
        "train_stats": {MODEL: stats},
        "datastore": datastore_statistics(context),
    }


def datastore_statistics(context: Context) -> dict[str, Any]:
    """Return the answer of `/datastore/`: how many images there are and how many have labels, by tag."""
    cases = context.cases()
    predicted = _predicted(context)
    final = [case for case in cases if case.label is not None]
    tags = {"final": len(final), "original": sum(case.id in predicted for case in cases)}
    return {
        "total": len(cases),
        "completed": len(final),
        "label_tags": {tag: count for tag, count in tags.items() if count},
        "train": [{"image": case.id, "label": case.id} for case in final],
    }


def datastore_objects(context: Context) -> dict[str, Any]:
    """Return the answer of `/datastore/?output=all`: every image with its labels."""
    dataset = context.dataset()
    predicted = _predicted(context)
    objects = {}
    for case in context.cases():
        labels: dict[str, Any] = {}
        if case.id in predicted:
            volumes = predicted[case.id].volumes_ml
            names = {name: k for k, name in enumerate(dataset.classes) if k and volumes.get(name, 1.0) > 0}
            stamp = int(predicted[case.id].at.timestamp())
            labels["original"] = {"ext": ".nii.gz", "info": {"ts": stamp, "params": {"label_names": names}}}
        if case.label is not None and (at := _changed_at(case.label)) is not None:
            labels["final"] = {"ext": ".nii.gz", "info": {"ts": at}}
        name, ending = image_name(case)
        if (at := _changed_at(case.images[0])) is None:
            continue
        objects[case.id] = {"image": {"ext": ending, "info": {"ts": at, "name": name}}, "labels": labels}
    return {"name": dataset.name, "description": "", "objects": objects}


def _changed_at(path: Path) -> int | None:
    """Return when a file was changed; None where it has gone since it was listed."""
    try:
        return int(path.stat().st_mtime)
    except OSError:
        return None


def sample(context: Context, case: Case, *, local: bool) -> dict[str, Any]:
    """Return the answer of `/activelearning/...`: an image to annotate.

    Args:
        context: The data set.
        case: The case.
        local: The caller is on this machine: it may open the file instead of loading it over the network.
    """
    name, _ = image_name(case)
    answer: dict[str, Any] = {"id": case.id, "name": name, "weight": 1.0}
    path = case.images[0]
    if path.is_file() and split_ending(path.name)[1] in RESULT_ENDINGS and len(case.images) == 1:
        answer["checksum"] = f"SHA256:{file_digest(path)}"
        if local:
            answer["path"] = str(context.inside(path))
    return answer


def image_name(case: Case) -> tuple[str, str]:
    """Return name and ending of the file that a caller gets for an image; what viewers cannot open becomes NIfTI."""
    ending = split_ending(case.images[0].name)[1]
    if case.images[0].is_file() and ending in RESULT_ENDINGS:
        return case.images[0].name, ending
    return f"{case.id}.nii.gz", ".nii.gz"


def image_file(context: Context, case: Case) -> Path | bytes:
    """Return the first channel's file of a case, or what it is as NIfTI where viewers could not open it."""
    path = context.inside(case.images[0])
    if path.is_file() and split_ending(case.images[0].name)[1] in RESULT_ENDINGS:
        return path
    image = read_image(case.images[0])
    with scratch_file("image.nii.gz") as scratch:
        write_image(scratch, image)
        return scratch.read_bytes()


def encoded_map(
    indices: np.ndarray, case: Case, classes: tuple[str, ...], ending: str, *, kind: str = "", compress: bool = True
) -> tuple[bytes, dict[str, int]]:
    """Write a map as viewers take it.

    Args:
        indices: (Z, Y, X) class indices and `UNLABELLED`.
        case: Whose map.
        classes: Names by index.
        ending: One of `RESULT_ENDINGS`.
        kind: Number type, 'uint8' or 'uint16'; '' for the smallest.
        compress: Whether a .nrrd is compressed.

    Returns:
        The file, and the names of the labels that are in it with their numbers, rising: viewers name segments in the
        order of the numbers they find.

    Raises:
        Refused: 422, an unknown ending or number type.
    """
    if ending not in RESULT_ENDINGS:
        raise Refused(422, f"result_extension: expected one of {', '.join(RESULT_ENDINGS)}, got '{ending[:20]}'.")
    if kind not in ("", "uint8", "uint16"):
        raise Refused(422, f"result_dtype: expected uint8 or uint16, got '{kind[:20]}'.")
    values = np.where(indices == UNLABELLED, len(classes), indices)
    found = np.unique(values)
    names = [*classes, IGNORE]
    with scratch_file(f"map{ending}") as path:
        write_map(path, values.astype(np.uint16), read_geometry(case.images[0]))
        if kind or not compress:
            _rewrite(path, kind, compress)
        return path.read_bytes(), {names[value]: int(value) for value in found if value > 0}


def _rewrite(path: Path, kind: str, compress: bool) -> None:
    import SimpleITK

    image = SimpleITK.ReadImage(str(path))
    if kind:
        image = SimpleITK.Cast(image, {"uint8": SimpleITK.sitkUInt8, "uint16": SimpleITK.sitkUInt16}[kind])
    SimpleITK.WriteImage(image, str(path), useCompression=compress or path.name.endswith(".gz"))


def multipart(params: dict[str, Any], name: str, content: bytes) -> tuple[bytes, str]:
    """Return the body and the content type of an answer of `/infer/`: JSON `params` and the file `image` (RFC 7578)."""
    boundary = f"medcl-{secrets.token_hex(16)}"
    lines = [
        f"--{boundary}",
        'Content-Disposition: form-data; name="params"',
        "Content-Type: application/json",
        "",
        json.dumps(params),
        f"--{boundary}",
        f'Content-Disposition: form-data; name="image"; filename="{name}"',
        "Content-Type: application/octet-stream",
        "",
        "",
    ]
    body = "\r\n".join(lines).encode() + content + f"\r\n--{boundary}--\r\n".encode()
    return body, f"multipart/form-data; boundary={boundary}"


def parsed_params(text: str) -> dict[str, Any]:
    """Read the JSON object that clients send in the form field `params`.

    Raises:
        Refused: 422, not a JSON object.
    """
    try:
        params = json.loads(text or "{}")
    except (json.JSONDecodeError, RecursionError):
        raise Refused(422, "params: expected a JSON object, got other text.") from None
    if params is None:
        return {}
    if not isinstance(params, dict):
        raise Refused(422, f"params: expected a JSON object, got {type(params).__name__}.")
    return params


def numbers_to_classes(params: dict[str, Any], classes: tuple[str, ...]) -> dict[int, int]:
    """Say which class each number of a sent label means.

    3D Slicer numbers the segments that it sends 1, 2, ... in the order of `label_info`, whose `idx` counts those it
    left out too. Where the two differ nobody can tell what a number means.

    Args:
        params: The form's `params`; `label_info` is a list of {'name', 'idx'}. Without it numbers are class indices.
        classes: Names by index.

    Returns:
        Number in the file -> class index, or `UNLABELLED` for 'ignore'.

    Raises:
        Refused: 422, an unknown name or numbers that leave a choice.
    """
    entries = params.get("label_info")
    if not entries:
        return {**{index: index for index in range(len(classes))}, len(classes): UNLABELLED}
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise Refused(422, "label_info: expected a list of {'name', 'idx'}.")
    meaning = {0: 0}
    for place, entry in enumerate(entries, 1):
        name, number = str(entry.get("name", "")), entry.get("idx", place)
        if number != place:
            raise Refused(
                422,
                f"label_info: segment '{name[:60]}' is number {place} of those sent, but its idx is {number!r:.20}; "
                "remove segments that are not to be sent (such as background), then submit again.",
            )
        if name not in (*classes[1:], IGNORE):
            raise Refused(422, f"label_info: unknown label '{name[:60]}'; known: {', '.join(classes[1:])}.")
        meaning[place] = UNLABELLED if name == IGNORE else classes.index(name)
    return meaning


def task(row: JobRow) -> dict[str, Any]:
    """Return a job as a task of the protocol."""
    started = row.started or row.at
    return {
        "id": str(row.id),
        "category": "train",
        "model": MODEL,
        "status": _STATES.get(row.state, "ERROR"),
        "start_ts": int(started.timestamp()),
        "end_ts": int(row.ended.timestamp()) if row.ended else 0,
        "progress": round(row.share, 3),
        "details": [row.message] if row.message else [],
        "params": {},
    }


def _predicted(context: Context) -> dict[str, PredictionRow]:
    """Return the newest prediction of every case that has one."""
    with context.database.session(write=False) as session:
        newest = select(func.max(PredictionRow.id)).group_by(PredictionRow.case)
        rows = session.scalars(select(PredictionRow).where(PredictionRow.id.in_(newest)))
        return {row.case: row for row in rows}
