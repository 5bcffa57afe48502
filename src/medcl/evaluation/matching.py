"""Which prediction belongs to which label: files by case, arrays by key. Nothing without a partner is lost."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medcl.data.io import IMAGE_ENDINGS, strip_ending
from medcl.errors import DataError
from medcl.evaluation.results import Finding

Source = Path | np.ndarray
"""A map or image: a file, or an array (Z, Y, X)."""

Input = str | Path | np.ndarray | Mapping[str, np.ndarray]
"""What `evaluate` takes: a folder, a file, one array, or arrays by case."""

_CHANNEL = re.compile(r"_(\d{4})$")


@dataclass(frozen=True)
class Pair:
    """A case to score.

    Attributes:
        case: Identifier of the case.
        prediction: Predicted map.
        label: Label map.
        image: First channel of the image, for pictures.
        scribble: Scribble map, for pictures.
    """

    case: str
    prediction: Source
    label: Source
    image: Source | None = None
    scribble: Source | None = None


def match(
    predictions: Input, labels: Input, images: Input | None = None, scribbles: Input | None = None
) -> tuple[list[Pair], list[Finding]]:
    """Pair predictions with labels, and both with images and scribbles where there are any.

    Two files or two arrays are one pair whatever their names; folders and mappings are matched by case.

    Args:
        predictions: Folder, file, array (Z, Y, X) or arrays by case.
        labels: The same kind.
        images: The same kind, or None. Files are called `<case>` or `<case>_0000`; the first channel is used.
        scribbles: The same kind, or None.

    Returns:
        The pairs in the order of the labels, and a finding for everything without a partner.

    Raises:
        DataError: Something is missing, the kinds differ, or not one pair was found.
    """
    predicted, labelled = _sources(predictions, "predictions"), _sources(labels, "labels")
    kinds = [_kind(predictions), _kind(labels)]
    if kinds[0] != kinds[1]:
        raise DataError(f"expected predictions and labels of one kind, got {kinds[0]} and {kinds[1]}.")
    findings: list[Finding] = []
    pictures = _sources(images, "images") if images is not None else {}
    strokes = _sources(scribbles, "scribbles") if scribbles is not None else {}
    if kinds[0] in ("a file", "an array"):
        case = next(iter(labelled))
        predicted, pictures, strokes = (
            {case: next(iter(found.values()))} if len(found) == 1 else found for found in (predicted, pictures, strokes)
        )
    pairs = []
    for case, label in labelled.items():
        if case in predicted:
            pairs.append(Pair(case, predicted[case], label, pictures.get(case), strokes.get(case)))
        else:
            findings.append(Finding("error", case, "the label has no prediction; predict this case or remove it."))
    for case in predicted.keys() - labelled.keys():
        findings.append(Finding("warning", case, "the prediction has no label, so it is not scored."))
    if not pairs:
        names = [", ".join(list(found)[:3]) or "nothing" for found in (predicted, labelled)]
        raise DataError(
            f"no prediction has the name of a label: predictions hold {names[0]}, labels hold {names[1]}; "
            "name both by case."
        )
    if pictures and not any(pair.image is not None for pair in pairs):
        findings.append(Finding("warning", "", "no image has the name of a case, so the pictures show masks only."))
    return pairs, sorted(findings, key=lambda finding: (finding.severity, finding.case))


def beside(labels: Input, kind: str) -> Path | None:
    """Return the folder of images or scribbles that belongs to a folder `labels<split>` of a dataset, if it exists.

    Args:
        labels: What `evaluate` was given.
        kind: "images" or "scribbles".
    """
    if not isinstance(labels, (str, Path)):
        return None
    folder = Path(labels)
    folder = folder if folder.is_dir() else folder.parent
    if not folder.name.startswith("labels"):
        return None
    sibling = folder.parent / (kind + folder.name.removeprefix("labels"))
    return sibling if sibling.is_dir() and _images_in(sibling) else None


def _kind(source: Input) -> str:
    if isinstance(source, np.ndarray):
        return "an array"
    if isinstance(source, Mapping):
        return "arrays by case"
    return "a folder" if Path(source).is_dir() else "a file"


def _sources(source: Input, what: str) -> dict[str, Source]:
    """Return case -> file or array."""
    if isinstance(source, np.ndarray):
        return {"case": source}
    if isinstance(source, Mapping):
        return {str(case): np.asarray(array) for case, array in source.items()}
    path = Path(source)
    if not path.exists():
        raise DataError(f"{what}: {path} does not exist; check the path.")
    if path.is_file():
        return {strip_ending(path.name): path}
    found: dict[str, Source] = {}
    for file in _images_in(path):
        case = strip_ending(file.name)
        channel = _CHANNEL.search(case) if what == "images" else None
        if channel:
            if channel[1] != "0000":
                continue
            case = case[: channel.start()]
        if case in found:
            raise DataError(f"{what}: two files for case {case}, one of them {file.name}; keep one.")
        found[case] = file
    if not found:
        raise DataError(f"{what}: {path} holds no image files ({', '.join(IMAGE_ENDINGS)}); check the folder.")
    return found


def _images_in(folder: Path) -> list[Path]:
    files = (path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith("."))
    return [path for path in files if path.name.lower().endswith(IMAGE_ENDINGS)]
