"""Sets of voxels as runs, and what strokes make of a map when they are put on it one after the other. Pure functions.

Runs are rising pairs (start, length) of voxel numbers of the view grid; those of an import are triples with the class.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence

import numpy as np

from medcl.data.labels import UNLABELLED
from medcl.errors import DataError

_MOST_KEPT_BYTES = 1 << 30


def check_runs(values: Sequence[int], voxels: int) -> np.ndarray:
    """Turn `start, length, start, length, ...` into pairs.

    Args:
        values: As a caller sends them.
        voxels: Number of voxels of the view grid.

    Returns:
        int64 (N, 2).

    Raises:
        DataError: An odd number of values, an empty run, runs that overlap or do not rise, or that leave the grid.
    """
    if len(values) % 2 or not values:
        raise DataError(f"runs: expected pairs of start and length, got {len(values)} numbers.")
    if max(values) > voxels:
        raise DataError(f"runs: expected voxels below {voxels}, the number of voxels of this scan, got {max(values)}.")
    runs = np.array(values, dtype=np.int64).reshape(-1, 2)
    ends = runs.sum(1)
    if (runs[:, 1] < 1).any():
        raise DataError("runs: expected lengths of at least 1, got 0.")
    if int(ends.max()) > voxels:
        raise DataError(
            f"runs: expected voxels below {voxels}, the number of voxels of this scan, got {ends.max() - 1}."
        )
    if (runs[1:, 0] < ends[:-1]).any():
        raise DataError("runs: expected rising runs that do not overlap; sort and join them.")
    return runs


def pack(runs: np.ndarray) -> bytes:
    """Make the bytes that the database keeps: zlib of little-endian int64, row by row."""
    return zlib.compress(np.ascontiguousarray(runs, dtype="<i8").tobytes(), 6)


def unpack(kept: bytes, columns: int = 2) -> np.ndarray:
    """Undo `pack`.

    Returns:
        int64 (N, columns).

    Raises:
        DataError: Not what `pack` makes.
    """
    try:
        unzip = zlib.decompressobj()
        raw = unzip.decompress(kept, _MOST_KEPT_BYTES)
        if unzip.unconsumed_tail:
            raise ValueError("too many")
        return np.frombuffer(raw, dtype="<i8").astype(np.int64).reshape(-1, columns)
    except (zlib.error, ValueError):
        raise DataError("the database holds a stroke whose voxels cannot be read; restore it from a backup.") from None


def runs_of_map(view: np.ndarray) -> np.ndarray:
    """Write all that is drawn on a map as (start, length, class).

    Args:
        view: Class indices and `UNLABELLED`, in the view grid.

    Returns:
        int64 (N, 3), rising.
    """
    flat = view.ravel()
    if not flat.size:
        return np.zeros((0, 3), np.int64)
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    lengths = np.diff(np.append(starts, flat.size))
    classes = flat[starts].astype(np.int64)
    drawn = classes != UNLABELLED
    return np.stack([starts[drawn], lengths[drawn], classes[drawn]], axis=1)


def paint(flat: np.ndarray, runs: np.ndarray, value: int | None) -> None:
    """Put one stroke on a map, in place.

    Args:
        flat: int16, all voxels of the view grid.
        runs: (N, 2), or (N, 3) for an import: then everything else becomes unlabelled, and `value` does not count.
        value: Class index; None takes strokes away.

    Raises:
        IndexError: A run leaves the grid.
    """
    if len(runs) and int(runs[-1, 0] + runs[-1, 1]) > len(flat):
        raise IndexError(f"voxel {int(runs[-1, 0] + runs[-1, 1])} of {len(flat)}")
    if runs.shape[1] == 3:
        flat[:] = UNLABELLED
    for row in runs.tolist():
        new = row[2] if len(row) == 3 else UNLABELLED if value is None else value
        flat[row[0] : row[0] + row[1]] = new


def replay(voxels: int, strokes: Iterable[tuple[np.ndarray, int | None]]) -> np.ndarray:
    """Return the map that strokes leave, the later over the earlier.

    Args:
        voxels: Number of voxels of the view grid.
        strokes: (runs, value) as `paint` takes them, oldest first.

    Returns:
        int16 (voxels,): class indices, `UNLABELLED` where nothing is drawn.
    """
    flat = np.full(voxels, UNLABELLED, np.int16)
    for runs, value in strokes:
        paint(flat, runs, value)
    return flat


def left_by(
    strokes: Sequence[tuple[np.ndarray, int | None]], before: tuple[np.ndarray, np.ndarray] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return what is drawn on the map that `replay` returns, without making it: strokes are small.

    Args:
        strokes: As `replay` takes them.
        before: What earlier strokes left, as this function returns it; those that follow lie on it.

    Returns:
        int64 (N,) numbers of the voxels that are drawn, rising, and int16 (N,) class indices.
    """
    first = max((number for number, (runs, _) in enumerate(strokes) if runs.shape[1] == 3), default=0)
    whole = any(runs.shape[1] == 3 for runs, _ in strokes)  # an import replaces all that lay there
    empty = (np.zeros(0, np.int64), np.zeros(0, np.int16))
    voxels, values = ([one] for one in (empty if whole or before is None else before))
    for runs, value in strokes[first:]:
        lengths = runs[:, 1]
        passed = np.cumsum(lengths) - lengths
        voxels.append(np.repeat(runs[:, 0] - passed, lengths) + np.arange(lengths.sum()))
        classes = runs[:, 2] if runs.shape[1] == 3 else np.full(len(runs), UNLABELLED if value is None else value)
        values.append(np.repeat(classes.astype(np.int16), lengths))
    numbers, newest = np.unique(np.concatenate(voxels)[::-1], return_index=True)
    classes = np.concatenate(values)[::-1][newest]
    drawn = classes != UNLABELLED
    return numbers[drawn], classes[drawn]


def overlap(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two sets of rising runs share a voxel."""
    if not len(first) or not len(second):
        return False
    place = np.searchsorted(second[:, 0], first[:, 0], side="right") - 1
    before = second[place.clip(min=0)]
    inside = (place >= 0) & (before[:, 0] + before[:, 1] > first[:, 0])
    after = second[(place + 1).clip(max=len(second) - 1)]
    reached = (place + 1 < len(second)) & (after[:, 0] < first[:, 0] + first[:, 1])
    return bool((inside | reached).any())


__all__ = ["check_runs", "left_by", "overlap", "pack", "paint", "replay", "runs_of_map", "unpack"]
