"""The page's actions from Python: one method for each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Self, TypeVar
from urllib.parse import parse_qs, quote, urlsplit
from uuid import UUID, uuid4, uuid5

import httpx
import numpy as np
from pydantic import BaseModel, TypeAdapter

from medcl.annotate.runs import runs_of_map
from medcl.annotate.schemas import (
    BaseVersion,
    CaseState,
    CaseSummary,
    Conflict,
    Event,
    Job,
    NewJob,
    NewStroke,
    Plane,
    Project,
    Review,
    Setup,
    Statistics,
    StrokeList,
    StrokeSaved,
    Suggestion,
    SuggestionList,
    Tool,
)
from medcl.data.labels import UNLABELLED
from medcl.errors import MedclError
from medcl.files import atomic_write

Model = TypeVar("Model", bound=BaseModel)
_ACROSS = {"sagittal": 2, "coronal": 1, "axial": 0}  # axis of an array (K, J, I)


class CallError(MedclError):
    """The server refused a call.

    Attributes:
        status: HTTP status.
        details: What the server added for programs.
    """

    def __init__(self, message: str, status: int, details: Any = None) -> None:
        super().__init__(message)
        self.status = status
        self.details = details


class StrokeConflictError(CallError):
    """Somebody else changed the case since the version that the caller knew.

    Attributes:
        conflict: What came since, and whether it overlaps with the refused stroke.
    """

    def __init__(self, conflict: Conflict) -> None:
        super().__init__(conflict.message, 409)
        self.conflict = conflict


class Client:
    """Talks to a running `medcl annotate`.

    Example:
        >>> with Client("http://127.0.0.1:8765/?token=...") as client:      # doctest: +SKIP
        ...     place = client.next()[0]
        ...     client.train(minutes=2)

    Args:
        address: The address that `medcl annotate` printed, with its token, or without when `token` is given.
        token: The token.
        author: Name that strokes are kept under.
        timeout: Seconds to wait for an answer.
        transport: Of httpx, for tests.
    """

    def __init__(
        self,
        address: str,
        *,
        token: str | None = None,
        author: str = "",
        timeout: float = 60.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        parts = urlsplit(address)
        token = token or parse_qs(parts.query).get("token", [""])[0]
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise MedclError(f"expected the address that medcl annotate printed, got '{address.partition('?')[0]}'.")
        headers = {"Authorization": f"Bearer {token}"}
        if author:
            headers["X-Medcl-Author"] = quote(author)
        self._http = httpx.Client(
            base_url=f"{parts.scheme}://{parts.netloc}", headers=headers, timeout=timeout, transport=transport
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    # --- project and cases ---

    def project(self) -> Project:
        """Return classes, channels, states of the cases and the newest model."""
        return self._get(Project, "/api/project")

    def set_up(
        self, classes: Sequence[str], *, channel: str = "image", groups: dict[str, list[str]] | None = None
    ) -> Project:
        """Make a data set of a folder of scans by naming the classes."""
        return self._post(
            Project, "/api/project/setup", Setup(classes=list(classes), channel=channel, groups=groups or {})
        )

    def cases(self, search: str = "", state: CaseState | None = None) -> list[CaseSummary]:
        """Return the case list, or the part of it that fits."""
        return self._list(CaseSummary, "/api/cases", search=search, state=state)

    def case(self, case: str) -> CaseSummary:
        """Return one row of the case list."""
        return self._get(CaseSummary, _of(case))

    def thumbnail(self, case: str) -> bytes:
        """Return a small picture, PNG."""
        return self._bytes(_of(case, "thumbnail.png"))

    def image(self, case: str, channel: int = 0) -> np.ndarray:
        """Return a channel of the scan in the view grid, (K, J, I); a colour picture is (K, J, I, 3)."""
        return _voxels(self._bytes(_of(case, "image.nii"), channel=channel))

    def scribble(self, case: str) -> np.ndarray:
        """Return what is drawn, int16 (K, J, I) in the view grid: class indices, `UNLABELLED` elsewhere."""
        return _indices(self._bytes(_of(case, "scribble.nii")))

    def label(self, case: str) -> np.ndarray:
        """Return the dense label, int16 (K, J, I) in the view grid: class indices, `UNLABELLED` elsewhere."""
        return _indices(self._bytes(_of(case, "label.nii")))

    def prediction(self, case: str) -> np.ndarray:
        """Return the newest predicted mask, uint8 class indices (K, J, I) in the view grid."""
        return _voxels(self._bytes(_of(case, "prediction.nii")))

    def uncertainty(self, case: str) -> np.ndarray:
        """Return the uncertainty of the newest prediction, uint8 0..255 (K, J, I) in the view grid."""
        return _voxels(self._bytes(_of(case, "uncertainty.nii")))

    # --- strokes ---

    def strokes(self, case: str) -> StrokeList:
        """Return the history of a case."""
        return self._get(StrokeList, _of(case, "strokes"))

    def draw(
        self,
        case: str,
        where: np.ndarray,
        value: int | None,
        *,
        base_version: int | None = None,
        tool: Tool | None = None,
        plane: Plane = "axial",
        seconds: float = 0.0,
        width: int = 1,
        on_prediction: int | None = None,
        stroke: UUID | None = None,
    ) -> list[StrokeSaved]:
        """Draw a stroke, or one in each slice that `where` touches.

        Args:
            case: Where.
            where: Booleans (K, J, I) in the view grid: the voxels to draw.
            value: Class index; None erases.
            base_version: Version of the case that the caller saw; None: the newest.
            tool: Default: pen, or eraser where `value` is None.
            plane: The plane that it was drawn on; several slices of it are several strokes.
            seconds: Time that drawing took, all slices together.
            width: Of the pen, in voxels.
            on_prediction: Id of the prediction that was shown: the stroke corrects it.
            stroke: Id of the first stroke, from which those of further slices follow; sending the same again changes
                nothing.

        Returns:
            What the server kept, one stroke a slice, in the order of slices; the last one has the newest version.

        Raises:
            StrokeConflictError: The case has moved on. Strokes of slices before the refused one are kept.
        """
        rest = tuple(axis for axis in range(3) if axis != _ACROSS[plane])
        touched = np.flatnonzero(where.any(axis=rest)).tolist()
        if not touched:
            raise MedclError(f"case {case}: expected a stroke of at least one voxel, got an empty one.")
        first = stroke or uuid4()
        version = self.case(case).version if base_version is None else base_version
        saved: list[StrokeSaved] = []
        for index in touched:
            part = np.full(where.shape, UNLABELLED, np.int16)
            here = tuple(index if axis == _ACROSS[plane] else slice(None) for axis in range(3))
            part[here][where[here]] = 0
            new = NewStroke(
                id=uuid5(first, str(index)) if saved else first,
                base_version=version,
                tool=tool or ("eraser" if value is None else "pen"),
                value=value,
                plane=plane,
                slice=index,
                width=width,
                seconds=seconds / len(touched),
                on_prediction=on_prediction,
                runs=runs_of_map(part)[:, :2].ravel().tolist(),
            )
            saved.append(self.save_stroke(case, new))
            version = saved[-1].version
        return saved

    def save_stroke(self, case: str, stroke: NewStroke) -> StrokeSaved:
        """Keep a stroke as the page sends it."""
        return self._post(StrokeSaved, _of(case, "strokes"), stroke)

    def undo(self, case: str, stroke: UUID, base_version: int) -> StrokeSaved:
        """Take a stroke back."""
        return self._post(StrokeSaved, _of(case, f"strokes/{stroke}/undo"), BaseVersion(base_version=base_version))

    def redo(self, case: str, stroke: UUID, base_version: int) -> StrokeSaved:
        """Bring a stroke back that was taken back."""
        return self._post(StrokeSaved, _of(case, f"strokes/{stroke}/redo"), BaseVersion(base_version=base_version))

    # --- learning ---

    def start(self, job: NewJob) -> Job:
        """Put a job into the queue."""
        return self._post(Job, "/api/jobs", job)

    def train(self, minutes: float = 2.0, *, first: str | None = None, fresh: bool = False, **more: Any) -> Job:
        """Train on the strokes so far; `first` is the case that is predicted first. More: see `NewJob`."""
        return self.start(NewJob(kind="train", minutes=minutes, first=first, fresh=fresh, **more))

    def predict(self, cases: Sequence[str] | None = None) -> Job:
        """Predict cases with the newest model; None: all."""
        return self.start(NewJob(kind="predict", cases=None if cases is None else list(cases)))

    def jobs(self) -> list[Job]:
        """Return all jobs."""
        return self._list(Job, "/api/jobs")

    def job(self, job: int) -> Job:
        """Return a job and how far it is."""
        return self._get(Job, f"/api/jobs/{job}")

    def cancel(self, job: int) -> Job:
        """Stop a job; what a training has learned is kept."""
        return self._post(Job, f"/api/jobs/{job}/cancel", None)

    def next(self, strategy: str | None = None, count: int = 1, skip: int | None = None) -> list[Suggestion]:
        """Return where the next strokes should go, best first."""
        return self._list(Suggestion, "/api/next", strategy=strategy, count=count, skip=skip)

    def strategies(self) -> list[dict[str, str]]:
        """Return names and descriptions of the strategies of `next`."""
        return TypeAdapter(list[dict[str, str]]).validate_json(self._send("GET", "/api/strategies").content)

    def suggestions(self) -> SuggestionList | None:
        """Return the loaded list of `medcl suggest`, with what is drawn of it; None where none is loaded."""
        return TypeAdapter(SuggestionList | None).validate_json(self._send("GET", "/api/suggestions").content)

    def load_suggestions(self, content: Mapping[str, Any]) -> SuggestionList | None:
        """Load what `suggestions.json` of `medcl suggest` holds, for everybody; empty: forget the list."""
        answer = self._send("POST", "/api/suggestions", body=dict(content))
        return TypeAdapter(SuggestionList | None).validate_json(answer.content)

    def statistics(self) -> Statistics:
        """Return what the annotation cost and bought."""
        return self._get(Statistics, "/api/statistics")

    # --- review and export ---

    def review(
        self,
        case: str,
        verdict: Literal["accept", "wrong", "reopen"],
        *,
        prediction: int | None = None,
        base_version: int | None = None,
    ) -> CaseSummary:
        """Accept the prediction of a case as dense label, mark it wrong, or open the case again.

        Args:
            case: Which.
            verdict: What was found.
            prediction: Id of the prediction that was looked at; None: the newest.
            base_version: Version of the case that the caller saw; None: the newest.
        """
        row = self.case(case)
        if prediction is None and row.prediction is not None:
            prediction = row.prediction.id
        version = row.version if base_version is None else base_version
        body = Review(verdict=verdict, prediction=prediction, base_version=version)
        return self._post(CaseSummary, _of(case, "review"), body)

    def export(
        self,
        case: str,
        target: str | Path,
        *,
        what: Literal["mask", "strokes", "label"] = "mask",
        format: str = "nifti",  # noqa: A002  # as the endpoint calls it
    ) -> Path:
        """Write mask, strokes or label of a case to a file: 'nifti', 'nrrd' or 'dicom-seg'."""
        return self._save(target, _of(case, "export"), what=what, format=format)

    def export_all(
        self,
        target: str | Path,
        *,
        what: Literal["mask", "strokes", "label"] = "mask",
        format: str = "nifti",  # noqa: A002  # as the endpoint calls it
    ) -> Path:
        """Write the same of all cases into a zip file."""
        return self._save(target, "/api/export.zip", what=what, format=format)

    def report(self, target: str | Path) -> Path:
        """Write the report, one HTML file."""
        return self._save(target, "/api/report.html")

    # --- events ---

    def events(self, after: int | None = None) -> Iterator[Event]:
        """Yield events as they happen, those after a known one first; ends when the server ends."""
        with self._stream("/api/events", after=after) as answer:
            for line in answer.iter_lines():
                if line.startswith("data:"):
                    yield Event.model_validate_json(line.removeprefix("data:").strip())

    # --- calls ---

    def _get(self, model: type[Model], path: str, **query: Any) -> Model:
        return model.model_validate_json(self._send("GET", path, query).content)

    def _list(self, model: type[Model], path: str, **query: Any) -> list[Model]:
        return TypeAdapter(list[model]).validate_json(self._send("GET", path, query).content)  # type: ignore[valid-type]

    def _post(self, model: type[Model], path: str, body: BaseModel | None) -> Model:
        content = None if body is None else body.model_dump(mode="json")
        return model.model_validate_json(self._send("POST", path, body=content).content)

    def _bytes(self, path: str, **query: Any) -> bytes:
        return self._send("GET", path, query).content

    def _save(self, target: str | Path, path: str, **query: Any) -> Path:
        target = Path(target)
        with self._stream(path, **query) as answer, atomic_write(target) as temporary, temporary.open("wb") as file:
            for part in answer.iter_bytes(1 << 20):
                file.write(part)
        return target

    def _send(self, method: str, path: str, query: dict[str, Any] | None = None, body: Any = None) -> httpx.Response:
        try:
            answer = self._http.request(method, path, params=_given(query or {}), json=body)
        except httpx.TransportError as error:
            raise MedclError(f"{self._http.base_url}: no answer ({error}); is medcl annotate running?") from None
        return _checked(answer)

    @contextmanager
    def _stream(self, path: str, **query: Any) -> Iterator[httpx.Response]:
        try:
            with self._http.stream("GET", path, params=_given(query), timeout=None) as answer:
                if answer.is_error:
                    answer.read()
                yield _checked(answer)
        except httpx.TransportError as error:
            raise MedclError(f"{self._http.base_url}: the answer broke off ({error}).") from None


def _of(case: str, rest: str = "") -> str:
    return f"/api/cases/{quote(case, safe='')}" + (f"/{rest}" if rest else "")


def _given(query: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in query.items() if value is not None}


def _checked(answer: httpx.Response) -> httpx.Response:
    if not answer.is_error:
        return answer
    try:
        body = answer.json()
    except json.JSONDecodeError:
        body = {}
    if answer.status_code == 409 and "overlaps" in body:
        raise StrokeConflictError(Conflict.model_validate(body))
    message = body.get("message") or f"the server answered {answer.status_code} without a reason."
    raise CallError(message, answer.status_code, body.get("details"))


def _voxels(content: bytes) -> np.ndarray:
    """Read the NIfTI-1 files that this server sends (see `nifti_view`): (K, J, I), colours (K, J, I, 3)."""
    i, j, k = np.frombuffer(content, "<i2", 3, 42).tolist()
    code = int(np.frombuffer(content, "<i2", 1, 70)[0])
    kinds = {2: "<u1", 4: "<i2", 16: "<f4", 512: "<u2", 128: "<u1"}
    if code not in kinds:
        raise MedclError(f"expected a volume of medcl annotate, got NIfTI data of type {code}.")
    array = np.frombuffer(content, kinds[code], offset=352)
    return array.reshape((k, j, i, 3) if code == 128 else (k, j, i))


def _indices(content: bytes) -> np.ndarray:
    return _voxels(content).astype(np.int16) - 1
