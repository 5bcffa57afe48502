"""One pass over all cases: every file is read once, every check runs, nothing stops the pass.

A case's arrays are dropped before the next case is read, so memory is bounded by the largest case.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medcl.data.check.contents import CaseFiles, Contents
from medcl.data.check.duplicates import Duplicates, fingerprint
from medcl.data.check.findings import Finding
from medcl.data.check.geometry import TOLERANCE_MM, compare_geometry, find_odd_spacings
from medcl.data.check.intensity import Intensities, check_intensities, find_odd_scales
from medcl.data.check.labels import check_values
from medcl.data.check.reading import read_checked, read_map_checked
from medcl.data.check.strokes import check_all_drawn, check_classes, check_unlabelled, compare_maps
from medcl.data.geometry import Geometry
from medcl.data.labels import UNLABELLED, Encoding

_UNSPACED = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class DrawnCase:
    """A scribble whose file was understood.

    Attributes:
        case: Case id.
        file: Scribble file relative to the data set folder.
        scribble: Map (Z, Y, X) of class indices and UNLABELLED.
        label: Dense map of the case on the same grid, or None.
        inside: Boolean (Z, Y, X): pixels that are not constant margin of the image; None where that is not known.
        geometry: Grid of the scribble.
    """

    case: str
    file: str
    scribble: np.ndarray
    label: np.ndarray | None
    inside: np.ndarray | None
    geometry: Geometry


class Inspection:
    """The checks of one data set folder.

    Args:
        contents: What the folder holds.
        tolerance_mm: Largest difference in geometry that counts as equal.
        look: Called with every scribble that was understood; what it returns is added to the findings.
    """

    def __init__(
        self,
        contents: Contents,
        *,
        tolerance_mm: float = TOLERANCE_MM,
        look: Callable[[DrawnCase], Iterable[Finding]] | None = None,
    ) -> None:
        self.contents = contents
        self.findings: list[Finding] = list(contents.findings)
        self._tolerance_mm = tolerance_mm
        self._look = look
        self._duplicates = Duplicates()
        self._spacings: dict[str, tuple[float, float, float]] = {}
        self._intensities: dict[str, dict[str, Intensities]] = {}
        self._drawn_in: Counter[int] = Counter()
        self._sources = 0

    def check_case(self, files: CaseFiles) -> None:
        """Read and check all files of a case."""
        case = files.case
        geometry, reference, inside = self._check_images(files)
        label: np.ndarray | None = None
        table = self.contents.labels
        if case.label is not None:
            label, label_grid = self._read_map(files, case.label, "label", table.dense if table else None)
            label_grid = self._check_grid(files, case.label, label_grid, reference, geometry)
            if geometry is None:
                geometry, reference = label_grid, case.label
        drawn: dict[str, np.ndarray] = {}
        for path in files.scribbles.values():
            scribble, grid = self._read_map(files, path, "scribble", table.strokes if table else None)
            grid = self._check_grid(files, path, grid, reference, geometry)
            if scribble is None or grid is None:
                continue
            fitting = label if label is not None and label.shape == scribble.shape else None
            margin = inside if inside is not None and inside.shape == scribble.shape else None
            drawn[self.contents.relative(path)] = scribble
            self._check_strokes(files, path, scribble, fitting)
            if self._look is not None:
                file = self.contents.relative(path)
                self.findings += self._look(DrawnCase(case.id, file, scribble, fitting, margin, grid))
        self._compare(files, drawn, label)
        dense = [label] if case.label is not None else self._read_people(files, reference, geometry)
        self._count_classes(files, list(drawn.values()) or [one for one in dense if one is not None])

    def finish(self) -> None:
        """Check what only shows when all cases have been seen."""
        classes = self.contents.classes
        trained = any(files.case.split == "Tr" for files in self.contents.cases)
        if classes and trained:
            never = check_all_drawn(classes, self._drawn_in, self._sources)
            missing = {finding.amounts.get("class") for finding in never if finding.code == "class-never-drawn"}
            background = any(finding.code == "background-never-drawn" for finding in never)
            self.findings = [
                finding
                for finding in self.findings
                if not (finding.code == "class-not-drawn" and finding.amounts.get("class") in missing)
                and not (finding.code == "background-not-drawn" and background)
            ]
            self.findings += never
        self.findings += find_odd_spacings(self._spacings)
        for channel, intensities in self._intensities.items():
            self.findings += find_odd_scales(channel, intensities)
        self.findings += self._duplicates.findings()
        if self.contents.cases and all(
            files.case.images[0].name.lower().endswith(_UNSPACED) for files in self.contents.cases
        ):
            text = "the image files carry no spacing; a pixel counts as 1 mm"
            todo = "Read every distance in mm as pixels, or save the images as NIfTI with their spacing"
            self.findings.append(Finding("note", "no-spacing", None, None, text, todo))

    def _check_images(self, files: CaseFiles) -> tuple[Geometry | None, Path | None, np.ndarray | None]:
        """Check the channels one by one; return the grid, the file it comes from and where the image is no margin."""
        case, contents = files.case, self.contents
        geometry: Geometry | None = None
        reference: Path | None = None
        inside: np.ndarray | None = None
        held, whole = 0, True
        digests: list[str] = []
        for path in case.images:
            file = contents.relative(path)
            image = read_checked(case.id, file, path)
            if isinstance(image, Finding):
                self.findings.append(image)
                whole = False
                continue
            if geometry is None:
                geometry, reference = image.geometry, path
                inside = find_inside(image.array[0])
                self._spacings[case.id] = geometry.spacing_mm
            else:
                self._check_grid(files, path, image.geometry, reference, geometry)
            for number, channel in enumerate(image.array):
                values, found = check_intensities(case.id, file, channel)
                self.findings += found
                index = held + number
                if values is not None and index < len(contents.channels):
                    self._intensities.setdefault(contents.channels[index], {})[case.id] = values
            held += len(image.array)
            digests.append(fingerprint(image.array))
        if whole and not case.missing and held != len(contents.channels):
            self.findings.append(
                Finding(
                    "error",
                    "channel-count",
                    case.id,
                    contents.relative(case.images[0]),
                    f"expected {len(contents.channels)} channels ({', '.join(contents.channels)}), found {held}",
                    "Add the missing files (_0001, ...), or correct 'channel_names' in dataset.json",
                    {"expected": len(contents.channels), "found": held},
                )
            )
        if whole and digests:
            file = contents.relative(case.images[0])
            self._duplicates.add("image", "".join(digests), case.split, case.id, file)
        return geometry, reference, inside

    def _read_map(
        self, files: CaseFiles, path: Path, kind: str, encoding: Encoding | None, *, by: str = ""
    ) -> tuple[np.ndarray | None, Geometry | None]:
        """Read a map; None in place of the map where it cannot be used, of the geometry where it cannot be read."""
        case, file = files.case.id, self.contents.relative(path)
        array, grid, wrong = read_map_checked(case, file, path)
        if wrong is not None:
            self.findings.append(wrong)
        if array is None:
            return None, grid
        values: dict[int, int] | None = None
        if encoding is not None:
            values = {value: index for index, value in enumerate(encoding.values) if value is not None}
            if encoding.ignore is not None:
                values[encoding.ignore] = UNLABELLED
        result, found = check_values(case, file, array, values)
        self.findings += found
        if result is not None and not found and result.min() != result.max():
            self._duplicates.add(kind, by + fingerprint(result), files.case.split, case, file)
        return result, grid

    def _read_people(
        self, files: CaseFiles, reference: Path | None, geometry: Geometry | None
    ) -> list[np.ndarray | None]:
        """Read what each rater labelled in a case without a label that is nobody's in particular."""
        table, maps = self.contents.labels, []
        for rater, path in files.labels.items():
            label, grid = self._read_map(files, path, "label", table.dense if table else None, by=rater)
            self._check_grid(files, path, grid, reference, geometry)
            maps.append(label)
        return maps

    def _check_grid(
        self,
        files: CaseFiles,
        path: Path,
        grid: Geometry | None,
        reference: Path | None,
        expected: Geometry | None,
    ) -> Geometry | None:
        """Report where a file lies on another grid than the case's first image; hand the grid through."""
        if grid is not None and reference is not None and expected is not None:
            relative = self.contents.relative
            self.findings += compare_geometry(
                files.case.id, relative(path), grid, relative(reference), expected, self._tolerance_mm
            )
        return grid

    def _check_strokes(self, files: CaseFiles, path: Path, scribble: np.ndarray, label: np.ndarray | None) -> None:
        case, file, table = files.case, self.contents.relative(path), self.contents.labels
        if table is None or table.strokes.ignore is None:
            return
        self.findings += check_unlabelled(case.id, file, scribble, table.classes)
        self.findings += check_classes(case.id, file, scribble, table.classes, case.annotated, label)

    def _compare(self, files: CaseFiles, drawn: dict[str, np.ndarray], label: np.ndarray | None) -> None:
        """Compare all maps of a case with one another."""
        case, classes = files.case, self.contents.classes
        maps = list(drawn.items())
        for number, (file, first) in enumerate(maps):
            for other, second in maps[number + 1 :]:
                if first.shape == second.shape:
                    self.findings += compare_maps(case.id, file, first, other, second, classes, dense=False)
            if label is not None and case.label is not None and first.shape == label.shape:
                other = self.contents.relative(case.label)
                self.findings += compare_maps(case.id, file, first, other, label, classes, dense=True)

    def _count_classes(self, files: CaseFiles, maps: list[np.ndarray]) -> None:
        """Count in which training cases each class is shown; say where nothing is."""
        case = files.case
        shown = {int(value) for array in maps for value in np.unique(array)} - {UNLABELLED}
        if case.split == "Tr":
            self._drawn_in.update(shown)
            self._sources += bool(shown)
            if not files.annotated:
                text, todo = "has neither scribble nor label", "Nothing: it serves as an image without annotation"
                self.findings.append(Finding("note", "case-not-annotated", case.id, None, text, todo))
        elif case.split == "Val" and not files.annotated:
            text, todo = "has nothing to validate on", "Add its dense label to labelsVal, or move it to imagesTs"
            self.findings.append(Finding("warning", "validation-not-annotated", case.id, None, text, todo))


def find_inside(array: np.ndarray) -> np.ndarray | None:
    """Find the pixels that are not constant margin.

    Args:
        array: One channel (Z, Y, X).

    Returns:
        Boolean (Z, Y, X), False where a pixel has the value that most corners of the slices share (padding, air at
        zero); None where corners share no value, or nothing else would be left.
    """
    corners = array[:, [0, 0, -1, -1], [0, -1, 0, -1]].ravel()
    values, counts = np.unique(corners, return_counts=True)
    most = int(np.argmax(counts))
    if 2 * int(counts[most]) <= corners.size or not np.isfinite(values[most]):
        return None
    inside: np.ndarray = array != values[most]
    return inside if inside.any() else None
