"""Opening an image file with SimpleITK: which reader, what is repaired first, what the header means."""

from __future__ import annotations

import ctypes
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medcl.data import claims, nifti, pictures
from medcl.data.geometry import Geometry
from medcl.errors import DataError

if TYPE_CHECKING:
    import SimpleITK

READERS = {
    ".nii.gz": "NiftiImageIO",
    ".nii": "NiftiImageIO",
    ".nrrd": "NrrdImageIO",
    ".mha": "MetaImageIO",
    ".tiff": "TIFFImageIO",
    ".tif": "TIFFImageIO",
    ".png": "PNGImageIO",
    ".jpeg": "JPEGImageIO",
    ".jpg": "JPEGImageIO",
}
"""Which reader of SimpleITK an ending gets; no other is tried, so that a file of another kind is an error."""

JPEG_ENDINGS = (".jpg", ".jpeg")

_COMPLAINTS = (
    "premature end",
    "corrupt jpeg",
    "uncompress failed",
    "not read completely",
    "number missing",
    "suboptimal 8-bit rgba reader",
    "can not read tiff directory",
    "failed to read directory",
    "read error",
)
"""What the libraries only print although the voxels are wrong."""

_console = threading.Lock()
_libc = ctypes.CDLL(None) if os.name == "posix" else None


@dataclass
class OpenedFile:
    """A file whose header has been read.

    Attributes:
        path: The file as the caller named it.
        reader: SimpleITK's reader, with the header read, on the file or on a repaired copy.
        geometry: Where the voxels lie.
        metadata: What `Image.metadata` shall say.
        nifti_header: For NIfTI, the parsed header.
        picture: For PNG, JPEG and TIFF, what the structure says.
        indices: Whether indices into a colour table are read instead of colours.
        scratch: Makes an empty folder that lasts as long as the file is open.
    """

    path: Path
    reader: SimpleITK.ImageFileReader
    geometry: Geometry
    metadata: dict[str, Any] = field(default_factory=dict)
    nifti_header: nifti.NiftiHeader | None = None
    picture: pictures.Picture | None = None
    indices: bool = False
    scratch: Callable[[], Path] | None = None

    def voxels(self, ending: str) -> np.ndarray:
        """Read the voxels, slope and intercept applied, after making sure that they are all there.

        Returns:
            (Z, Y, X, C), in memory of its own.

        Raises:
            DataError: The file is cut short or damaged, or larger than memory.
        """
        self._check_bytes(ending)
        header = self.nifti_header
        if header is None or self.scratch is None:
            return self._read(self.reader, ending)
        current = Path(self.reader.GetFileName())
        as_integers = nifti.holds_non_finite(current, header)
        if not as_integers and not header.scales_channels:
            return self._read(self.reader, ending)
        copy = nifti.plain_copy(current, header, self.scratch(), as_integers=as_integers)
        array = self._read(_read_header(copy, self.path, ending), ending)
        if as_integers:
            array = array.view(np.float32 if array.itemsize == 4 else np.float64)
        if (header.slope, header.intercept) != (1.0, 0.0):
            wide = np.float64 if array.dtype == np.float64 else np.float32
            array = np.add(np.multiply(array, header.slope, dtype=np.float64), header.intercept).astype(wide)
        return array

    def _read(self, reader: SimpleITK.ImageFileReader, ending: str) -> np.ndarray:
        import SimpleITK

        try:
            with captured_console(output=ending in JPEG_ENDINGS) as lines:
                image = reader.Execute()
        except (RuntimeError, MemoryError) as error:
            raise unreadable(self.path, ending, str(error)) from None
        if said := complaint(lines):
            raise unreadable(self.path, ending, said)
        components = image.GetNumberOfComponentsPerPixel()
        return SimpleITK.GetArrayFromImage(image).reshape(*self.geometry.size, components)

    def _check_bytes(self, ending: str) -> None:
        """Compare what the header claims with what is in the file, before memory is taken."""
        import SimpleITK

        numbers = int(np.prod([float(n) for n in self.reader.GetSize()])) * self.reader.GetNumberOfComponents()
        kind = SimpleITK.GetPixelIDValueAsString(self.reader.GetPixelID())
        bits = next((bits for bits in (64, 32, 16) if f"{bits}-bit" in kind), 8)
        claimed = numbers * bits // 8
        claims.check_memory(self.path, claimed)
        if self.nifti_header is not None:
            _check_nifti(self.path, self.nifti_header)
        elif ending == ".nrrd":
            claims.check_nrrd_bytes(self.path, claimed, numbers)
        elif ending == ".mha":
            claims.check_mha_bytes(self.path, claimed, numbers)
        else:
            claims.check_picture_bytes(self.path, ending, claimed)


@contextmanager
def opened(path: Path, ending: str, *, indices: bool = False) -> Iterator[OpenedFile]:
    """Open a file and read its header, repairing on a temporary copy what SimpleITK cannot read as it is.

    Args:
        path: The file.
        ending: Its ending, one of `READERS`.
        indices: Read the indices of a picture with a colour table, not its colours.

    Yields:
        The opened file; the reader may be executed inside the block.

    Raises:
        DataError: Missing, empty, damaged or of another kind, or not a 2D or 3D image on a regular grid.
    """
    if not path.is_file():
        raise DataError(f"{path}: expected an image file, found none; check the path.")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: expected an image, got an empty file; copy or export it again.")
    if not os.access(path, os.R_OK):
        raise DataError(f"{path}: cannot be read; check its permissions.")
    with ExitStack() as stack:  # a folder is made only for the rare file that needs one

        def scratch() -> Path:
            return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="medcl-")))

        if ending in (".nii", ".nii.gz"):
            yield _open_nifti(path, ending, scratch)
        elif ending in (".nrrd", ".mha"):
            (claims.check_nrrd_header if ending == ".nrrd" else claims.check_mha_header)(path)
            reader = _read_header(path, path, ending)
            yield OpenedFile(path, reader, geometry_of(reader, path))
        else:
            yield _open_picture(path, ending, scratch, indices)


def unreadable(path: Path, ending: str, reason: str) -> DataError:
    """Return the error for a file that SimpleITK cannot read, with the library's own last words."""
    words = (reason.strip().splitlines() or ["no reason given"])[-1]
    words = words.split("): ", 1)[-1].removeprefix("ITK ERROR: ").removeprefix("sitk::ERROR: ").strip().rstrip(".")
    return DataError(
        f"{path}: expected a readable {ending} image, but the file is damaged, cut short or of another kind "
        f"({words[:200]}); copy or export it again."
    )


@contextmanager
def captured_console(*, output: bool = False) -> Iterator[list[str]]:
    """Catch what the C and C++ libraries print about odd files, to keep the console clean and to look for complaints.

    They write to the process's standard error themselves, so it is pointed to a file for the length of the block.

    Args:
        output: Catch standard output as well; the JPEG library complains there.

    Yields:
        A list that holds the printed lines once the block has ended.
    """
    lines: list[str] = []
    with _console, tempfile.TemporaryFile() as spool:
        kept: dict[int, int] = {}
        for number in (1, 2) if output else (2,):
            with suppress(OSError):  # closed, as under a service: nothing to catch
                kept[number] = os.dup(number)
        try:
            _flush_c()
            for number in kept:
                os.dup2(spool.fileno(), number)
            yield lines
        finally:
            _flush_c()
            for number, copy in kept.items():
                os.dup2(copy, number)
                os.close(copy)
            spool.seek(0)
            lines.extend(spool.read(1 << 20).decode("utf-8", "replace").splitlines())


def _flush_c() -> None:
    """Empty the buffers of C's own streams, so that what was printed arrives before the streams change places."""
    if _libc is not None:
        _libc.fflush(None)


def complaint(lines: list[str]) -> str | None:
    """Return the first printed line that means wrong voxels."""
    return next((line for line in lines if any(phrase in line.lower() for phrase in _COMPLAINTS)), None)


def geometry_of(reader: SimpleITK.ImageFileReader, path: Path) -> Geometry:
    """Turn the header that a reader has seen into a Geometry; trailing axes of length 1 do not count.

    Raises:
        DataError: More than three axes, an empty axis, or spacing, position or directions that are impossible.
    """
    size = list(reader.GetSize())
    while len(size) > 3 and size[-1] == 1:
        size.pop()
    if len(size) not in (2, 3):
        shape = " x ".join(map(str, size))
        raise DataError(f"{path}: expected a 2D or 3D image, got {len(size)} axes ({shape}); save one volume per file.")
    ndim, full = len(size), reader.GetDimension()
    direction = np.eye(3)
    direction[:ndim, :ndim] = np.reshape(reader.GetDirection(), (full, full))[:ndim, :ndim]
    x, y, z = (*size, 1)[:3]
    dx, dy, dz = (*reader.GetSpacing()[:ndim], 1.0)[:3]
    origin = (*reader.GetOrigin()[:ndim], 0.0)[:3]
    if min(x, y, z) < 1:
        raise DataError(f"{path}: expected at least one voxel per axis, got the size (x, y, z) {(x, y, z)}.")
    if not (np.isfinite([dx, dy, dz, *origin, *direction.flat]).all() and min(dx, dy, dz) > 0):
        place = f"{(dx, dy, dz)} mm at {origin}"
        raise DataError(f"{path}: expected a positive spacing and a finite position, got {place}; correct the header.")
    if np.abs(direction.T @ direction - np.eye(3)).max() > 1e-2:
        axes = direction.round(4).tolist()
        raise DataError(f"{path}: expected axes at right angles, got the directions {axes}; correct the header.")
    return Geometry((z, y, x), (dz, dy, dx), origin, tuple(float(v) for v in direction.flat), ndim)


def _read_header(readable: Path, path: Path, ending: str) -> SimpleITK.ImageFileReader:
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(readable))
    reader.SetImageIO(READERS[ending])
    try:
        with captured_console(output=ending in JPEG_ENDINGS):
            reader.ReadImageInformation()
    except RuntimeError as error:
        raise unreadable(path, ending, str(error)) from None
    return reader


def _open_nifti(path: Path, ending: str, scratch: Callable[[], Path]) -> OpenedFile:
    header = nifti.read_header(path)
    if max(header.shape[3:4], default=1) > 1 or max(header.shape[5:], default=1) > 1:
        shape, count = " x ".join(map(str, header.shape)), len(header.shape)
        raise DataError(f"{path}: expected a 2D or 3D image, got {count} axes ({shape}); save one volume per file.")
    notes: list[str] = []
    try:
        reader = _read_header(path, path, ending)
    except DataError as error:
        if "orthonormal" not in str(error):
            raise
        _check_nifti(path, header)
        repaired, note = nifti.repaired_copy(path, header, scratch())
        notes.append(note)
        reader = _read_header(repaired, path, ending)
    geometry = replace(_nifti_geometry(reader, path, ending, header, scratch), nifti_header=header.raw.hex())
    if not notes and (difference := nifti.affine_note(header, geometry)):
        notes.append(difference)
    metadata = {"colour": header.colour, **({"notes": notes} if notes else {})}
    return OpenedFile(path, reader, geometry, metadata, nifti_header=header, scratch=scratch)


def _nifti_geometry(
    reader: SimpleITK.ImageFileReader, path: Path, ending: str, header: nifti.NiftiHeader, scratch: Callable[[], Path]
) -> Geometry:
    """Return the geometry of a file, with the axes of length 1 that SimpleITK drops from files with channels."""
    if reader.GetDimension() > 2 or len(header.shape) <= 3:
        return geometry_of(reader, path)
    if reader.GetDimension() < 2:
        raise DataError(
            f"{path}: expected more than one row or slice in a NIfTI image with channels (SimpleITK cannot read a "
            "single row of them); save it as .mha or .nrrd."
        )
    whole = geometry_of(_read_header(nifti.volume_header(header, scratch()), path, ".nii"), path)
    flat = whole.size[0] == 1 and whole.origin_mm[2] == 0 and abs(abs(whole.direction[8]) - 1) < 1e-6
    # Nothing in the header tells a picture from a volume of one slice; one that lies in the plane z = 0 is a picture.
    return geometry_of(reader, path) if flat else whole


def _check_nifti(path: Path, header: nifti.NiftiHeader) -> None:
    """Make sure that a file can be copied in whole."""
    claims.check_memory(path, header.data_bytes)
    claims.check_nifti_bytes(path, header.data_bytes)


def _open_picture(path: Path, ending: str, scratch: Callable[[], Path], indices: bool) -> OpenedFile:
    readable = path
    if ending == ".png":
        picture = pictures.look_at_png(path)
        if (indices and picture.palette) or pictures.has_transparency_key(path):
            readable = scratch() / "plain.png"
            pictures.png_without(path, readable, as_grey=picture.palette)
    elif ending in (".tif", ".tiff"):
        picture = pictures.look_at_tiff(path)
        if indices and picture.palette:
            readable = scratch() / "plain.tif"
            pictures.tiff_as_grey(path, readable)
    else:
        picture = pictures.look_at_jpeg(path)
    reader = _read_header(readable, path, ending)
    return OpenedFile(path, reader, geometry_of(reader, path), picture=picture, indices=readable != path)
