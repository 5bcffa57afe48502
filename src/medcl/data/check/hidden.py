"""NaN and infinity that the reader hides: SimpleITK's NIfTI library puts 0 in their place without a word.

So the voxels of NIfTI files of floating-point type are looked at as bytes, in pieces, and put back.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from medcl.data.nifti import open_nifti, read_header
from medcl.errors import DataError

_FLOATS = {16: "f4", 64: "f8"}
_CHUNK = 1 << 22


def restore_not_finite(path: Path, array: np.ndarray) -> np.ndarray:
    """Put NaN and infinity back where a NIfTI file has them.

    Args:
        path: The file that `array` was read from; other formats than NIfTI are left as they are.
        array: Its voxels, (C, Z, Y, X) or (Z, Y, X).

    Returns:
        The array itself, or a floating-point copy with the values that the reader hid.
    """
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        return array
    places, values = _find_not_finite(path, array.size)
    if not places.size:
        return array
    restored = array.astype(np.result_type(array.dtype, np.float32), order="C", copy=True)
    restored.reshape(-1)[places] = values
    return restored


def _find_not_finite(path: Path, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return flat positions in file order, x fastest and channels slowest as in (C, Z, Y, X), and what is there."""
    places: list[np.ndarray] = [np.empty(0, dtype=np.int64)]
    values: list[np.ndarray] = [np.empty(0)]
    try:
        header = read_header(path)
        (kind,) = struct.unpack_from(f"{header.order}h", header.raw, 70)
        (start,) = struct.unpack_from(f"{header.order}f", header.raw, 108)
        if kind not in _FLOATS:
            return places[0], values[0]
        number = np.dtype(f"{header.order}{_FLOATS[kind]}")
        with open_nifti(path) as stream:
            stream.read(int(start))
            for first in range(0, count, _CHUNK):
                piece = np.frombuffer(stream.read(min(_CHUNK, count - first) * number.itemsize), dtype=number)
                wrong = np.flatnonzero(~np.isfinite(piece))
                places.append(wrong + first)
                values.append(piece[wrong].astype(np.float64))
    except (DataError, OSError, EOFError, ValueError, struct.error):
        return places[0], values[0]  # the reader has read it, so it is a kind of header that only the reader knows
    return np.concatenate(places), np.concatenate(values)
