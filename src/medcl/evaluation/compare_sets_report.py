"""The report of two compared sets: the answer, the features that differ, and scans of both side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medcl.data.geometry import Image
from medcl.data.labels import UNLABELLED
from medcl.evaluation.blocks import Block, Card, Cards, Figure, Figures, Gallery, Picture, Section, Table, Text
from medcl.evaluation.compare_sets import SetComparison
from medcl.evaluation.frechet import standardise
from medcl.evaluation.pictures import Slice, picture
from medcl.evaluation.plots import box_plot
from medcl.evaluation.provenance import machine, versions
from medcl.evaluation.report import write_report

_SHOWN = 12


def write_set_report(
    path: Path, result: SetComparison, shown: Sequence[Sequence[Image]], *, titles: tuple[str, str]
) -> None:
    """Write the HTML page, atomically.

    Args:
        path: The file.
        result: What was found.
        shown: A few scans of A and of B.
        titles: Names of A and B.
    """
    write_report(
        path,
        None,
        title="Two sets of scans",
        subtitle=f"A: {titles[0]} ({len(result.cases[0])} scans), B: {titles[1]} ({len(result.cases[1])} scans)",
        settings={"features by": result.library, "draws": len(result.distance.usual)},
        versions=versions() | machine(),
        extra_sections=[_answer(result), _differing(result), *_scans(shown, titles)],
    )


def _answer(result: SetComparison) -> Section:
    usual = result.distance.usual
    low, middle, high = (float(np.percentile(usual, q)) for q in (5, 50, 95))
    across = "of splits of A lie as far apart"
    blocks: list[Block] = [
        Text(result.sentence[0].upper() + result.sentence[1:], "warning" if result.unlike else "plain"),
        Cards(
            [
                Card("Frechet radiomic distance", f"{result.distance.distance:.3g}", "A to B, standardised features"),
                Card("Usual within A", f"{middle:.3g}", f"{low:.3g} to {high:.3g} in 9 of 10 splits"),
                Card("As far by chance", f"{result.distance.share:.1%}", across),
            ]
        ),
        *(Text(f"Left out: {line}", "warning") for line in result.skipped),
    ]
    return Section("Answer", blocks)


def _differing(result: SetComparison) -> Section:
    rows = [
        [one.name, f"{one.mean_a:.4g}", f"{one.mean_b:.4g}", f"{one.shift:+.2f}", f"{one.p:.2g}"]
        for one in result.differences[:_SHOWN]
    ]
    table = Table(
        "Features that differ most", ["feature", "mean of A", "mean of B", "shift (SD of A)", "p (not corrected)"], rows
    )
    one, two = result.features
    a, b = standardise(one, one), standardise(two, one)
    figures = []
    for difference in result.differences[:6]:
        k = result.names.index(difference.name)
        groups = {"A": a[:, k].tolist(), "B": b[:, k].tolist()}
        alt = f"{difference.name}: B lies {difference.shift:+.2f} standard deviations of A from the mean of A."
        figures.append(Figure(box_plot(groups, f"{difference.name} (SD of A)"), alt, difference.name))
    return Section("What differs", [table, Figures(figures)])


def _scans(shown: Sequence[Sequence[Image]], titles: tuple[str, str]) -> list[Section]:
    galleries = []
    for name, title, images in zip("AB", titles, shown, strict=True):
        pictures = [Picture(_middle(image), f"Middle slice of a scan of {name}.") for image in images]
        galleries.append(Gallery(pictures, f"{name}: {title}", columns=4))
    return [Section("Scans", galleries)]


def _middle(image: Image) -> bytes:
    plane = image.array[:, image.array.shape[1] // 2].astype(np.float32)
    grey = plane if plane.shape[0] == 3 else plane[0]
    empty = np.full(plane.shape[1:], UNLABELLED, np.int16)
    spacing = image.geometry.spacing_mm
    return picture(Slice(empty, image=grey, spacing_mm=(spacing[1], spacing[2])), show="strokes", crop=False)
