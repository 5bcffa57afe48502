"""Check a data set folder: its files, and how well the strokes cover the images.

Lives beside the coverage measure because the floors below (`data`) may not import it; `medcl.data.check` holds the
checks of files.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medcl.data.check import DrawnCase, Finding, FindingGroup, Inspection, group_findings, read_contents
from medcl.data.check.geometry import TOLERANCE_MM
from medcl.data.labels import UNLABELLED
from medcl.data.raters import Kind
from medcl.scribbles.contradictions import Contradiction, find_contradictions
from medcl.scribbles.coverage import CaseCoverage, measure_coverage
from medcl.scribbles.known import find_unusual
from medcl.scribbles.measure import StrokeRow, measure_strokes

_MEASURED_SLICES, _MEASURED_IN_ALL = 4, 80  # slices per scribble and in all whose strokes are measured
FAR_SHARE = 1 / 3
"""Share of an image's in-plane diagonal beyond which a pixel counts as far from every stroke."""


@dataclass(frozen=True)
class CheckReport:
    """Everything that a check found.

    Attributes:
        folder: The data set folder.
        classes: Class names by index; empty where dataset.json does not say.
        cases: Number of cases in all parts.
        findings: All findings, in the order of the cases.
        coverage: One entry per scribble file that could be read.
        contradictions: What each pair of raters says differently, case by case; empty for one person's data.
    """

    folder: Path
    classes: tuple[str, ...]
    cases: int
    findings: tuple[Finding, ...]
    coverage: tuple[CaseCoverage, ...]
    contradictions: tuple[Contradiction, ...] = ()

    @property
    def ok(self) -> bool:
        """True where nothing is an error."""
        return not any(finding.severity == "error" for finding in self.findings)

    @property
    def counts(self) -> dict[str, int]:
        """Number of findings by severity."""
        counted = Counter(finding.severity for finding in self.findings)
        return {"error": counted["error"], "warning": counted["warning"], "note": counted["note"]}

    def groups(self) -> list[FindingGroup]:
        """Return the findings put together by kind, errors first."""
        return group_findings(self.findings)

    def find(self, code: str) -> list[Finding]:
        """Return the findings of one kind."""
        return [finding for finding in self.findings if finding.code == code]

    def to_dict(self) -> dict[str, Any]:
        """Return the whole report as JSON values."""
        return {
            "folder": str(self.folder),
            "ok": self.ok,
            "classes": list(self.classes),
            "cases": self.cases,
            "counts": self.counts,
            "findings": [finding.to_dict() for finding in self.findings],
            "coverage": [case.to_dict() for case in self.coverage],
            "contradictions": [one.to_dict() for one in self.contradictions],
        }

    def to_json(self) -> str:
        """Return the whole report as JSON text."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)


def check(
    folder: str | Path,
    *,
    scribbles: str | None = None,
    tolerance_mm: float = TOLERANCE_MM,
    far_share: float = FAR_SHARE,
    progress: Callable[[int, int, str], None] | None = None,
) -> CheckReport:
    """Check a data set folder and report all findings at once.

    Every file is opened once; a broken one becomes a finding and the check goes on. Memory is bounded by the largest
    case.

    Args:
        folder: Data set folder.
        scribbles: One annotator's folder where `scribblesTr` holds several; default: all of them.
        tolerance_mm: Largest difference in spacing, origin and far corner that counts as equal.
        far_share: Warn where a pixel is farther from every stroke than this share of the image's in-plane diagonal.
        progress: Called before each case with cases done, cases in all and the case's id.

    Returns:
        The report.

    Raises:
        DataError: There is no such folder, or no such annotator. Nothing else is raised for what is in it.
    """
    folder = Path(folder)
    contents = read_contents(folder, scribbles)
    coverage: list[CaseCoverage] = []
    measured_strokes: list[StrokeRow] = []
    slices_left = _MEASURED_IN_ALL

    def look(drawn: DrawnCase) -> list[Finding]:
        if contents.labels is None or contents.labels.strokes.ignore is None:
            return []
        measured = measure_coverage(
            drawn.scribble,
            drawn.geometry.spacing_mm,
            contents.classes,
            case=drawn.case,
            file=drawn.file,
            label=drawn.label,
            inside=drawn.inside,
        )
        coverage.append(measured)
        nonlocal slices_left
        held = [int(z) for z in np.flatnonzero((drawn.scribble != UNLABELLED).any(axis=(1, 2)))]
        chosen = held[:: max(1, len(held) // _MEASURED_SLICES)][: min(_MEASURED_SLICES, slices_left)]
        slices_left -= len(chosen)
        measured_strokes.extend(
            measure_strokes(drawn.scribble, drawn.geometry.spacing_mm, drawn.label, case=drawn.case, slices=chosen)
        )
        return find_far(measured, far_share)

    inspection = Inspection(contents, tolerance_mm=tolerance_mm, look=look)
    for number, files in enumerate(contents.cases):
        if progress is not None:
            progress(number, len(contents.cases), files.case.id)
        inspection.check_case(files)
    inspection.finish()
    total = len(contents.cases)
    kinds: tuple[Kind, ...] = ("labels", "scribbles") if scribbles is None else ("labels",)
    told = {
        finding.case
        for finding in inspection.findings
        if finding.severity == "error" and finding.case and (finding.file or "").startswith("labels")
    }
    contradictions, about_raters = find_contradictions(
        folder, kinds, told=told, progress=None if progress is None else lambda case: progress(total, total, case)
    )
    findings = (*inspection.findings, *find_unusual(measured_strokes), *about_raters)
    return CheckReport(folder, contents.classes, total, findings, tuple(coverage), tuple(contradictions))


def find_far(coverage: CaseCoverage, far_share: float = FAR_SHARE) -> list[Finding]:
    """Warn where a part of the image lies far from every stroke.

    Args:
        coverage: Coverage of a case.
        far_share: Share of the in-plane diagonal that counts as far.

    Returns:
        A warning `far-from-strokes` that names the place for the next stroke, or nothing.
    """
    if coverage.farthest_mm is None or coverage.farthest_at is None:
        return []
    if coverage.farthest_mm <= far_share * coverage.field_mm:
        return []
    z, y, x = coverage.farthest_at
    return [
        Finding(
            "warning",
            "far-from-strokes",
            coverage.case,
            coverage.file,
            f"slice {z}, y {y}, x {x} is {coverage.farthest_mm:.0f} mm from the nearest stroke "
            f"({coverage.farthest_mm / coverage.field_mm:.0%} of the image's diagonal)",
            "Add a stroke there (background, if it is): masks get messy far from strokes",
            {
                "distance_mm": coverage.farthest_mm,
                "slice": z,
                "y": y,
                "x": x,
                "diagonal_mm": coverage.field_mm,
                "measured_in": f"{coverage.ndim}D",
            },
        )
    ]
