"""A list of places to draw at, as `medcl suggest` writes and `medcl annotate` shows it: JSON and CSV."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from medcl.errors import DataError, SettingsError
from medcl.files import atomic_write, read_json, write_json
from medcl.queries.pool import Plane
from medcl.settings import Settings

FORMAT = 1
JSON_NAME, CSV_NAME = "suggestions.json", "suggestions.csv"


class ListedPlace(Settings):
    """One line of the list.

    Voxels are those of the view grid: i runs to the patient's right, j to the front, k to the head.
    """

    rank: int = Field(ge=1, description="1 is drawn first.")
    case: str = Field(description="Name of the case.")
    plane: Plane = Field(description="Plane to draw in.")
    slice: int = Field(ge=0, description="Number of the slice in the view grid, from 0; the page counts from 1.")
    file_axis: Literal["x", "y", "z"] = Field(description="Axis of the file that the slices lie across.")
    file_slice: int = Field(ge=0, description="Number of the slice along that axis of the file, from 0.")
    class_index: int = Field(ge=0, description="What to draw.")
    class_name: str = Field(description="Its name.")
    place: tuple[int, int, int] = Field(description="Voxel (i, j, k) of the view grid to look at.")
    box: tuple[tuple[int, int], tuple[int, int], tuple[int, int]] | None = Field(
        None, description="First voxel and the one after the last along i, j and k; none: the whole slice."
    )
    score: float = Field(description="Larger is better; comparable within one list only.")
    cost_s: float = Field(ge=0, description="Expected seconds of a person's time.")
    total_s: float = Field(ge=0, description="Expected seconds up to and with this place.")
    reason: str = Field(description="Why, in words.")
    picture: str | None = Field(None, description="File of the picture, seen from the list's folder.")


class PlaceList(Settings):
    """What `suggestions.json` holds."""

    format: int = Field(FORMAT, description="Version of this layout.")
    dataset: str = Field(description="Name of the data set.")
    classes: tuple[str, ...] = Field(description="Class names by index.")
    strategy: str = Field(description="Name of the strategy.")
    settings: dict[str, Any] = Field({}, description="How the list was made.")
    model: str | None = Field(None, description="Digest of the weights of the model that looked; none: cold start.")
    budget_s: float | None = Field(None, description="Seconds that the list was cut at.")
    created: str = Field("", description="When, UTC.")
    notes: tuple[str, ...] = Field((), description="What the reader should know, in sentences.")
    places: tuple[ListedPlace, ...] = Field((), description="Best first.")


def write_list(folder: Path | str, content: PlaceList) -> tuple[Path, Path]:
    """Write `suggestions.json` and `suggestions.csv`, each whole or not at all.

    Returns:
        Both paths.
    """
    folder = Path(folder)
    with atomic_write(folder / CSV_NAME) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        names = [name for name in ListedPlace.model_fields if name not in ("place", "box")]
        writer.writerow([*names, "i", "j", "k", "box"])
        for place in content.places:
            values = place.model_dump()
            box = "" if place.box is None else " ".join(f"{low}:{high}" for low, high in place.box)
            writer.writerow([*("" if values[n] is None else values[n] for n in names), *place.place, box])
    write_json(folder / JSON_NAME, content.model_dump(mode="json"))
    return folder / JSON_NAME, folder / CSV_NAME


def read_list(path: Path | str) -> PlaceList:
    """Read a list, from its file or the folder that holds it.

    Raises:
        DataError: Not such a list, or one of another layout.
    """
    path = Path(path)
    if path.is_dir():
        path = path / JSON_NAME
    return parse_list(read_json(path), str(path))


def parse_list(values: Any, where: str) -> PlaceList:
    """Read a list from what its JSON holds.

    Raises:
        DataError: Not such a list, or one of another layout.
    """
    if not isinstance(values, dict) or "places" not in values:
        raise DataError(f"{where}: expected a list of places as medcl suggest writes it ({JSON_NAME}), got other JSON.")
    if values.get("format") != FORMAT:
        raise DataError(f"{where}: expected a list of format {FORMAT}, got {values.get('format')!r}; make it again.")
    try:
        return PlaceList.parse(values, where=where)
    except SettingsError as error:
        raise DataError(str(error)) from None
