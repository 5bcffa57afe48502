"""DICOM series from a folder or a zip: found, chosen by UID, put in order, checked for gaps, read slice by slice."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from medcl.data.archive import unpacked
from medcl.data.claims import check_memory, check_picture_bytes
from medcl.data.geometry import Geometry, Image
from medcl.data.opening import captured_console, complaint, geometry_of, unreadable
from medcl.errors import DataError

_SERIES_UID, _DESCRIPTION, _MODALITY, _PHOTOMETRIC = "0020|000e", "0008|103e", "0008|0060", "0028|0004"
_POSITION, _SPACING_BETWEEN = "0020|0032", "0018|0088"
_STORAGE = b"1.2.840.10008.5.1.4.1.1."
_WITHOUT_PIXELS = tuple(
    _STORAGE + kind for kind in (b"9.", b"11.", b"88.", b"104.", b"481.3", b"481.4", b"481.5", b"481.6", b"481.8")
)
"""SOP classes that lie beside images and hold none: waveforms, presentation states, reports, documents, RT plans."""
_UNEVEN = 0.01
"""Share of the slice distance by which neighbouring distances may differ and still count as even."""


@dataclass(frozen=True)
class _Slice:
    """The header of one DICOM file."""

    path: Path
    uid: str
    description: str
    modality: str
    photometric: str
    placed: bool
    geometry: Geometry


def read_dicom(path: Path, *, series: str | None = None) -> Image:
    """Read one DICOM series.

    Args:
        path: A folder (searched with its sub-folders), a zip file of one, or a single DICOM file.
        series: Series UID; needed where there are several.

    Returns:
        The image, (C, Z, Y, X), slices sorted along the slice normal, rescale slope and intercept of each slice
        applied. `metadata` names the series (UID, description, modality) and holds `notes` on odd findings; no data of
        the patient is kept.

    Raises:
        DataError: No DICOM inside, several series and none chosen, an unknown UID, slices that are missing, double,
            uneven, tilted or of different kinds, or a damaged file.
    """
    with unpacked(path) as folder:
        chosen = _choose(_find(folder, path), series, path)
        ordered, geometry, notes = _stack(chosen, path)
        array = _read_voxels(ordered, geometry, path)
    metadata: dict[str, Any] = {
        "format": "DICOM",
        "series": chosen[0].uid,
        "description": chosen[0].description,
        "modality": chosen[0].modality,
        "colour": len(array) == 3,
    }
    if chosen[0].photometric == "MONOCHROME1":
        notes.append("MONOCHROME1: low values are meant to be shown bright")
    return Image(array, geometry, {**metadata, **({"notes": notes} if notes else {})})


def read_dicom_geometry(path: Path, *, series: str | None = None) -> Geometry:
    """Read where a DICOM series lies from its headers alone.

    Raises:
        DataError: As for `read_dicom`.
    """
    with unpacked(path) as folder:
        return _stack(_choose(_find(folder, path), series, path), path)[1]


def read_slices(files: Sequence[Path]) -> tuple[Image, list[Path]]:
    """Read DICOM files that are known to form one volume, one slice each.

    Their series UIDs do not count: some public data sets were anonymised with a UID of its own for every file.

    Args:
        files: The files, in any order.

    Returns:
        The image, (C, Z, Y, X), and the files in the order of its slices.

    Raises:
        DataError: As for `read_dicom`.
    """
    if not files:
        raise DataError("expected DICOM files, got none.")
    folder = files[0].parent
    ordered, geometry, notes = _stack([_read_slice(path) for path in sorted(files)], folder)
    array = _read_voxels(ordered, geometry, folder)
    metadata = {"format": "DICOM", "modality": ordered[0].modality, "colour": len(array) == 3}
    image = Image(array, geometry, {**metadata, **({"notes": notes} if notes else {})})
    return image, [entry.path for entry in ordered]


@contextmanager
def ordered_files(path: Path, *, series: str | None = None) -> Iterator[tuple[list[Path], Geometry]]:
    """Give the files of one series in the order of its slices, and the geometry of the whole.

    A zip is unpacked for the length of the block.

    Raises:
        DataError: As for `read_dicom`.
    """
    with unpacked(path) as folder:
        ordered, geometry, _ = _stack(_choose(_find(folder, path), series, path), path)
        yield [entry.path for entry in ordered], geometry


def list_series(path: Path) -> dict[str, tuple[str, int]]:
    """Return what series a folder or zip holds: UID to (description, number of files).

    Raises:
        DataError: No DICOM inside.
    """
    with unpacked(path) as folder:
        return {uid: (slices[0].description, len(slices)) for uid, slices in _find(folder, path).items()}


def _find(folder: Path, named: Path) -> dict[str, list[_Slice]]:
    """Read the headers of all DICOM files below a folder, by series UID."""
    paths = [folder] if folder.is_file() else [Path(top) / name for top, _, names in os.walk(folder) for name in names]
    series: dict[str, list[_Slice]] = {}
    broken: list[str] = []
    for path in sorted(paths):
        if path.name == "DICOMDIR" or not _looks_like_dicom_image(path):
            continue
        try:
            found = _read_slice(path)
        except DataError as error:
            broken.append(str(error))
            continue
        series.setdefault(found.uid, []).append(found)
    if broken:
        raise DataError(broken[0] if len(broken) == 1 else f"{broken[0]} ({len(broken) - 1} more files are like it)")
    if not series:
        others = sorted({path.suffix for path in paths if path.suffix})[:5]
        hint = f" among {len(paths)} files ({', '.join(others)})" if others else ""
        raise DataError(f"{named}: expected DICOM images, found none{hint}; pass the image file or the right folder.")
    return series


def _looks_like_dicom_image(path: Path) -> bool:
    """Say whether a file has the DICOM mark, or a name that promises DICOM, and is not of a kind without pixels."""
    with path.open("rb") as stream:
        start = stream.read(2048)
    if start[128:132] != b"DICM":
        return path.suffix.lower() in (".dcm", ".ima")
    kind = re.search(rb"\x02\x00\x02\x00UI..([0-9.]+)", start, re.DOTALL)  # media storage SOP class
    return kind is None or not kind[1].startswith(_WITHOUT_PIXELS)


def _read_slice(path: Path) -> _Slice:
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO("GDCMImageIO")
    try:
        with captured_console():
            reader.ReadImageInformation()
    except RuntimeError as error:
        raise unreadable(path, "DICOM", str(error)) from None

    geometry = geometry_of(reader, path)
    check_picture_bytes(path, "DICOM", int(np.prod(geometry.size)) * reader.GetNumberOfComponents())

    def text(key: str) -> str:
        value = reader.GetMetaData(key) if reader.HasMetaDataKey(key) else ""
        return value.encode("utf-8", "replace").decode("utf-8").strip(" \0")

    return _Slice(
        path,
        text(_SERIES_UID),
        text(_DESCRIPTION),
        text(_MODALITY),
        text(_PHOTOMETRIC),
        bool(text(_POSITION)),
        geometry,
    )


def _choose(series: dict[str, list[_Slice]], uid: str | None, path: Path) -> list[_Slice]:
    lines = "; ".join(
        f"{known} '{slices[0].description or slices[0].modality}' {len(slices)} file(s)"
        for known, slices in sorted(series.items())
    )
    if uid is None and len(series) > 1:
        raise DataError(f"{path}: expected one DICOM series, got {len(series)}; pass series=UID of one of: {lines}.")
    if uid is not None and uid not in series:
        raise DataError(f"{path}: no DICOM series has the UID '{uid}'; there are: {lines}.")
    return series[uid] if uid is not None else next(iter(series.values()))


def _stack(slices: list[_Slice], path: Path) -> tuple[list[_Slice], Geometry, list[str]]:
    """Put slices in order along their normal and find the geometry of the whole.

    The normal is the third column of the direction, (row direction) x (column direction) (DICOM PS3.3 C.7.6.2.1.1).
    """
    first = slices[0]
    notes: list[str] = []
    if len(slices) == 1:
        return slices, first.geometry, notes
    for other in slices:
        if other.geometry.size[0] != 1:
            raise DataError(
                f"{path}: expected single slices, got a file of {other.geometry.size[0]}: {other.path.name}."
            )
        moved = replace(other.geometry, origin_mm=first.geometry.origin_mm, spacing_mm=_in_plane(first, other))
        if differs := first.geometry.differences(moved, 1e-2):
            raise DataError(
                f"{path}: expected slices of one kind in series {first.uid}, but {other.path.name} differs from "
                f"{first.path.name} in {'; '.join(differs)}; move the odd ones elsewhere."
            )
    if not all(entry.placed for entry in slices):
        raise DataError(f"{path}: expected a position in every slice of series {first.uid}, but some have none.")
    normal = np.reshape(first.geometry.direction, (3, 3))[:, 2]
    ordered = sorted(slices, key=lambda entry: float(np.dot(entry.geometry.origin_mm, normal)))
    origins = np.array([entry.geometry.origin_mm for entry in ordered])
    steps = np.diff(origins, axis=0)
    gaps = steps @ normal
    spacing = float(np.median(gaps))
    double = int(np.argmin(gaps))
    if gaps[double] < 1e-3:
        raise DataError(
            f"{path}: expected one slice per position, but {ordered[double].path.name} and "
            f"{ordered[double + 1].path.name} share one; the series holds several volumes: save them one by one."
        )
    worst = int(np.argmax(np.abs(gaps - spacing)))
    if abs(gaps[worst] - spacing) > _UNEVEN * spacing + 1e-3:
        missing = round(gaps[worst] / spacing) - 1
        what = f"{missing} slice(s) seem to be missing" if missing > 0 else "the distances are uneven"
        raise DataError(
            f"{path}: expected slices {spacing:.4g} mm apart in series {first.uid}, got {gaps[worst]:.4g} mm between "
            f"{ordered[worst].path.name} and {ordered[worst + 1].path.name}: {what}; export the series again."
        )
    tilt = float(np.linalg.norm(origins[-1] - origins[0] - normal * gaps.sum()))
    if tilt > 0.5 * min(first.geometry.spacing_mm[1:]) and tilt > 1e-2 * gaps.sum():
        raise DataError(
            f"{path}: expected slices stacked along their normal in series {first.uid}, but they drift by {tilt:.3g} "
            "mm (a tilted gantry); resample the series onto a regular grid first."
        )
    mean = float(gaps.mean())
    if float(np.abs(gaps - mean).max()) > 1e-3:
        notes.append(f"slice distances vary from {gaps.min():.5g} to {gaps.max():.5g} mm; their mean is used")
    if tilt > 1e-2:
        notes.append(f"slices drift by {tilt:.3g} mm across their normal")
    _, dy, dx = first.geometry.spacing_mm
    size = (len(ordered), *first.geometry.size[1:])
    geometry = replace(
        first.geometry, size=size, spacing_mm=(mean, dy, dx), origin_mm=ordered[0].geometry.origin_mm, file_ndim=3
    )
    return ordered, geometry, notes


def _in_plane(first: _Slice, other: _Slice) -> tuple[float, float, float]:
    """Return the spacing of a slice with the thickness of another, which does not count in the comparison."""
    return (first.geometry.spacing_mm[0], *other.geometry.spacing_mm[1:])


def _read_voxels(ordered: list[_Slice], geometry: Geometry, path: Path) -> np.ndarray:
    """Read slice after slice into one array; each slice has its own rescale slope, so the number types may differ."""
    import SimpleITK

    array: np.ndarray | None = None
    for index, entry in enumerate(ordered):
        try:
            with captured_console() as lines:
                image = SimpleITK.ReadImage(str(entry.path), imageIO="GDCMImageIO")
        except (RuntimeError, MemoryError) as error:
            raise unreadable(entry.path, "DICOM", str(error)) from None
        if said := complaint(lines):
            raise unreadable(entry.path, "DICOM", said)
        components = image.GetNumberOfComponentsPerPixel()
        view = SimpleITK.GetArrayViewFromImage(image).reshape(*entry.geometry.size, components)
        channels = np.moveaxis(view, -1, 0)
        if array is None:
            check_memory(path, int(np.prod(geometry.size)) * components * channels.itemsize)
            array = np.empty((components, *geometry.size), channels.dtype)
        if components != array.shape[0]:
            raise DataError(
                f"{path}: expected {array.shape[0]} channel(s) in every slice, got {components} in "
                f"{entry.path.name}; move the odd ones elsewhere."
            )
        common = np.result_type(array.dtype, channels.dtype)
        if common != array.dtype:
            array = array.astype(common)
        if len(ordered) == 1:
            array[:] = channels
        else:
            array[:, index] = channels[:, 0]
    assert array is not None
    return array
