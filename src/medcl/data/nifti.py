"""The NIfTI-1 header: what a file claims to hold, and carrying its geometry through unchanged.

SimpleITK reads and writes the voxels. It rebuilds the header from spacing, origin and direction though, which moves
last bits, drops the out-of-plane tilt of 2D files and refuses slightly skewed axes; so the header is read here too.
Layout: https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h
"""

from __future__ import annotations

import gzip
import shutil
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from medcl.data.geometry import Geometry
from medcl.errors import DataError

HEADER_BYTES = 348
_BITS = {2: 8, 4: 16, 8: 32, 16: 32, 64: 64, 256: 8, 512: 16, 768: 32, 1024: 64, 1280: 64, 128: 24, 2304: 32}
_COLOUR = (128, 2304)
_AS_INTEGER = {16: 8, 64: 1024}  # float32, float64: the integers of the same length
_GZIP = b"\x1f\x8b"
# (offset, struct format) of the fields that say where the voxels lie
_DIM = (40, "8h")
_INTENT = (68, "h")
_PIXDIM = (76, "8f")
_UNITS = (123, "B")
_TYPE = (70, "h")
_SCALING = (112, "2f")
_CODES = (252, "2h")
_QUATERNION = (256, "6f")
_SFORM = (280, "12f")


@dataclass(frozen=True)
class NiftiHeader:
    """The parts of a NIfTI-1 header that medcl looks at.

    Attributes:
        raw: The 348 bytes as they are in the file.
        order: Byte order for `struct`, '<' or '>'.
        shape: Voxels per axis in the file's order, (x, y, z, t, channel, ...), as many as the file says.
        kind: The format's code of the number type.
        data_bytes: Bytes that offset and voxels take together, uncompressed.
        voxel_bytes: Bytes of the voxels alone.
        colour: Whether a voxel is an RGB or RGBA triple of bytes.
        qform_code: 0 where the quaternion is not meant to be used.
        sform_code: 0 where the matrix is not meant to be used.
        slope: Value = stored number x slope + intercept; 1 where the header sets none.
        intercept: See slope.
    """

    raw: bytes
    order: str
    shape: tuple[int, ...]
    kind: int
    data_bytes: int
    voxel_bytes: int
    colour: bool
    qform_code: int
    sform_code: int
    slope: float
    intercept: float

    def field(self, place: tuple[int, str]) -> tuple[float, ...]:
        """Return the numbers at an (offset, struct format)."""
        return struct.unpack_from(self.order + place[1], self.raw, place[0])

    @property
    def scales_channels(self) -> bool:
        """Whether the header holds anything but "no scaling", usable or not, beside more than one number per voxel."""
        several = self.colour or len(self.shape) > 3
        return several and self.field(_SCALING) not in ((0.0, 0.0), (1.0, 0.0))

    @property
    def sform(self) -> np.ndarray:
        """The sform matrix, 3 x 4, voxel indices to RAS+ in the file's unit."""
        return np.reshape(self.field(_SFORM), (3, 4))


def open_nifti(path: Path) -> BinaryIO:
    """Open a NIfTI file for reading its uncompressed bytes.

    Raises:
        DataError: The ending says gzip and the content does not, or the other way round.
    """
    packed = path.name.lower().endswith(".gz")
    try:
        with path.open("rb") as stream:
            is_packed = stream.read(2) == _GZIP
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions.") from None
    if packed and not is_packed:
        raise DataError(
            f"{path}: expected a gzip file as the ending says, got other bytes; check the file or its name."
        )
    if is_packed and not packed:
        raise DataError(f"{path}: expected an uncompressed file, got gzip; rename it to end in .nii.gz.")
    return cast(BinaryIO, gzip.open(path, "rb") if packed else path.open("rb"))


def read_header(path: Path) -> NiftiHeader:
    """Read and judge the header of a NIfTI-1 file.

    Raises:
        DataError: Not NIfTI-1 in a single file, an impossible shape or an unsupported number type.
    """
    try:
        with open_nifti(path) as stream:
            raw = stream.read(HEADER_BYTES)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: expected a NIfTI header, but the file is damaged ({error}); copy it again.") from None
    if len(raw) < HEADER_BYTES:
        raise DataError(f"{path}: expected a NIfTI header of 348 bytes, got {len(raw)}; the file is cut short.")
    sizes = {order: struct.unpack_from(order + "i", raw)[0] for order in "<>"}
    order = next((order for order, size in sizes.items() if size == HEADER_BYTES), None)
    if order is None:
        if 540 in sizes.values():
            raise DataError(f"{path}: expected NIfTI-1, got NIfTI-2; save it as NIfTI-1, NRRD or MHA.")
        raise DataError(f"{path}: expected a NIfTI file as the ending says, got something else.")
    magic = raw[344:348]
    if magic != b"n+1\0":
        raise DataError(
            f"{path}: expected NIfTI-1 in one file, got the mark {magic!r}; save header and voxels together."
        )
    count, *dims = struct.unpack_from(order + "8h", raw, 40)
    if not 1 <= count <= 7 or min(dims[:count]) < 1:
        raise DataError(
            f"{path}: expected 2 or 3 axes with at least one voxel, got the header entries {count}, {dims}."
        )
    shape = tuple(dims[:count])
    kind, bits = struct.unpack_from(order + "2h", raw, 70)
    if _BITS.get(kind) != bits:
        raise DataError(f"{path}: expected whole, real or RGB numbers, got NIfTI type code {kind} with {bits} bits.")
    offset, slope, intercept = struct.unpack_from(order + "3f", raw, 108)
    if not (np.isfinite(offset) and HEADER_BYTES <= offset < 2**31):
        raise DataError(f"{path}: expected voxels after the header, got the offset {offset}; the header is damaged.")
    if np.isinf(slope) or (slope != 0 and np.isfinite(slope) and not np.isfinite(intercept)):
        raise DataError(
            f"{path}: expected a finite slope and intercept, got {slope} and {intercept}; correct the header."
        )
    voxels = 1
    for length in shape:
        voxels *= length
    qform_code, sform_code = struct.unpack_from(order + _CODES[1], raw, _CODES[0])
    if slope == 0 or not np.isfinite(slope) or kind in _COLOUR:  # "no scaling" in the words of the format
        slope, intercept = 1.0, 0.0
    size = voxels * bits // 8
    return NiftiHeader(
        raw, order, shape, kind, int(offset) + size, size, kind in _COLOUR, qform_code, sform_code, slope, intercept
    )


def repaired_copy(path: Path, header: NiftiHeader, scratch: Path) -> tuple[Path, str]:
    """Copy a file whose sform axes are not at right angles, with the nearest axes that are.

    The nearest orthonormal axes are U V^T of the singular value decomposition of the matrix with columns scaled to
    length 1 (polar decomposition; Higham, SIAM J. Sci. Stat. Comput. 7, 1986).

    Args:
        path: The file as it is.
        header: Its header.
        scratch: An empty folder for the copy.

    Returns:
        The copy, uncompressed, and a note that says how far the repair moves voxels.

    Raises:
        DataError: The axes are so skewed that a voxel would move by more than one voxel, or are no axes at all.
    """
    matrix = header.sform[:, :3]
    spacing = np.linalg.norm(matrix, axis=0)
    if header.sform_code < 1 or not np.isfinite(header.sform).all() or not (spacing > 0).all():
        raise DataError(f"{path}: expected a matrix of three axes in the header, got none that is usable; correct it.")
    left, singular, right = np.linalg.svd(matrix / spacing)
    repaired = (left @ right) * spacing
    extent = np.array([*header.shape, 1, 1][:3]) - 1
    moved = float(np.abs(repaired - matrix) @ extent @ np.ones(3)) if extent.any() else 0.0
    if moved > spacing.min() or singular.min() < 1e-3:
        raise DataError(
            f"{path}: expected axes at right angles, got skewed ones (the far corner is {moved:.3g} mm off); "
            "resample the image onto a regular grid first."
        )
    raw = bytearray(header.raw)
    offset = np.float32(header.sform[:, 3])
    _put(raw, header.order, _SFORM, np.column_stack([repaired, offset]).ravel())
    _put(raw, header.order, _CODES, (0, header.sform_code))
    _put(raw, header.order, _PIXDIM, (1.0, *spacing, *header.field(_PIXDIM)[4:]))
    copy = _copy_with_header(path, bytes(raw), scratch / "repaired.nii")
    return copy, f"axes not at right angles in the header: repaired, the far corner moves {moved:.3g} mm"


def volume_header(header: NiftiHeader, scratch: Path) -> Path:
    """Write a file that is only the header of a multi-channel file, as if it held one channel.

    SimpleITK drops trailing axes of length 1 from files with channels, and with them the direction and position along
    those axes; the header of a plain volume keeps them.

    Args:
        header: Header of a file with channels.
        scratch: An empty folder for the result.

    Returns:
        The file; it can be asked for its geometry, not for voxels.
    """
    raw = bytearray(header.raw)
    _put(raw, header.order, _DIM, (3, *(*header.shape, 1, 1, 1)[:3], 1, 1, 1, 1))
    _put(raw, header.order, _INTENT, (0,))  # no vectors
    target = scratch / "header.nii"
    target.write_bytes(bytes(raw) + bytes(4))
    return target


def holds_non_finite(path: Path, header: NiftiHeader) -> bool:
    """Say whether a file of floating-point numbers holds NaN or infinity; memory stays small."""
    if header.kind not in _AS_INTEGER:
        return False
    dtype = np.dtype(f"{header.order}f{_BITS[header.kind] // 8}")
    left = header.voxel_bytes
    with open_nifti(path) as stream:
        stream.seek(header.data_bytes - header.voxel_bytes)
        while left and (chunk := stream.read(min(left, 1 << 22))):
            left -= len(chunk)
            if not np.isfinite(np.frombuffer(chunk[: len(chunk) // dtype.itemsize * dtype.itemsize], dtype)).all():
                return True
    return False


def plain_copy(path: Path, header: NiftiHeader, scratch: Path, *, as_integers: bool) -> Path:
    """Copy a file with a header that SimpleITK reads without changing the voxels.

    ITK's reader sets NaN and infinity to 0, and where a voxel has several channels it scales more numbers than there
    are, past its memory. So slope and intercept are taken out, to be applied here, and floating-point numbers are
    declared to be integers of the same length, whose bits are taken as they are.

    Args:
        path: A file with the voxels of `header`.
        header: Its header, or that of the file it was made from.
        scratch: An empty folder for the copy.
        as_integers: Declare floating-point numbers to be integers.
    """
    with open_nifti(path) as stream:
        raw = bytearray(stream.read(HEADER_BYTES))
    _put(raw, header.order, _SCALING, (1.0, 0.0))
    if as_integers:
        _put(raw, header.order, _TYPE, (_AS_INTEGER[header.kind],))
    return _copy_with_header(path, bytes(raw), scratch / "plain.nii")


def affine_note(header: NiftiHeader, geometry: Geometry) -> str | None:
    """Say how far the sform of a header is from the geometry that was read, where it is more than 1e-3 mm."""
    if header.sform_code < 1:
        return None
    scale = {1: 1000.0, 3: 0.001}.get(int(header.field(_UNITS)[0]) & 7, 1.0)  # metre, micrometre
    ndim = geometry.file_ndim
    spacing = np.array(geometry.spacing_mm[::-1])
    read = np.column_stack([np.reshape(geometry.direction, (3, 3)) * spacing, geometry.origin_mm])
    stored = header.sform * np.array([[-1.0], [-1.0], [1.0]]) * scale  # RAS+ to LPS+
    corner = np.array([*(np.array(geometry.size[::-1]) - 1), 1.0])
    moved = float(np.abs((read - stored)[:ndim] @ corner).max())
    return f"sform and the geometry in use are {moved:.3g} mm apart at the far corner" if moved > 1e-3 else None


def keep_geometry(written: Path, source_header: bytes) -> None:
    """Put the geometry fields of a source header into a little-endian NIfTI file just written.

    Args:
        written: An uncompressed .nii file.
        source_header: The 348 bytes of the file whose geometry it shall have, to the last bit.
    """
    order = "<" if struct.unpack_from("<i", source_header)[0] == HEADER_BYTES else ">"
    with written.open("r+b") as stream:
        raw = bytearray(stream.read(HEADER_BYTES))
        for place in (_PIXDIM, _UNITS, _CODES, _QUATERNION, _SFORM):
            _put(raw, "<", place, struct.unpack_from(order + place[1], source_header, place[0]))
        stream.seek(0)
        stream.write(raw)


def pack(source: Path, target: Path) -> None:
    """Compress a file with gzip; the same bytes always give the same file (no name, no time in it)."""
    with (
        source.open("rb") as plain,
        target.open("wb") as file,
        gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=5, mtime=0) as packed,
    ):
        shutil.copyfileobj(plain, packed, 1 << 20)


def _copy_with_header(path: Path, raw: bytes, target: Path) -> Path:
    with open_nifti(path) as source, target.open("wb") as file:
        source.seek(HEADER_BYTES)
        file.write(raw)
        shutil.copyfileobj(source, file, 1 << 20)
    return target


def _put(raw: bytearray, order: str, place: tuple[int, str], values: object) -> None:
    struct.pack_into(order + place[1], raw, place[0], *values)  # type: ignore[misc]
