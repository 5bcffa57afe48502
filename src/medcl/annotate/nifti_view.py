"""Volumes of the view grid as plain NIfTI-1 files, as a browser reads them fastest.

Header fields: NIfTI-1 data format, https://nifti.nimh.nih.gov/nifti-1 (nifti1.h).
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np

from medcl.data.view import View

_CODES = {"u1": 2, "i2": 4, "f4": 16, "u2": 512}
_RGB24 = 128


def header(view: View, code: int, bits: int, window: tuple[float, float] = (0.0, 0.0)) -> bytes:
    """Return the 352 bytes before the voxels.

    Args:
        view: The grid.
        code: `datatype` of NIfTI.
        bits: Bits of a voxel.
        window: Values shown black and white (`cal_min`, `cal_max`); equal: not said.
    """
    raw = bytearray(352)
    i, j, k = view.size
    struct.pack_into("<i", raw, 0, 348)
    struct.pack_into("<8h", raw, 40, 3, i, j, k, 1, 1, 1, 1)
    struct.pack_into("<hh", raw, 70, code, bits)
    struct.pack_into("<8f", raw, 76, 1.0, *view.spacing_mm, 1.0, 1.0, 1.0, 1.0)
    struct.pack_into("<fff", raw, 108, 352.0, 1.0, 0.0)  # vox_offset, scl_slope, scl_inter
    raw[123] = 2  # millimetres
    struct.pack_into("<ff", raw, 124, window[1], window[0])
    struct.pack_into("<hh", raw, 252, 0, 1)  # no qform; sform: scanner coordinates
    struct.pack_into("<12f", raw, 280, *view.affine[:3].ravel())
    raw[344:348] = b"n+1\0"
    return bytes(raw)


def as_shown(array: np.ndarray) -> np.ndarray:
    """Return numbers in the smallest type that NIfTI viewers take and that keeps them: uint8, int16, uint16, float32.

    Whole numbers of other types become int16 where they fit. Anything else becomes float32; what is not finite
    becomes the smallest finite value.

    Args:
        array: Any shape, any real type.
    """
    kind = array.dtype
    if kind.str[1:] in _CODES and kind.kind != "f":
        return array
    if kind == np.int8:
        return array.astype(np.int16)
    if kind.kind in "iu":
        low, high = int(array.min()), int(array.max())
        bound = np.iinfo(np.int16)
        return array.astype(np.int16 if bound.min <= low and high <= bound.max else np.float32)
    with np.errstate(over="ignore"):
        result = array.astype(np.float32)
    finite = np.isfinite(result)
    if not finite.all():
        result = np.where(finite, result, result[finite].min() if finite.any() else 0).astype(np.float32)
    return result


def as_rgb(array: np.ndarray) -> np.ndarray:
    """Return colours as uint8: 16 bits are scaled down, other types are stretched from their least to their largest.

    Args:
        array: (3, Z, Y, X).
    """
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.uint16:
        return (array >> 8).astype(np.uint8)
    values = as_shown(array).astype(np.float32)
    low, high = float(values.min()), float(values.max())
    return np.rint((values - low) * (255 / max(high - low, 1e-12))).astype(np.uint8)


def window_of(array: np.ndarray) -> tuple[float, float]:
    """Return what to show black and white at first: the 1st and 99.5th percentile of a sample of the voxels."""
    sample = array.ravel()[:: max(1, array.size // 100_000)]
    low, high = np.percentile(sample, (1.0, 99.5))
    return (float(low), float(high)) if high > low else (float(sample.min()), float(sample.max()))


def write_volume(stream: BinaryIO | Path, view: View, array: np.ndarray, window: tuple[float, float] = (0, 0)) -> None:
    """Write a volume of the file's grid as NIfTI of the view grid.

    Args:
        stream: Where to.
        view: The grid.
        array: (Z, Y, X) of uint8, int16, uint16 or float32; or (3, Z, Y, X) of uint8, written as RGB24.
        window: As `header` takes it.
    """
    if isinstance(stream, Path):
        with stream.open("wb") as file:
            return write_volume(file, view, array, window)
    turned = view.to_view(array)
    if turned.ndim == 4:
        stream.write(header(view, _RGB24, 24))
        slices = (np.stack(list(turned[:, k]), axis=-1) for k in range(turned.shape[1]))
    else:
        stream.write(header(view, _CODES[array.dtype.str[1:]], array.dtype.itemsize * 8, window))
        slices = (np.ascontiguousarray(turned[k], turned.dtype.newbyteorder("<")) for k in range(turned.shape[0]))
    for piece in slices:  # slice by slice: the turned volume is never in memory as a whole
        stream.write(piece.tobytes())
    return None


def as_index_bytes(indices: np.ndarray) -> np.ndarray:
    """Return class indices + 1 as uint8, 0 where unlabelled: the values of pens in a drawing."""
    return (indices + 1).astype(np.uint8)
