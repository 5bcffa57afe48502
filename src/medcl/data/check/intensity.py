"""Are the intensities of an image usable, and on the scale of the other cases?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from medcl.data.check.findings import Finding

_SCALE_FACTOR = 10.0
_SAMPLES = 200_000
_FEW_VALUES = 12
_FEWEST_VOXELS = 1_000


@dataclass(frozen=True)
class Intensities:
    """Intensities of one channel of one case, from an even sample of its finite voxels.

    Attributes:
        low: First percentile.
        high: 99th percentile.
    """

    low: float
    high: float


def check_intensities(case: str, file: str, array: np.ndarray) -> tuple[Intensities | None, list[Finding]]:
    """Look for voxels that are no numbers and for images without contrast.

    Args:
        case: Case id.
        file: File name relative to the data set folder.
        array: One channel (Z, Y, X).

    Returns:
        The channel's intensities (None without a finite voxel or contrast), and errors `image-not-finite` and
        `image-constant`, or the warning `image-like-mask`.
    """
    findings = []
    if np.issubdtype(array.dtype, np.floating):
        broken = array.size - int(np.count_nonzero(np.isfinite(array)))
        if broken:
            nan = int(np.count_nonzero(np.isnan(array)))
            findings.append(
                Finding(
                    "error",
                    "image-not-finite",
                    case,
                    file,
                    f"{broken} of {array.size} voxels are not numbers ({nan} NaN, {broken - nan} infinite)",
                    "Export the image again, or replace these voxels by the value of air",
                    {"voxels": broken, "nan": nan, "infinite": broken - nan},
                )
            )
            array = array[np.isfinite(array)]
    if array.size == 0:
        return None, findings
    lowest, highest = float(array.min()), float(array.max())
    if lowest == highest:
        findings.append(
            Finding(
                "error",
                "image-constant",
                case,
                file,
                f"every voxel has the value {lowest:g}",
                "Replace the file by the true image, or take the case out",
                {"value": lowest},
            )
        )
        return None, findings
    flat = array.reshape(-1)
    sample = flat[:: max(1, flat.size // _SAMPLES)]
    low, high = (float(v) for v in np.percentile(sample, (1, 99)))
    if low == high:  # contrast in less than one voxel of a hundred
        low, high = lowest, highest
    values = mask_values(array)
    if values:
        listed = ", ".join(f"{value:g}" for value in values)
        findings.append(
            Finding(
                "warning",
                "image-like-mask",
                case,
                file,
                f"holds no more than the {len(values)} values {listed}, as masks do",
                "Look whether a mask lies here in place of its image",
                {"values": len(values)},
            )
        )
    return Intensities(low, high), findings


def mask_values(array: np.ndarray) -> tuple[float, ...]:
    """Return the values of an image that looks like a mask: a few whole numbers, none below 0; else nothing.

    Args:
        array: Intensities of any shape. Few voxels say nothing.
    """
    flat = array.reshape(-1)
    if flat.size < _FEWEST_VOXELS:
        return ()
    # An even sample first: of a true image it holds hundreds of values, and the rest need not be sorted.
    for part in (flat[:: max(1, flat.size // _SAMPLES)], flat):
        values = np.unique(part)
        if len(values) > _FEW_VALUES or values[0] < 0 or bool((values != np.round(values)).any()):
            return ()
    return tuple(float(value) for value in values) if len(values) > 1 else ()


def find_odd_scales(channel: str, intensities: Mapping[str, Intensities]) -> list[Finding]:
    """Name cases whose intensities lie on another scale than those of most cases.

    Args:
        channel: Name of the channel.
        intensities: Case id -> intensities of that channel.

    Returns:
        A warning `odd-intensity-scale` per case whose range (1st to 99th percentile) is more than ten times wider or
        narrower than the median range.
    """
    if len(intensities) < 3:
        return []
    ranges = {case: value.high - value.low for case, value in intensities.items()}
    median = float(np.median(list(ranges.values())))
    findings = []
    for case, width in ranges.items():
        factor = max(width / median, median / width)
        if factor > _SCALE_FACTOR:
            value = intensities[case]
            findings.append(
                Finding(
                    "warning",
                    "odd-intensity-scale",
                    case,
                    None,
                    f"channel '{channel}' spans {value.low:.4g} to {value.high:.4g} (1st to 99th percentile), "
                    f"{factor:.0f} times {'wider' if width > median else 'narrower'} than the median case",
                    "Harmless with a normalisation per case (MR); with CT or 8-bit pictures bring all to one scale",
                    {"channel": channel, "low": value.low, "high": value.high, "factor": float(factor)},
                )
            )
    return findings
