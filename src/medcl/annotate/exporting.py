"""Masks, strokes and labels of a case as files for other programs, on the image's own grid."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np

from medcl.data.dataset import Dataset
from medcl.data.dicom_seg import Origin, write_dicom_seg
from medcl.data.io import read_geometry, write_map
from medcl.data.labels import UNLABELLED
from medcl.data.layout import Case
from medcl.errors import DataError

What = Literal["mask", "strokes", "label"]
Format = Literal["nifti", "nrrd", "dicom-seg"]

ENDINGS: dict[Format, str] = {"nifti": ".nii.gz", "nrrd": ".nrrd", "dicom-seg": ".dcm"}
MEDIA_TYPES: dict[Format, str] = {
    "nifti": "application/gzip",
    "nrrd": "application/octet-stream",
    "dicom-seg": "application/dicom",
}
_ORIGINS: dict[What, Origin] = {"mask": "AUTOMATIC", "strokes": "MANUAL", "label": "SEMIAUTOMATIC"}


def file_name(case_id: str, what: What, form: Format) -> str:
    """Return the name of an exported file: 'case_01_mask.nii.gz'."""
    return f"{case_id}_{what}{ENDINGS[form]}"


def write_export(path: Path, indices: np.ndarray, case: Case, dataset: Dataset, what: What, form: Format) -> None:
    """Write one map of a case.

    NIfTI and NRRD hold the values of `dataset.json`: those of dense labels for masks and labels, those of scribbles for
    strokes, with `ignore` where nothing is drawn. DICOM segmentations hold one segment a structure, and of strokes one
    more for the background's; what is unlabelled is in no segment.

    Args:
        path: The file to write; its ending is that of the format.
        indices: (Z, Y, X) class indices and `UNLABELLED`, in the grid of the case's image.
        case: Whose map it is.
        dataset: What values mean.
        what: Kind of the map.
        form: Kind of the file.

    Raises:
        DataError: A DICOM segmentation of an image that is not DICOM, or a class without a value.
        MissingExtraError: highdicom is not installed.
    """
    if form == "dicom-seg":
        from medcl import __version__

        names = list(dataset.classes[1:])
        segments = np.where(indices == UNLABELLED, 0, indices)
        if what == "strokes":  # background strokes say something: they come last, so that structures keep their numbers
            names.append(dataset.classes[0])
            segments = np.where(indices == 0, len(names), segments)
        title = {"mask": "mask by medcl", "strokes": "strokes for medcl", "label": "label reviewed in medcl"}[what]
        source = case.images[0]
        try:
            write_dicom_seg(
                path, segments, names, source, description=title, origin=_ORIGINS[what], version=__version__
            )
        except DataError as error:
            raise DataError(f"case {case.id}: {error}") from None
        return
    encoding = dataset.labels.strokes if what == "strokes" else dataset.labels.dense
    geometry = read_geometry(case.images[0])
    try:
        write_map(path, encoding.encode(indices), geometry)
    except DataError as error:
        raise DataError(f"case {case.id}: {error}") from None


@contextmanager
def scratch_file(name: str) -> Iterator[Path]:
    """Give a path in a temporary folder of its own, which goes when the block ends."""
    with tempfile.TemporaryDirectory(prefix="medcl-export-") as folder:
        yield Path(folder) / name


def export_bytes(indices: np.ndarray, case: Case, dataset: Dataset, what: What, form: Format) -> bytes:
    """Return what `write_export` writes."""
    with scratch_file(f"map{ENDINGS[form]}") as path:
        write_export(path, indices, case, dataset, what, form)
        return path.read_bytes()


def write_zip(
    path: Path,
    cases: Iterable[Case],
    dataset: Dataset,
    what: What,
    form: Format,
    read: Callable[[Case], np.ndarray | None],
) -> int:
    """Write the maps of many cases as one zip, one at a time, so that memory holds one.

    Args:
        path: The zip.
        cases: Whose maps.
        dataset: What values mean.
        what: Kind of the maps.
        form: Kind of the files.
        read: Gives the map of a case, or None where it has none: it is left out.

    Returns:
        How many maps there are.
    """
    count = 0
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:  # the files in it are compressed already
        for case in cases:
            indices = read(case)
            if indices is None:
                continue
            with scratch_file(f"map{ENDINGS[form]}") as part:
                write_export(part, indices, case, dataset, what, form)
                kind = zipfile.ZIP_DEFLATED if form == "dicom-seg" else zipfile.ZIP_STORED
                archive.write(part, file_name(case.id, what, form), compress_type=kind)
            count += 1
    return count
