"""Masks as DICOM segmentation objects (DICOM PS3.3 A.51) that refer to the series they were drawn on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np

from medcl.data.dicom import ordered_files
from medcl.data.layout import DICOM_ENDINGS
from medcl.errors import DataError, MissingExtraError
from medcl.files import atomic_write

_SCHEME = "99MEDCL"
"""Coding scheme of segment types: class names are the user's own words, and no standard code is guessed for them. Names
of private schemes start with 99 (DICOM PS3.16, section 8.2)."""
_PRODUCT = "medcl"

Origin = Literal["MANUAL", "SEMIAUTOMATIC", "AUTOMATIC"]


def is_dicom_source(path: Path) -> bool:
    """Say whether an image of a dataset is DICOM: a folder, a zip or a single DICOM file."""
    return path.is_dir() or path.suffix.lower() in DICOM_ENDINGS


def write_dicom_seg(
    path: Path | str,
    segments: np.ndarray,
    names: Sequence[str],
    source: Path,
    *,
    description: str,
    origin: Origin = "SEMIAUTOMATIC",
    version: str = "",
    series: str | None = None,
) -> None:
    """Write a map as a binary DICOM segmentation object.

    Patient, study and frame of reference are those of the source series, and every frame names the slice that it lies
    on. Frames without any marked voxel are left out, as the standard allows.

    Args:
        path: The .dcm file; written atomically.
        segments: (Z, Y, X) of integers on the source's grid, slices as `read_image` orders them: 0 is nothing, k is the
            segment `names[k - 1]`.
        names: Names of the segments.
        source: Folder, zip or file of the source series.
        description: Series description of the object.
        origin: Who drew it: 'MANUAL' for strokes, 'SEMIAUTOMATIC' or 'AUTOMATIC' for masks.
        version: Version of the program that made it.
        series: UID of the source series, where `source` holds several.

    Raises:
        MissingExtraError: highdicom is not installed.
        DataError: The source is not DICOM or lacks what a segmentation refers to, another size, or unknown segments.
    """
    path = Path(path)
    for package in ("highdicom", "pydicom"):
        if find_spec(package) is None:
            raise MissingExtraError(package, "dicom", "Writing DICOM segmentations")
    if not is_dicom_source(source):
        raise DataError(
            f"{source.name}: expected a DICOM series to refer to, got another image; ask for NIfTI or NRRD."
        )
    if segments.size and not 0 <= int(segments.min()) <= int(segments.max()) <= len(names):
        raise DataError(
            f"expected segments 0 to {len(names)} ({', '.join(names)}), got {segments.min()} to {segments.max()}."
        )
    with ordered_files(source, series=series) as (files, geometry):
        if segments.shape != geometry.size:
            raise DataError(
                f"{source.name}: expected a map of the series' size (z, y, x) {geometry.size}, got {segments.shape}."
            )
        made = _segmentation(files, segments, names, source, description, origin, version)
    with atomic_write(path) as temporary:
        made.save_as(temporary)


def _segmentation(
    files: Sequence[Path],
    segments: np.ndarray,
    names: Sequence[str],
    source: Path,
    description: str,
    origin: Origin,
    version: str,
) -> Any:
    """Build the object; what its library says about an unusable source becomes one sentence."""
    import highdicom
    import pydicom
    from pydicom.uid import generate_uid

    references = [pydicom.dcmread(file, stop_before_pixels=True) for file in files]
    small = np.ascontiguousarray(segments, dtype=np.uint8 if len(names) < 256 else np.uint16)
    try:
        return highdicom.seg.Segmentation(
            source_images=references,
            pixel_array=small,
            segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=[_described(number, name, origin, version) for number, name in enumerate(names, 1)],
            series_instance_uid=generate_uid(),
            series_number=_series_number(references[0]),
            sop_instance_uid=generate_uid(),
            instance_number=1,
            manufacturer=_PRODUCT,
            manufacturer_model_name=_PRODUCT,
            software_versions=version or "unknown",
            device_serial_number="0",
            series_description=description[:64],
            content_label="SEGMENTATION",
        )
    except (AttributeError, ValueError, TypeError, KeyError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise DataError(
            f"{source.name}: expected a DICOM series that a segmentation can refer to, but {reason.rstrip('.')}; "
            "ask for NIfTI or NRRD."
        ) from None


def _described(number: int, name: str, origin: Origin, version: str) -> Any:
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.seg import SegmentDescription
    from pydicom.sr.codedict import codes
    from pydicom.sr.coding import Code

    word = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")[:12] or "class"
    algorithm = None
    if origin != "MANUAL":
        family = Code("123109", "DCM", "Artificial Intelligence")  # DICOM PS3.16, CID 7162
        algorithm = AlgorithmIdentificationSequence(name=_PRODUCT, version=version or "unknown", family=family)
    return SegmentDescription(
        segment_number=number,
        segment_label=name[:64],
        segmented_property_category=codes.SCT.AnatomicalStructure,
        segmented_property_type=Code(f"{word}_{number}", _SCHEME, name[:64]),
        algorithm_type=origin,
        algorithm_identification=algorithm,
    )


def _series_number(reference: Any) -> int:
    """Return a number beside the source's; series are told apart by UID, the number is for people."""
    try:
        return int(reference.get("SeriesNumber") or 0) % 1_000_000 + 1000
    except (TypeError, ValueError):
        return 1000
