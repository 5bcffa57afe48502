"""Do the files of a case lie on one grid, and are the cases of a data set alike in spacing?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from medcl.data.check.findings import Finding
from medcl.data.geometry import Geometry

TOLERANCE_MM = 1e-3
_SPACING_FACTOR = 3.0


def compare_geometry(
    case: str,
    file: str,
    found: Geometry,
    reference_file: str,
    expected: Geometry,
    tolerance_mm: float = TOLERANCE_MM,
) -> list[Finding]:
    """Compare a file's grid with that of the case's first image.

    Args:
        case: Case id.
        file: File that is judged, relative to the data set folder.
        found: Its geometry.
        reference_file: The case's first image.
        expected: That image's geometry.
        tolerance_mm: Largest difference that counts as equal.

    Returns:
        One error per property that differs: `size-mismatch`, `spacing-mismatch`, `origin-mismatch`,
        `direction-mismatch`.
    """
    findings = []
    for difference in found.differences(expected, tolerance_mm):
        which = difference.split()[0]
        amounts: dict[str, Any] = {"tolerance_mm": tolerance_mm}
        for role, geometry in (("found", found), ("expected", expected)):
            value = {
                "size": geometry.size,
                "spacing": geometry.spacing_mm,
                "origin": geometry.origin_mm,
                "direction": geometry.direction,
            }[which]
            amounts[role] = list(value)
        findings.append(
            Finding(
                "error",
                f"{which}-mismatch",
                case,
                file,
                f"{file} and {reference_file} should lie on one grid, but differ in {difference}",
                "Export the file again from the image it was drawn on"
                if which == "size"
                else "Copy the image's header to the file if the voxels fit, else resample it to the image's grid",
                amounts,
            )
        )
    return findings


def find_odd_spacings(spacings_mm: Mapping[str, tuple[float, float, float]]) -> list[Finding]:
    """Name cases whose spacing is far from the median of the data set.

    Args:
        spacings_mm: Case id -> spacing (z, y, x) in mm.

    Returns:
        A warning `odd-spacing` per case that differs by more than a factor of three along an axis.
    """
    if len(spacings_mm) < 3:
        return []
    median = np.median(np.array(list(spacings_mm.values())), axis=0)
    findings = []
    for case, spacing in spacings_mm.items():
        ratio = np.array(spacing) / median
        worst = int(np.argmax(np.abs(np.log(ratio))))
        factor = float(max(ratio[worst], 1 / ratio[worst]))
        if factor > _SPACING_FACTOR:
            findings.append(
                Finding(
                    "warning",
                    "odd-spacing",
                    case,
                    None,
                    f"spacing along {'zyx'[worst]} is {spacing[worst]:.4g} mm, the median of the data set is "
                    f"{median[worst]:.4g} mm (factor {factor:.1f})",
                    "Check the header: a unit other than mm, or thick slices mixed with thin ones?",
                    {"spacing_mm": list(spacing), "median_mm": [float(v) for v in median], "factor": factor},
                )
            )
    return findings
