"""What the server and its callers say to each other: one typed definition for server, page, client and OpenAPI.

Places are voxels of the *view grid*: the grid of the image with its axes flipped and swapped, never resampled, so
that the first axis `i` runs to the patient's right (R+), `j` to the front (A+) and `k` to the head (S+), as nearly as
the scan's own axes allow. The voxel (i, j, k) has the number `i + ni * (j + nj * k)`: the order in which a NIfTI file
and NiiVue's drawing keep voxels. The server alone knows how that grid lies in the file.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

CaseState = Literal["untouched", "strokes", "predicted", "reviewed", "wrong"]
Plane = Literal["axial", "coronal", "sagittal"]
Tool = Literal["pen", "line", "eraser", "flood", "import"]
JobKind = Literal["train", "predict"]
JobState = Literal["queued", "running", "finished", "cancelled", "crashed"]
Triple = tuple[int, int, int]


class Said(BaseModel):
    """A body that callers send: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid")


class Problem(BaseModel):
    """The body of every error."""

    message: str = Field(description="One sentence: expected, got, do this.")
    details: Any = None


class ClassInfo(BaseModel):
    """A class and its pen."""

    index: int = Field(ge=0, description="0 is background.")
    name: str
    color: str = Field(pattern="^#[0-9a-f]{6}$", description="Safe for colour-blind eyes.")


class ModelState(BaseModel):
    """The newest model of the project."""

    id: int
    at: datetime
    steps: int
    strokes: int = Field(description="Strokes it had learned from.")
    scores: dict[str, float] = Field(description="Validation on held-back strokes, by name.")


class Project(BaseModel):
    """The data set as the page needs it first."""

    name: str
    key: str = Field(
        default="",
        description="Tells the folder from others of the same name: what .medcl/id holds; '' before set-up.",
    )
    needs_setup: bool = Field(description="True for a folder of scans without dataset.json: ask for the classes.")
    found: list[str] = Field(default=[], description="Scans found, relative paths; only while set-up is needed.")
    channels: list[str] = []
    classes: list[ClassInfo] = []
    groups: dict[str, list[int]] = {}
    cases: int = 0
    states: dict[CaseState, int] = {}
    model: ModelState | None = None
    author: str = Field(default="", description="The name that strokes of this caller are kept under.")
    event: int = Field(default=0, description="Number of the newest event; events after it come by /api/events.")
    version: str = Field(default="", description="Of medcl.")
    notices: list[str] = Field(default=[], description="What the user should know, in sentences.")


class Setup(Said):
    """Answers to the first questions about a folder of scans."""

    classes: list[Annotated[str, Field(min_length=1, max_length=60)]] = Field(
        min_length=1, max_length=60, description="Names of the structures, without background."
    )
    channel: str = Field(default="image", min_length=1, max_length=60)
    groups: dict[str, list[str]] = {}


class PredictionInfo(BaseModel):
    """A prediction that lies ready."""

    id: int
    model: int
    at: datetime
    uncertainty: float = Field(description="Mean entropy where mask or doubt is, 0..1 (of its largest value).")
    volumes_ml: dict[str, float] = {}


class CaseSummary(BaseModel):
    """One row of the case list."""

    id: str
    split: Literal["Tr", "Val", "Ts"]
    can_draw: bool = Field(description="Only training cases take strokes.")
    state: CaseState
    size: Triple = Field(description="View grid, (i, j, k).")
    spacing_mm: tuple[float, float, float] = Field(description="View grid, (i, j, k).")
    channels: int
    color: bool = Field(description="One RGB picture rather than three channels.")
    strokes: int = Field(description="Strokes that stand, eraser strokes left out.")
    drawn: dict[int, int] = Field(description="Class index -> stroked voxels.")
    seconds: float = Field(description="Seconds spent drawing.")
    version: int = Field(description="Goes up with every change; what optimistic locking compares.")
    prediction: PredictionInfo | None = None
    reviewed_by: str | None = None
    label_is_older: bool = Field(
        default=False, description="Strokes were drawn since the label was accepted, which still is in the data set."
    )
    thumbnail: str = Field(description="Address of a PNG.")
    notice: str = Field(default="", description="What a review did beyond what was asked (an older label was kept).")


class Stroke(BaseModel):
    """A stroke as kept."""

    id: UUID
    author: str
    at: datetime
    tool: Tool
    value: int | None = Field(description="Class index; None: takes strokes away (eraser).")
    plane: Plane | None = None
    slice: int | None = None
    width: int = 1
    seconds: float = 0.0
    voxels: int = 0
    on_prediction: int | None = Field(default=None, description="Id of the prediction that was shown: a fix.")
    version: int = Field(description="Version of the case that it made.")
    undone: bool = False


class NewStroke(Said):
    """A stroke as drawn. Saying the same `id` again changes nothing: callers may repeat after a lost answer."""

    id: UUID
    base_version: int = Field(ge=0, description="Version of the case that the caller saw.")
    tool: Tool = "pen"
    value: int | None = Field(ge=0, description="Class index; null erases.")
    plane: Plane = "axial"
    slice: int = Field(default=0, ge=0)
    width: int = Field(default=1, ge=1, le=500)
    seconds: float = Field(default=0.0, ge=0, le=3600)
    on_prediction: int | None = Field(default=None, ge=1, lt=2**31)
    runs: list[Annotated[int, Field(ge=0)]] = Field(
        min_length=2, description="Voxels of the view grid as start, length, start, length, ... rising, no overlap."
    )


class BaseVersion(Said):
    """What an undo or redo refers to."""

    base_version: int = Field(ge=0)


class StrokeSaved(BaseModel):
    """Answer to a saved, undone or redone stroke."""

    version: int
    stroke: Stroke


class StrokeList(BaseModel):
    """History of a case, oldest first."""

    version: int
    strokes: list[Stroke]


class Conflict(BaseModel):
    """Body of a 409: the case has moved on. Send again with `version` to go over what others did, knowingly."""

    message: str
    version: int
    strokes: list[Stroke] = Field(description="What came since `base_version`.")
    overlaps: bool = Field(description="Whether any of those touches a voxel of the refused stroke.")


class Point(BaseModel):
    """A point of a curve."""

    step: int
    values: dict[str, float]


class NewJob(Said):
    """What to do in the background."""

    kind: JobKind = "train"
    minutes: float = Field(default=2.0, gt=0, le=24 * 60)
    cases: list[str] | None = Field(default=None, description="Predict these, in this order; None: all.")
    first: str | None = Field(default=None, description="The case that is open: predicted first.")
    fresh: bool = Field(default=False, description="Start from nothing instead of the newest model.")
    method: str | None = Field(default=None, description="Way of learning; None: medcl.")
    settings: dict[str, Any] = Field(default={}, description="Keys of `medcl train --set`.")


class Job(BaseModel):
    """A job and how far it is."""

    id: int
    kind: JobKind
    state: JobState
    author: str
    at: datetime
    started: datetime | None = None
    ended: datetime | None = None
    share: float = Field(default=0.0, ge=0, le=1)
    seconds_left: float | None = None
    message: str = Field(default="", description="What it does now, or why it crashed, in a sentence.")
    losses: list[Point] = []
    scores: list[Point] = []
    strokes: int = 0


class Suggestion(BaseModel):
    """Where the next stroke should go."""

    case: str
    plane: Plane
    slice: int
    place: Triple = Field(description="Voxel of the view grid to look at, (i, j, k).")
    class_index: int
    class_name: str
    score: float
    reason: str = Field(description='In words, such as "Myo, most uncertain, never drawn here".')
    box: tuple[tuple[int, int], tuple[int, int], tuple[int, int]] | None = Field(
        default=None, description="First voxel and the one after the last along i, j, k; none: the whole slice."
    )
    cost_s: float | None = Field(default=None, description="Expected seconds of a person's time.")


class ListedSuggestion(Suggestion):
    """A place of a list that `medcl suggest` wrote."""

    rank: int
    drawn: bool = Field(description="Whether the class is drawn in the slice by now.")


class SuggestionList(BaseModel):
    """A list that `medcl suggest` wrote, as far as it concerns this project."""

    strategy: str
    created: str
    budget_s: float | None
    left: int = Field(description="Places that are not drawn yet.")
    left_s: float = Field(description="Expected seconds for those.")
    unknown: int = Field(description="Places left out: their cases are not here or take no strokes.")
    places: list[ListedSuggestion]


class StrategyInfo(BaseModel):
    """A way to choose the next place."""

    name: str
    description: str


class Review(Said):
    """A verdict over a prediction."""

    verdict: Literal["accept", "wrong", "reopen"]
    prediction: int | None = Field(default=None, description="The prediction that was looked at; accept needs it.")
    base_version: int = Field(ge=0)


class Moment(BaseModel):
    """What annotation had cost and bought when a model was made."""

    at: datetime
    model: int
    strokes: int
    seconds: float
    voxels: int
    scores: dict[str, float] = Field(description="'dice' on held-back strokes, and by class 'dice/NAME'.")


class Statistics(BaseModel):
    """Cost and worth of the annotation so far."""

    strokes: int
    undone: int
    seconds: float
    voxels: int
    by_class: dict[str, int] = Field(description="Class name -> strokes that stand.")
    by_author: dict[str, int]
    cases: dict[CaseState, int]
    curve: list[Moment]


class Event(BaseModel):
    """Something happened; sent by /api/events as server-sent events whose id is `id`."""

    id: int
    kind: Literal["case", "job", "model", "prediction", "project"]
    case: str | None = None
    job: int | None = None
    at: datetime
