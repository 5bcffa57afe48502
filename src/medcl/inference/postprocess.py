"""Clean a predicted mask by what is known about anatomy: a structure, or a group of structures, is one piece."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from medcl.errors import SettingsError

if TYPE_CHECKING:
    from numpy.typing import NDArray

LargestComponent = Literal["class", "group"]


def keep_largest(
    mask: np.ndarray, mode: LargestComponent, *, classes: int, groups: Mapping[str, tuple[int, ...]]
) -> np.ndarray:
    """Keep the largest connected piece of every class, or of every group; all other pieces become background.

    Rule: voxels that share a face, an edge or a corner are connected (26 neighbours in 3D, 8 in a single slice), since
    thick slices let a structure step sideways. The piece with most voxels stays; among equals the one whose first voxel
    comes first in array order (z, y, x). Background (0) is never changed.

    `class`: each class from 1 on by itself.
    `group`: the union of a group's classes counts as one structure; larger groups go first, so that a part is judged
    within what is left of the whole. Classes that belong to no group stay as they are.

    Args:
        mask: Class indices (Z, Y, X).
        mode: "class" or "group".
        classes: Number of classes, background included.
        groups: Named unions of class indices, as in the plan.

    Returns:
        A new array of the same type.

    Raises:
        SettingsError: Unknown mode, or "group" where the plan has no groups.
    """
    check_mode(mode, groups)
    unions: Iterable[tuple[int, ...]] = [(index,) for index in range(1, classes)]
    if mode == "group":
        unions = sorted((tuple(i for i in g if i) for g in groups.values()), key=len, reverse=True)
    result = np.array(mask)
    for union in unions:
        _keep_largest_of(result, union)
    return result


def check_mode(mode: str, groups: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse a mode that is unknown or does not fit a plan.

    Raises:
        SettingsError: Unknown mode, or "group" where the plan has no groups.
    """
    if mode not in get_args(LargestComponent):
        raise SettingsError(f"largest component: expected 'class' or 'group', got '{mode}'.")
    if mode == "group" and not groups:
        raise SettingsError(
            "largest component per group: expected groups in the model's plan, found none; use 'class' instead."
        )


def _keep_largest_of(mask: NDArray[np.integer], union: tuple[int, ...]) -> None:
    """Set all but the largest piece of a union of classes to 0, in place."""
    from scipy import ndimage

    # a table instead of np.isin: one byte per voxel and no temporary copies of a large mask
    table = np.zeros(max(int(mask.max(initial=0)), *union, 0) + 1, dtype=bool)
    table[list(union)] = True
    inside = table[mask]
    box = ndimage.find_objects(inside.view(np.uint8))
    if not box or box[0] is None:
        return
    part = inside[box[0]]
    pieces, count = ndimage.label(part, structure=np.ones((3,) * mask.ndim, dtype=int))
    if count <= 1:
        return
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    mask[box[0]][part & (pieces != sizes.argmax())] = 0
