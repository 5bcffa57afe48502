"""Reading and writing images and maps through SimpleITK.

Arrays are (C, Z, Y, X) for images and (Z, Y, X) for maps; a 2D file has Z = 1 and is written back as 2D.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from medcl.data import claims, nifti
from medcl.data.geometry import Geometry, Image
from medcl.data.opening import JPEG_ENDINGS, READERS, captured_console, opened, unreadable
from medcl.errors import DataError
from medcl.files import atomic_write

IMAGE_ENDINGS: tuple[str, ...] = tuple(READERS)
"""Endings of image files that can be read and written, a longer one before what it ends in."""

_PICTURES = (".png", *JPEG_ENDINGS)


def case_ending(path: Path | str) -> str:
    """Return the ending of an image file in lower case, such as '.nii.gz'.

    Raises:
        DataError: The name has none of the `IMAGE_ENDINGS`.
    """
    name = Path(path).name.lower()
    for ending in IMAGE_ENDINGS:
        if name.endswith(ending) and len(name) > len(ending):
            return ending
    raise DataError(f"{path}: expected a file ending in one of {', '.join(IMAGE_ENDINGS)}, got '{Path(path).name}'.")


def strip_ending(name: Path | str) -> str:
    """Return a file's name without folder and image ending: 'a/b.c.nii.gz' gives 'b.c'.

    Raises:
        DataError: The name has none of the `IMAGE_ENDINGS`.
    """
    return Path(name).name[: -len(case_ending(name))]


def read_image(source: Path | str | Sequence[Path | str], *, series: str | None = None) -> Image:
    """Read a file, several files of one grid as channels, or a folder or zip of DICOM.

    Args:
        source: An image file; a list of image files of one grid, whose channels are put one after the other; a DICOM
            file, or a folder or zip of them.
        series: Series UID, where a DICOM source holds more than one series.

    Returns:
        The image, (C, Z, Y, X), header slope and intercept applied, in the number type of the file. Colour has C = 3;
        an alpha channel is dropped (`metadata["alpha_dropped"]`). NaN and infinity are left as they are.

    Raises:
        DataError: Missing, damaged, empty or unknown file, more than three axes, several series and none chosen,
            or files that do not share one grid.
    """
    if not isinstance(source, (str, Path)):
        return _read_channels([Path(path) for path in source], series)
    path = Path(source)
    if _is_dicom(path):
        from medcl.data.dicom import read_dicom

        return read_dicom(path, series=series)
    if series is not None:
        raise DataError(f"{path}: series= picks one of several DICOM series, but this is an image file; leave it out.")
    return _read_file(path)


def read_time_series(path: Path | str) -> Image:
    """Read a NIfTI file whose fourth axis counts volumes: sequences, or moments in time.

    `read_image` refuses such files, as it cannot know whether the volumes are channels of one image.

    Args:
        path: A .nii or .nii.gz file with three or four axes.

    Returns:
        The volumes, (C, Z, Y, X), C = 1 where the file has three axes, and the geometry that they share.

    Raises:
        DataError: Missing, damaged, not NIfTI, or with other axes.
    """
    import SimpleITK

    path = Path(path)
    if case_ending(path) not in (".nii", ".nii.gz") or not path.is_file():
        raise DataError(f"{path}: expected a NIfTI file, found none; check the path.")
    header = nifti.read_header(path)
    if len(header.shape) != 4:
        return read_image(path)
    claims.check_memory(path, header.data_bytes)
    claims.check_nifti_bytes(path, header.data_bytes)
    try:
        with captured_console():
            whole = SimpleITK.ReadImage(str(path), imageIO=READERS[".nii"])
    except RuntimeError as error:
        raise unreadable(path, case_ending(path), str(error)) from None
    x, y, z, count = whole.GetSize()
    geometry = Geometry(
        (z, y, x),
        whole.GetSpacing()[2::-1],
        whole.GetOrigin()[:3],
        tuple(np.reshape(whole.GetDirection(), (4, 4))[:3, :3].ravel().tolist()),
    )
    return Image(SimpleITK.GetArrayFromImage(whole), geometry, {"format": ".nii.gz", "volumes": count})


def read_map(path: Path | str) -> tuple[np.ndarray, Geometry]:
    """Read a label or scribble map.

    Args:
        path: An image file with one channel.

    Returns:
        The integers as the file has them, (Z, Y, X), and the geometry. Files that store integers as floating-point
        numbers give int32, or int64 where a value needs it.

    Raises:
        DataError: Not readable, more than one channel, or a value that is no integer.
    """
    path = Path(path)
    if case_ending(path) in JPEG_ENDINGS:
        raise DataError(f"{path}: expected exact integers, but JPEG blurs them; save the map as PNG or NIfTI.")
    image = _read_file(path, indices=True)
    array = image.array
    if array.shape[0] > 1 and not all(np.array_equal(array[0], channel) for channel in array[1:]):
        raise DataError(
            f"{path}: expected one integer per voxel, got {array.shape[0]} channels; save it as grey values."
        )
    return _as_integers(array[0], path), image.geometry


def read_geometry(path: Path | str) -> Geometry:
    """Read size, spacing, origin and direction from the header alone; no voxels are loaded.

    Raises:
        DataError: As for `read_image`.
    """
    path = Path(path)
    if _is_dicom(path):
        from medcl.data.dicom import read_dicom_geometry

        return read_dicom_geometry(path)
    with opened(path, case_ending(path)) as file:
        return file.geometry


def write_map(path: Path | str, array: np.ndarray, geometry: Geometry) -> None:
    """Write a map with the smallest integer type that holds its values, compressed, atomically.

    Args:
        path: Where to write; the ending picks the format.
        array: (Z, Y, X) of integers or booleans.
        geometry: Where the voxels lie; its size must be the array's.

    Raises:
        DataError: Not integers, another size, or a format that cannot hold the values or the geometry.
    """
    path = Path(path)
    if case_ending(path) in JPEG_ENDINGS:
        raise DataError(f"{path}: JPEG cannot hold exact integers; write the map as PNG or NIfTI.")
    array = np.asarray(array)
    if array.dtype == bool:
        array = array.astype(np.uint8)
    if not np.issubdtype(array.dtype, np.integer):
        raise DataError(f"{path}: expected integers to write as a map, got {array.dtype}.")
    if array.ndim != 3:
        raise DataError(f"{path}: expected a map of shape (Z, Y, X), got {array.shape}.")
    low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
    dtype = next(
        kind
        for kind in (np.uint8, np.int8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64)
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max
    )
    _write(path, array[None].astype(dtype), geometry)


def write_image(path: Path | str, image: Image) -> None:
    """Write an image, compressed where the format can, atomically; channels become the components of one file.

    Args:
        path: Where to write; the ending picks the format.
        image: Array (C, Z, Y, X) of a number type that the format holds; float16 is widened to float32.

    Raises:
        DataError: A format that cannot hold the number type, the channels or the geometry.
    """
    _write(Path(path), np.asarray(image.array), image.geometry)


def _is_dicom(path: Path) -> bool:
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; check the path.")
    return path.is_dir() or path.suffix.lower() in (".zip", ".dcm", ".ima", "")


def _read_channels(paths: list[Path], series: str | None) -> Image:
    """Read one file after the other and stack their channels."""
    if not paths:
        raise DataError("read_image: expected at least one file, got an empty list.")
    first, *rest = [read_image(path, series=series) for path in paths]
    for path, other in zip(paths[1:], rest, strict=True):
        if differs := first.geometry.differences(other.geometry):
            raise DataError(f"{path}: expected the grid of {paths[0].name}, but it differs in {'; '.join(differs)}.")
    if not rest:
        return first
    array = np.concatenate([first.array, *(other.array for other in rest)])
    return Image(array, first.geometry, {**first.metadata, "files": len(paths)})


def _read_file(path: Path, *, indices: bool = False) -> Image:
    """Read one image file; `indices` asks for the indices of a picture with a colour table, not its colours."""
    ending = case_ending(path)
    with opened(path, ending, indices=indices) as file:
        array = np.moveaxis(file.voxels(ending), -1, 0)
    if array.dtype.kind not in "uif":
        raise DataError(f"{path}: expected whole or real numbers, got {array.dtype}; save the magnitude by itself.")
    metadata = {"format": ending, "colour": False, **file.metadata}
    if picture := file.picture:
        if picture.alpha and len(array) == 4:
            array = array[:3]
            metadata["alpha_dropped"] = True
        metadata["colour"] = len(array) == 3
        if file.indices and picture.index_step > 1:
            array = array // picture.index_step
    return Image(np.ascontiguousarray(array), file.geometry, metadata)


def _as_integers(array: np.ndarray, path: Path) -> np.ndarray:
    if np.issubdtype(array.dtype, np.integer):
        return array
    wrong = ~np.isfinite(array)
    if not wrong.any():
        wrong = (array != np.rint(array)) | (np.abs(array) >= 2.0**62)
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise DataError(
            f"{path}: expected integers, got {array[place]} at (z, y, x) {place} and {int(wrong.sum()) - 1} more such "
            "values; save the map with an integer type and nearest-neighbour interpolation."
        )
    bound = np.iinfo(np.int32).max
    return array.astype(np.int32 if np.abs(array).max(initial=0) <= bound else np.int64)


def check_slices(path: Path, geometry: Geometry) -> None:
    """Refuse a file of one slice for a volume.

    Raises:
        DataError: The ending is that of a picture, or the grid is flat, and there are several slices.
    """
    if (geometry.file_ndim == 2 or case_ending(path) in _PICTURES) and geometry.size[0] != 1:
        raise DataError(f"{path}: a 2D file holds one slice, got {geometry.size[0]}; write .nii.gz, .nrrd or .mha.")


def _write(path: Path, array: np.ndarray, geometry: Geometry) -> None:
    """Write (C, Z, Y, X) with its geometry."""
    import SimpleITK

    ending = case_ending(path)
    if array.ndim != 4 or array.shape[1:] != geometry.size or not array.size:
        raise DataError(f"{path}: expected an array (C, Z, Y, X) of grid {geometry.size}, got shape {array.shape}.")
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    check_slices(path, geometry)
    flat = geometry.file_ndim == 2 or ending in _PICTURES
    ndim = 2 if flat else 3
    voxels = np.moveaxis(array, 0, -1)[(0 if flat else slice(None))]
    voxels = np.ascontiguousarray(voxels if len(array) > 1 else voxels[..., 0])
    with atomic_write(path) as temporary:
        plain = temporary.with_name(temporary.name.removesuffix(".gz")) if ending == ".nii.gz" else temporary
        try:
            with captured_console():
                image = SimpleITK.GetImageFromArray(voxels, isVector=len(array) > 1)
                image.SetSpacing(geometry.spacing_mm[::-1][:ndim])
                image.SetOrigin(geometry.origin_mm[:ndim])
                image.SetDirection(np.reshape(geometry.direction, (3, 3))[:ndim, :ndim].ravel().tolist())
                SimpleITK.WriteImage(image, str(plain), useCompression=ending not in (".nii.gz", *JPEG_ENDINGS))
            _settle_geometry(path, plain, geometry)
            if plain != temporary:
                nifti.pack(plain, temporary)
        except (RuntimeError, TypeError, KeyError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[-1][:200]
            raise DataError(
                f"{path}: {ending} cannot hold {array.dtype} in {len(array)} channel(s) ({reason}); write .mha."
            ) from None
        finally:
            if plain != temporary:
                plain.unlink(missing_ok=True)


def _settle_geometry(path: Path, written: Path, geometry: Geometry) -> None:
    """Make sure that a written file says where its voxels lie: as the source's header, if that is still true.

    Raises:
        DataError: The format cannot hold this geometry.
    """
    ending = case_ending(written)
    if ending == ".nii" and geometry.nifti_header:
        with written.open("rb") as stream:
            as_written = stream.read(nifti.HEADER_BYTES)
        nifti.keep_geometry(written, bytes.fromhex(geometry.nifti_header))
        with opened(written, ending) as file:
            if not geometry.differences(file.geometry):
                return
        nifti.keep_geometry(written, as_written)
    with opened(written, ending) as file:
        found = file.geometry
    asked = geometry
    if found.file_ndim == 2:  # a 2D file has no third spacing to compare
        asked = replace(geometry, spacing_mm=(found.spacing_mm[0], *geometry.spacing_mm[1:]))
    if differs := asked.differences(found):
        raise DataError(
            f"{path}: {ending} cannot hold this geometry ({'; '.join(differs)}); write .nii.gz, .nrrd or .mha."
        )
