"""The best, the median and the worst case of an evaluation as pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from medcl.data.io import read_image
from medcl.data.labels import UNLABELLED
from medcl.errors import DataError
from medcl.evaluation.blocks import Block, Gallery, Legend, Picture, Section, Text
from medcl.evaluation.matching import Pair
from medcl.evaluation.pictures import BACKGROUND_COLOUR, Slice, best_slices, colour_of, picture
from medcl.evaluation.reading import Codes, load, read_pair
from medcl.evaluation.results import EvaluationResult, Finding
from medcl.evaluation.statistics import case_means


def example_section(
    result: EvaluationResult, pairs: Sequence[Pair], codes: Codes, spacing_mm: Sequence[float] | None = None
) -> tuple[Section, list[Finding]]:
    """Draw the cases with the best, median and worst mean Dice, on the slice with most structure and the worst one.

    Args:
        result: Scores that rank the cases.
        pairs: Where the maps and images are.
        codes: What file values mean.
        spacing_mm: Spacing (z, y, x) of arrays.

    Returns:
        The section, and a finding for every image or scribble that could not be drawn.
    """
    by_case = {pair.case: pair for pair in pairs}
    blocks: list[Block] = []
    notes: list[Finding] = []
    unlabelled = False
    for title, case, score in ranked(result):
        gallery, hidden, more = _gallery(title, score, by_case[case], codes, spacing_mm)
        blocks.append(gallery)
        notes += more
        unlabelled |= hidden
    if not blocks:
        return Section("Examples", [Text("No case has a Dice to rank by.")]), notes
    colours = {name: colour_of(index) for index, name in enumerate(result.classes) if index}
    colours["outline of the label"] = "#ffffff"
    if any(pair.scribble is not None for pair in pairs):
        colours["background stroke"] = BACKGROUND_COLOUR
    if unlabelled:
        colours["unlabelled (hatched)"] = BACKGROUND_COLOUR
    text = "Cases by their mean Dice over structures. Slices are shown as stored, in their true proportions."
    return Section("Best, median and worst case", [Legend(colours), *blocks], intro=text), notes


def ranked(result: EvaluationResult) -> list[tuple[str, str, float]]:
    """Return (title, case, mean Dice) of the best, median and worst case; fewer with fewer than three cases."""
    scored = [(score, case) for case, score in case_means(result.scores).items() if not math.isnan(score)]
    scored.sort(key=lambda item: (-item[0], item[1]))
    if not scored:
        return []
    if len(scored) == 1:
        return [("Only case", scored[0][1], scored[0][0])]
    places = {"Best": 0, "Median": len(scored) // 2, "Worst": len(scored) - 1}
    if len(scored) == 2:
        del places["Median"]
    return [(title, scored[place][1], scored[place][0]) for title, place in places.items()]


def _gallery(
    title: str, score: float, pair: Pair, codes: Codes, spacing_mm: Sequence[float] | None
) -> tuple[Gallery, bool, list[Finding]]:
    prediction, label, geometry = read_pair(pair, codes, spacing_mm)
    notes: list[Finding] = []
    image, scribble = _image(pair, label.shape, notes), _scribble(pair, codes, label.shape, notes)
    panels = [("label", "label"), ("prediction", "prediction")]
    if image is not None or scribble is not None:
        panels.insert(0, ("strokes", "image and strokes" if scribble is not None else "image"))
    pictures = []
    for index in best_slices(label, prediction):
        view = Slice(
            label=label[index],
            prediction=prediction[index],
            image=None if image is None else image[:, index],
            scribble=None if scribble is None else scribble[index],
            spacing_mm=geometry.spacing_mm[1:],
        )
        where = f"slice {index + 1} of {label.shape[0]}" if label.shape[0] > 1 else ""
        for show, name in panels:
            words = f"{name}, {where}" if where else name
            alt = f"{title} case {pair.case}: {words}"
            pictures.append(Picture(picture(view, show=show), alt, words[0].upper() + words[1:]))
    detail = f"mean Dice {score:.3f}"
    return (
        Gallery(pictures, f"{title}: {pair.case}", detail, columns=len(panels)),
        bool((label == UNLABELLED).any()),
        notes,
    )


def _image(pair: Pair, shape: tuple[int, ...], notes: list[Finding]) -> np.ndarray | None:
    """Return the image (C, Z, Y, X) where it fits, else None and a note: pictures are no reason to lose scores."""
    if pair.image is None:
        return None
    try:
        array = read_image(pair.image).array if not isinstance(pair.image, np.ndarray) else pair.image
    except DataError as error:
        notes.append(Finding("note", pair.case, f"the image is not shown: {error}"))
        return None
    array = array if array.ndim == 4 else array[None]
    if array.shape[1:] != shape:
        text = f"the image is not shown: its size {array.shape[1:]} is not the label's {shape}."
        notes.append(Finding("note", pair.case, text))
        return None
    return array


def _scribble(pair: Pair, codes: Codes, shape: tuple[int, ...], notes: list[Finding]) -> np.ndarray | None:
    if pair.scribble is None:
        return None
    try:
        values, _ = load(pair.scribble, None)
        if codes.strokes.ignore is None:
            raise DataError("no value is known to mean unlabelled; name it with ignore.")
        decoded = codes.strokes.decode(values, f"the scribble of case {pair.case}")
        if decoded.shape != shape:
            raise DataError(f"its size {decoded.shape} is not the label's {shape}.")
    except DataError as error:
        notes.append(Finding("note", pair.case, f"the strokes are not shown: {error}"))
        return None
    return decoded
