"""Does a file hold as much as its header claims? Asked before memory is taken and before zeros pass for voxels.

SimpleITK fills what is missing in a cut NIfTI file with zeros, ignores broken compression in MHA, and takes memory for
whatever a damaged header claims. So the bytes are counted, and checksums verified, first.
"""

from __future__ import annotations

import bz2
import gzip
import os
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from medcl.data.nifti import open_nifti
from medcl.errors import DataError

_CHUNK = 1 << 20
_LONGEST_TEXT_HEADER = 1 << 20
_UNPACKERS: dict[str, Callable[[BinaryIO], Any]] = {
    "gzip": lambda stream: gzip.GzipFile(fileobj=stream),
    "gz": lambda stream: gzip.GzipFile(fileobj=stream),
    "bzip2": bz2.BZ2File,
    "bz2": bz2.BZ2File,
}
_GROWTH = {"DICOM": 3000, ".png": 1100, ".jpg": 2100, ".jpeg": 2100, ".tif": 3000, ".tiff": 3000}
"""How many times larger than the file a picture can be at most: deflate reaches 1032, LZW 2730, and a JPEG block of
8 x 8 pixels takes at least one bit per component in its first scan."""


def check_memory(path: Path, claimed_bytes: int) -> None:
    """Refuse an image that is larger than the machine's memory.

    Raises:
        DataError: It is.
    """
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if claimed_bytes > memory:
        raise DataError(
            f"{path}: expected an image that fits into memory ({memory / 1e9:.0f} GB), got a header that claims "
            f"{claimed_bytes / 1e9:.0f} GB; it is damaged, or the image must be cut into parts."
        )


def check_nifti_bytes(path: Path, claimed_bytes: int) -> None:
    """Read a NIfTI file through and compare its length with what its header claims; verifies the gzip checksum.

    Args:
        path: A .nii or .nii.gz file.
        claimed_bytes: Offset of the voxels and the voxels, uncompressed.

    Raises:
        DataError: Shorter than claimed, far longer, or damaged.
    """
    if path.name.lower().endswith(".nii"):
        return _compare(path, path.stat().st_size, claimed_bytes)
    with open_nifti(path) as stream:
        _check_packed(path, claimed_bytes, stream.read)


def check_nrrd_header(path: Path) -> tuple[int, str]:
    """Find where the voxels of a NRRD file start and how they are encoded.

    Returns:
        The offset in bytes and the encoding.

    Raises:
        DataError: Not NRRD, voxels in another file, or an absurd number of axes.
    """
    with path.open("rb") as stream:
        if not stream.read(4) == b"NRRD":
            raise DataError(f"{path}: expected a NRRD file as the ending says, got something else.")
        text = stream.read(_LONGEST_TEXT_HEADER)
    end = re.search(rb"\r?\n\r?\n", text)
    fields = _fields(text[: end.start()] if end else text, ":")
    if "data file" in fields or "datafile" in fields:
        raise DataError(f"{path}: expected header and voxels in one file, got a link to others; save it as one file.")
    if end is None:
        raise DataError(f"{path}: expected a blank line after the NRRD header, found none; the file is damaged.")
    _check_axes(path, fields.get("dimension", ""), fields.get("sizes", "").split())
    return 4 + end.end(), fields.get("encoding", "raw").lower()


def check_nrrd_bytes(path: Path, claimed_bytes: int, voxels: int) -> None:
    """Compare the voxel bytes of a NRRD file with what its header claims.

    Args:
        path: The file.
        claimed_bytes: Bytes of all voxels.
        voxels: Count of all numbers, for text encodings.

    Raises:
        DataError: Shorter than claimed or damaged.
    """
    offset, encoding = check_nrrd_header(path)
    rest = path.stat().st_size - offset
    if encoding in _UNPACKERS:
        with path.open("rb") as stream:
            stream.seek(offset)
            return _check_packed(path, claimed_bytes, _UNPACKERS[encoding](stream).read)
    if encoding in ("ascii", "txt", "text"):
        return _compare(path, rest, 2 * voxels - 1)  # a digit each and a blank between
    _compare(path, rest, 2 * claimed_bytes if encoding == "hex" else claimed_bytes)


def check_mha_header(path: Path) -> tuple[int, dict[str, str]]:
    """Find where the voxels of a MetaImage start and what its header says.

    Returns:
        The offset in bytes and the fields, keys in lower case.

    Raises:
        DataError: Not a MetaImage, voxels in another file, or an absurd number of axes.
    """
    with path.open("rb") as stream:
        text = stream.read(_LONGEST_TEXT_HEADER)
    end = re.search(rb"^ElementDataFile *= *([^\r\n]*)\r?\n", text, re.MULTILINE)
    if end is None:
        raise DataError(f"{path}: expected a MetaImage header as the ending says, got something else or a part of one.")
    if end[1].strip() != b"LOCAL":
        raise DataError(f"{path}: expected header and voxels in one file, got a link to others; save it as one file.")
    fields = _fields(text[: end.start()], "=")
    _check_axes(path, fields.get("ndims", ""), fields.get("dimsize", "").split())
    return end.end(), fields


def check_mha_bytes(path: Path, claimed_bytes: int, voxels: int) -> None:
    """Compare the voxel bytes of a MetaImage with what its header claims.

    Raises:
        DataError: Shorter than claimed or damaged.
    """
    offset, fields = check_mha_header(path)
    if fields.get("compresseddata", "").lower() in ("true", "1"):
        with path.open("rb") as stream:
            stream.seek(offset)
            return _check_packed(path, claimed_bytes, _zlib_reader(stream))
    text = fields.get("binarydata", "true").lower() in ("false", "0")
    _compare(path, path.stat().st_size - offset, 2 * voxels - 1 if text else claimed_bytes)


def check_picture_bytes(path: Path, ending: str, claimed_bytes: int) -> None:
    """Compare the size of a PNG, JPEG, TIFF or DICOM file with the least that its claimed pixels can take.

    Raises:
        DataError: No file of this length can hold so many pixels.
    """
    _compare(path, path.stat().st_size * _GROWTH[ending], claimed_bytes)


def _check_packed(path: Path, claimed: int, read: Callable[[int], bytes]) -> None:
    """Unpack without keeping, as far as the claim goes and a little further, and compare the length."""
    found = 0
    try:
        while found <= claimed + 64 * _CHUNK and (chunk := read(_CHUNK)):
            found += len(chunk)
    except (zlib.error, OSError, EOFError) as error:
        raise DataError(
            f"{path}: the compressed voxels are damaged or cut short ({error}); copy or export it again."
        ) from None
    _compare(path, found, claimed)


def _zlib_reader(stream: BinaryIO) -> Callable[[int], bytes]:
    """Return a read function for a zlib (or gzip) stream that has no file class of its own."""
    unpacker = zlib.decompressobj(47)

    def read(count: int) -> bytes:
        while not unpacker.eof:
            packed = unpacker.unconsumed_tail or stream.read(_CHUNK)
            unpacked = unpacker.decompress(packed, count)
            if unpacked:
                return unpacked
            if not packed:
                raise EOFError("it ends too early")
        return b""

    return read


def _compare(path: Path, found: int, claimed: int) -> None:
    if found < claimed:
        raise DataError(
            f"{path}: expected {claimed} bytes as its header claims, got at most {found}; the file is cut short or its "
            "header damaged: copy or export it again."
        )


def _fields(text: bytes, mark: str) -> dict[str, str]:
    """Read 'key: value' or 'key = value' lines; the first of a repeated key counts."""
    fields: dict[str, str] = {}
    for line in text.decode("latin-1").splitlines():
        key, sign, value = line.partition(mark)
        if sign and not line.startswith("#"):
            fields.setdefault(key.strip().lower(), value.strip())
    return fields


def _check_axes(path: Path, count: str, sizes: list[str]) -> None:
    """Refuse headers that contradict themselves, before a C++ library sees them."""
    if not (count.isdecimal() and len(count) < 3 and 2 <= int(count) <= 5 and len(sizes) == int(count)):
        raise DataError(f"{path}: expected 2 or 3 axes and a size for each, got '{count}' and {sizes}.")
    if not all(size.isdecimal() and len(size) < 10 and int(size) > 0 for size in sizes):
        raise DataError(f"{path}: expected at least one voxel per axis, got the sizes {' '.join(sizes)}.")
