"""Do label and scribble files hold the integers that dataset.json names?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from medcl.data.check.findings import Finding, shorten
from medcl.data.labels import UNLABELLED


def check_values(
    case: str, file: str, array: np.ndarray, index_of_value: Mapping[int, int] | None
) -> tuple[np.ndarray | None, list[Finding]]:
    """Check the values of a label or scribble file and translate them to class indices.

    Args:
        case: Case id.
        file: File name relative to the data set folder.
        array: Values as the file holds them (Z, Y, X), any dtype.
        index_of_value: File value -> class index, the ignore value -> UNLABELLED; None where dataset.json is not
            understood: then values are only checked for being integers.

    Returns:
        The map (int16, (Z, Y, X)) with UNLABELLED where the ignore value or no usable value is, or None where
        `index_of_value` is None; and errors `label-not-finite`, `label-not-integer`, `label-unknown-value`.
    """
    findings = []
    usable = np.ones(array.shape, dtype=bool)
    values = array
    if np.issubdtype(array.dtype, np.floating):
        finite = np.isfinite(array)
        whole = np.zeros_like(finite)
        whole[finite] = array[finite] == np.rint(array[finite])
        for code, wrong, what in (
            ("label-not-finite", ~finite, "are not numbers (NaN or infinite)"),
            ("label-not-integer", finite & ~whole, "are no integers"),
        ):
            count = int(np.count_nonzero(wrong))
            if count:
                fractions = array[wrong & finite][:10_000]
                examples = [float(value) for value in np.unique(fractions)[:4]]
                such_as = f", such as {shorten(f'{value:g}' for value in examples)}" if examples else ""
                findings.append(
                    Finding(
                        "error",
                        code,
                        case,
                        file,
                        f"{count} of {array.size} values {what}{such_as}",
                        "Save the map with an integer type, without interpolation or smoothing",
                        {"pixels": count, "values": examples},
                    )
                )
        usable = whole
        values = np.where(whole, array, 0)
    values = values.astype(np.int64, copy=False)
    if index_of_value is None:
        return None, findings
    result = np.full(array.shape, UNLABELLED, dtype=np.int16)
    unknown: dict[int, int] = {}
    found, counts = np.unique(values if usable.all() else values[usable], return_counts=True)
    for value, count in zip(found.tolist(), counts.tolist(), strict=True):
        if value not in index_of_value:
            unknown[value] = count
        elif index_of_value[value] != UNLABELLED:
            result[(values == value) & usable] = index_of_value[value]
    if unknown:
        listed = shorten(f"{value} ({count} pixels)" for value, count in unknown.items())
        findings.append(
            Finding(
                "error",
                "label-unknown-value",
                case,
                file,
                f"values that dataset.json does not name: {listed}; it names {shorten(sorted(index_of_value), 30)}",
                "Name the values under 'labels' in dataset.json, or correct the file",
                {"pixels": {str(value): count for value, count in unknown.items()}},
            )
        )
    return result, findings
