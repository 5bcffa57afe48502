"""How well strokes cover an image: pieces, pixels, slices, and where the image lies farthest from any stroke.

Masks of networks that learn from strokes go wrong first where no stroke is near. The coverage report says before
training where that is, so that the next stroke can go there. Distances are Euclidean, exact, in mm between voxel
centres (distance transform).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from medcl.data.labels import UNLABELLED

_LARGEST_VOLUME = 1 << 23


@dataclass(frozen=True)
class ClassCoverage:
    """Strokes of one class in one case.

    Attributes:
        index: Class index.
        name: Class name.
        strokes: Connected pieces: per slice with 8 neighbours where `CaseCoverage.ndim` is 2 (added up over slices),
            in the volume with 26 neighbours where it is 3.
        pixels: Stroked pixels (voxels).
        share: `pixels` as a share of all pixels of the case.
        slices: Slices that hold a stroke of the class.
        skipped_slices: Slices without the class that lie between two directly neighbouring slices with it.
        label_pixels: Pixels of the class in the dense label; None without one.
        drawn_share: Share of the dense label's class that strokes of this class cover; None without pixels.
        farthest_mm: How far the farthest pixel of the class (dense label) is from a stroke of its own class; None
            without label, or where no such pixel and stroke meet.
    """

    index: int
    name: str
    strokes: int
    pixels: int
    share: float
    slices: int
    skipped_slices: tuple[int, ...]
    label_pixels: int | None = None
    drawn_share: float | None = None
    farthest_mm: float | None = None


@dataclass(frozen=True)
class CaseCoverage:
    """Strokes of one case.

    Attributes:
        case: Case id.
        file: Scribble file, relative to the data set folder.
        size: Pixels (z, y, x).
        ndim: 2: distances within each slice that holds strokes; 3: in the volume.
        classes: One entry per class, background first.
        empty_slices: Slices without any stroke.
        farthest_mm: Largest distance of an image pixel from the nearest stroke of any class; None without strokes.
        farthest_at: Position (z, y, x) of that pixel, zero based array indices.
        field_mm: In-plane diagonal of the image, to judge `farthest_mm` against.
    """

    case: str
    file: str
    size: tuple[int, int, int]
    ndim: Literal[2, 3]
    classes: tuple[ClassCoverage, ...]
    empty_slices: tuple[int, ...]
    farthest_mm: float | None
    farthest_at: tuple[int, int, int] | None
    field_mm: float

    def to_dict(self) -> dict[str, Any]:
        """Return the coverage as JSON values."""
        return asdict(self)


def measure_coverage(
    scribble: np.ndarray,
    spacing_mm: Sequence[float],
    classes: Sequence[str],
    *,
    case: str = "",
    file: str = "",
    label: np.ndarray | None = None,
    inside: np.ndarray | None = None,
    ndim: Literal["auto", 2, 3] = "auto",
) -> CaseCoverage:
    """Measure how the strokes of one case cover it.

    Args:
        scribble: Integer map (Z, Y, X) of class indices and UNLABELLED.
        spacing_mm: Distance between pixel centres (z, y, x) in mm.
        classes: Class names by index, background first.
        case: Case id, handed through.
        file: File name, handed through.
        label: Dense map (Z, Y, X) of the same case (UNLABELLED allowed), if there is one.
        inside: Boolean (Z, Y, X); only pixels inside count as far away (leave out padding). Default: all.
        ndim: 2 measures within slices, 3 in the volume; `auto` takes 3 where more than half of several slices are
            without any stroke: then in-plane distances would say nothing about most of the volume.

    Returns:
        The coverage of the case.

    Raises:
        ValueError: The maps do not share one shape (Z, Y, X).
    """
    for name, other in (("label", label), ("inside", inside)):
        if other is not None and other.shape != scribble.shape:
            raise ValueError(f"{name}: expected the scribble's shape {scribble.shape}, got {other.shape}")
    if scribble.ndim != 3:
        raise ValueError(f"scribble: expected (Z, Y, X), got shape {scribble.shape}")
    drawn = scribble != UNLABELLED
    with_strokes = drawn.any(axis=(1, 2))
    empty = tuple(int(z) for z in np.flatnonzero(~with_strokes))
    dims: Literal[2, 3]
    dims = ndim if ndim != "auto" else (3 if len(scribble) > 1 and 2 * len(empty) > len(scribble) else 2)
    farthest_mm, farthest_at = farthest_from(drawn, spacing_mm, dims, inside)
    _, y_mm, x_mm = spacing_mm
    z, y, x = (int(n) for n in scribble.shape)
    return CaseCoverage(
        case=case,
        file=file,
        size=(z, y, x),
        ndim=dims,
        classes=tuple(
            _measure_class(scribble, label, index, name, spacing_mm, dims) for index, name in enumerate(classes)
        ),
        empty_slices=empty,
        farthest_mm=farthest_mm,
        farthest_at=farthest_at,
        field_mm=float(np.hypot((y - 1) * y_mm, (x - 1) * x_mm)),
    )


def farthest_from(
    drawn: np.ndarray,
    spacing_mm: Sequence[float],
    ndim: Literal[2, 3],
    among: np.ndarray | None = None,
) -> tuple[float | None, tuple[int, int, int] | None]:
    """Find the pixel that is farthest from everything drawn.

    Args:
        drawn: Boolean (Z, Y, X): where a stroke is.
        spacing_mm: Distance between pixel centres (z, y, x) in mm.
        ndim: 2 measures within each slice, leaving out slices where nothing is drawn; 3 measures in the volume.
        among: Boolean (Z, Y, X): pixels that may be the farthest; default all.

    Returns:
        Distance in mm and position (z, y, x); (None, None) where nothing is drawn or nothing is among the candidates.
        Of several pixels equally far, the first in array order. In 3D beyond eight million voxels, blocks of voxels
        stand for their voxels: distance and position are then good to one block.
    """
    best_mm, best_at = -1.0, None
    if ndim == 3:
        if drawn.any():
            best_mm, best_at = _farthest_in_volume(drawn, spacing_mm, among)
    else:
        for z in np.flatnonzero(drawn.any(axis=(1, 2))):
            candidates = None if among is None else among[z]
            distance, position = _farthest_in(drawn[z], spacing_mm[1:], candidates)
            if position is not None and distance > best_mm:
                best_mm, best_at = distance, (int(z), *position)
    if best_at is None:
        return None, None
    return float(best_mm), (best_at[0], best_at[1], best_at[2])


def _farthest_in_volume(
    drawn: np.ndarray, spacing_mm: Sequence[float], among: np.ndarray | None, largest: int = _LARGEST_VOLUME
) -> tuple[float, tuple[int, ...] | None]:
    blocks, size = [1, 1, 1], np.array(drawn.shape)
    while float(np.prod(np.ceil(size / blocks))) > largest:
        finest = min(range(3), key=lambda axis: spacing_mm[axis] * blocks[axis])
        blocks[finest] *= 2
    if blocks == [1, 1, 1]:
        return _farthest_in(drawn, spacing_mm, among)
    coarse = None if among is None else _any_in_blocks(among, blocks)
    coarse_mm = [mm * block for mm, block in zip(spacing_mm, blocks, strict=True)]
    distance, at = _farthest_in(_any_in_blocks(drawn, blocks), coarse_mm, coarse)
    if at is None:
        return distance, None
    corner = [index * block for index, block in zip(at, blocks, strict=True)]
    box = tuple(slice(start, start + block) for start, block in zip(corner, blocks, strict=True))
    candidates = np.ones(drawn[box].shape, dtype=bool) if among is None else among[box]
    first = np.argwhere(candidates)[0]
    return distance, tuple(int(start + step) for start, step in zip(corner, first, strict=True))


def _any_in_blocks(mask: np.ndarray, blocks: Sequence[int]) -> np.ndarray:
    """Reduce a mask (Z, Y, X) to one value per block: True where any voxel of the block is."""
    for axis, block in enumerate(blocks):
        if block > 1:
            mask = np.logical_or.reduceat(mask, np.arange(0, mask.shape[axis], block), axis=axis)
    return mask


def _farthest_in(
    drawn: np.ndarray, spacing_mm: Sequence[float], among: np.ndarray | None
) -> tuple[float, tuple[int, ...] | None]:
    from scipy.ndimage import distance_transform_edt

    if among is not None and not among.any():
        return -1.0, None
    distance = distance_transform_edt(~drawn, sampling=tuple(float(mm) for mm in spacing_mm))
    if among is not None:
        distance = np.where(among, distance, -1.0)
    at = np.unravel_index(int(np.argmax(distance)), distance.shape)
    return float(distance[at]), tuple(int(i) for i in at)


def _measure_class(
    scribble: np.ndarray,
    label: np.ndarray | None,
    index: int,
    name: str,
    spacing_mm: Sequence[float],
    ndim: Literal[2, 3],
) -> ClassCoverage:
    strokes = scribble == index
    pixels = int(np.count_nonzero(strokes))
    per_slice = strokes.any(axis=(1, 2))
    between = ~per_slice[1:-1] & per_slice[:-2] & per_slice[2:]
    label_pixels, drawn_share, farthest_mm = None, None, None
    if label is not None:
        structure = label == index
        label_pixels = int(np.count_nonzero(structure))
        if label_pixels:
            drawn_share = int(np.count_nonzero(strokes & structure)) / label_pixels
            farthest_mm, _ = farthest_from(strokes, spacing_mm, ndim, structure)
    return ClassCoverage(
        index=index,
        name=name,
        strokes=count_pieces(strokes, ndim) if pixels else 0,
        pixels=pixels,
        share=pixels / scribble.size if scribble.size else 0.0,
        slices=int(np.count_nonzero(per_slice)),
        skipped_slices=tuple(int(z) + 1 for z in np.flatnonzero(between)),
        label_pixels=label_pixels,
        drawn_share=drawn_share,
        farthest_mm=farthest_mm,
    )


def count_pieces(mask: np.ndarray, ndim: Literal[2, 3]) -> int:
    """Count connected pieces of a boolean (Z, Y, X) mask.

    Args:
        mask: The mask.
        ndim: 2: 8 neighbours within a slice, pieces of all slices added up; 3: 26 neighbours.

    Returns:
        The number of pieces.
    """
    from scipy.ndimage import find_objects, label

    box = find_objects(mask.astype(np.uint8))
    if not box or box[0] is None:
        return 0
    structure = np.ones((3, 3, 3), dtype=bool)
    if ndim == 2:
        structure[0] = structure[2] = False
    return int(label(mask[box[0]], structure=structure)[1])
