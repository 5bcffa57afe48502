"""Read predictions and labels as class indices: what the values in files mean, and that both lie on one grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from medcl.data.geometry import Geometry
from medcl.data.io import read_map
from medcl.data.labels import BACKGROUND, UNLABELLED, Encoding, parse_labels
from medcl.errors import DataError, SettingsError, unknown_name
from medcl.evaluation.matching import Input, Pair, Source
from medcl.evaluation.results import Finding
from medcl.files import read_json

PREDICTION_JSON = "prediction.json"
"""What `medcl predict` leaves beside its masks: their values are class indices, whatever values the labels have."""

Classes = Sequence[str] | Mapping[str, int]
"""Class names by value, background first; or name -> value."""


@dataclass(frozen=True)
class Codes:
    """What the values in the files mean.

    Attributes:
        dense: Encoding of labels.
        predicted: Encoding of predictions.
        strokes: Encoding of scribbles.
        annotated: Case -> class indices that were looked for; a case that is not in it: all.
        origin: Where the meaning comes from, for the report.
    """

    dense: Encoding
    predicted: Encoding
    strokes: Encoding
    annotated: dict[str, tuple[int, ...]] = field(default_factory=dict)
    origin: str = ""


def find_codes(
    labels: Input,
    pairs: Sequence[Pair],
    classes: Classes | None,
    ignore: int | None,
    spacing_mm: Sequence[float] | None,
) -> tuple[Codes, list[Finding]]:
    """Find out what file values mean: from the caller, else `dataset.json`, else the values that occur.

    Args:
        labels: What the caller gave as labels; decides where `dataset.json` is looked for.
        pairs: The cases, looked through only where nothing names the values.
        classes: Names as the caller gave them, or None.
        ignore: Value that means unlabelled, or None for what `dataset.json` says (-1 for arrays).
        spacing_mm: Spacing (z, y, x) of arrays.

    Returns:
        The codes, and a finding where they had to be assumed.

    Raises:
        DataError: `dataset.json` is malformed, or no structure occurs anywhere.
        SettingsError: Names or values that contradict each other.
    """
    if ignore is None and not isinstance(labels, (str, Path)):
        ignore = UNLABELLED
    if classes is not None:
        dense = _named(classes, ignore)
        predicted = _predicted(pairs[0].prediction, dense)
        return Codes(dense, predicted or dense, dense, origin="as given"), []
    path = _dataset_json(labels)
    if path is not None:
        content = read_json(path)
        if not isinstance(content, dict):
            raise DataError(f"{path}: expected a JSON object, got {type(content).__name__}.")
        table = parse_labels(content, str(path))
        dense = table.dense if ignore is None else replace(table.dense, ignore=ignore)
        annotated = _annotated(content.get("annotated"), table.classes, path)
        predicted = _predicted(pairs[0].prediction, dense, path)
        return Codes(dense, predicted or dense, table.strokes, annotated, "from dataset.json"), []
    values: set[int] = set()
    for pair in pairs:
        for source in (pair.label, pair.prediction):
            try:
                values |= {int(value) for value in np.unique(load(source, spacing_mm)[0])}
            except DataError:  # said when the case is scored
                continue
    values -= {0} if ignore is None else {0, ignore}
    if not values:
        raise DataError("neither labels nor predictions hold a value besides background; check the files.")
    names = (BACKGROUND, *(f"label_{value}" for value in sorted(values)))
    dense = Encoding(names, (0, *sorted(values)), ignore)
    text = f"no dataset.json and no class names were given: 0 is taken as background, structures are {names[1:]}."
    return Codes(dense, dense, dense, origin="values that occur"), [Finding("note", "", text.replace("'", ""))]


def read_pair(
    pair: Pair, codes: Codes, spacing_mm: Sequence[float] | None = None
) -> tuple[np.ndarray, np.ndarray, Geometry]:
    """Read prediction and label of a case as class indices.

    Args:
        pair: The case.
        codes: What file values mean.
        spacing_mm: Spacing (z, y, x) of arrays.

    Returns:
        Prediction and label (int16 (Z, Y, X), label with `UNLABELLED`), and their geometry.

    Raises:
        DataError: Unreadable, unknown values, unlabelled voxels in a prediction, or two grids.
    """
    prediction, predicted_on = load(pair.prediction, spacing_mm)
    label, geometry = load(pair.label, spacing_mm)
    differences = geometry.differences(predicted_on)
    if differences:
        raise DataError(
            f"case {pair.case}: expected the prediction on the grid of the label, but they differ: label against "
            f"prediction, {'; '.join(differences)}; predict on the image that the label was drawn on."
        )
    indices = codes.dense.decode(label, f"{_title(pair.label, 'label')} (case {pair.case})")
    if 0 not in codes.annotated.get(pair.case, (0,)):
        indices[indices == 0] = UNLABELLED  # nobody looked for background: such voxels may be anything
    predicted = replace(codes.predicted, ignore=None).decode(
        prediction, f"{_title(pair.prediction, 'prediction')} (case {pair.case})"
    )
    return predicted, indices, geometry


def load(source: Source, spacing_mm: Sequence[float] | None) -> tuple[np.ndarray, Geometry]:
    """Return the integers (Z, Y, X) of a file or array, with their geometry.

    Raises:
        DataError: Not readable, not (Z, Y, X), or not integers.
    """
    if isinstance(source, Path):
        return read_map(source)
    if source.ndim != 3:
        raise DataError(f"expected arrays (Z, Y, X), got {source.ndim} axes; give a 2D array a first axis of 1.")
    if source.dtype == bool:
        source = source.astype(np.uint8)
    if not np.issubdtype(source.dtype, np.integer):
        raise DataError(f"expected arrays of integers, got {source.dtype}; take the argmax of probabilities first.")
    z, y, x = (float(value) for value in spacing_mm or (1.0, 1.0, 1.0))
    return source, Geometry((source.shape[0], source.shape[1], source.shape[2]), (z, y, x))


def _named(classes: Classes, ignore: int | None) -> Encoding:
    table = dict(classes) if isinstance(classes, Mapping) else {name: value for value, name in enumerate(classes)}
    if len(table) != len(classes) or len(set(table.values())) != len(table):
        raise SettingsError(f"classes: expected each name and each value once, got {classes}.")
    if next(iter(table), "").lower() != BACKGROUND or len(table) < 2:
        raise SettingsError(f"classes: expected 'background' first, then at least one structure, got {list(table)}.")
    if ignore in table.values():
        raise SettingsError(f"ignore: {ignore} is the value of a class ({table}); give the one that means unlabelled.")
    return Encoding((BACKGROUND, *list(table)[1:]), tuple(table.values()), ignore)


def _dataset_json(labels: Input) -> Path | None:
    if not isinstance(labels, (str, Path)):
        return None
    folder = Path(labels)
    folder = folder if folder.is_dir() else folder.parent
    for place in (folder, folder.absolute().parent):
        if (place / "dataset.json").is_file():
            return place / "dataset.json"
    return None


def _predicted(prediction: Source, dense: Encoding, labels: Path | None = None) -> Encoding | None:
    """Return the encoding of masks that `medcl predict` wrote, by the names of the model's classes; else None.

    Names that differ from those of `dataset.json` are an error; names that the caller gave may differ, then the
    masks are taken to hold the values that the caller gave too.
    """
    note = prediction.parent / PREDICTION_JSON if isinstance(prediction, Path) else None
    content = read_json(note) if note is not None and note.is_file() else None
    names = content.get("classes") if isinstance(content, dict) else None
    if not isinstance(names, list):
        return None
    if sorted(map(str, names)) == sorted(dense.classes):
        return Encoding(dense.classes, tuple(names.index(name) for name in dense.classes))
    if labels is None:
        return None
    raise DataError(
        f"{note}: the model predicts {', '.join(map(str, names))}, but {labels} names {', '.join(dense.classes)}; "
        "call the classes alike, or give class names for both."
    )


def _annotated(declared: Any, classes: tuple[str, ...], path: Path) -> dict[str, tuple[int, ...]]:
    if declared is None:
        return {}
    try:
        return {case: tuple(sorted(classes.index(name) for name in names)) for case, names in declared.items()}
    except (AttributeError, TypeError):
        raise DataError(f'{path}: expected "annotated" such as {{"case": ["organ"]}}, got {declared!r}.') from None
    except ValueError:
        wrong = next(name for names in declared.values() for name in names if name not in classes)
        raise DataError(f"{path}: annotated: " + unknown_name("class", wrong, classes)) from None


def _title(source: Source, what: str) -> str:
    return str(source) if isinstance(source, Path) else f"the {what}"
