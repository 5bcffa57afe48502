"""Clean a predicted mask by what is known about anatomy: a structure, or a group of structures, is one piece."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from medcl.errors import SettingsError

if TYPE_CHECKING:
    from numpy.typing import NDArray

LargestComponent = Literal["auto", "none", "class", "group"]

MOST_LOST, MOST_LOST_IN_A_CASE = 0.01, 0.1
"""Share of correctly found strokes that may lie outside the largest piece of what counts as one piece."""


def unions_of(
    mode: LargestComponent,
    *,
    classes: int,
    groups: Mapping[str, tuple[int, ...]],
    one_piece: Iterable[tuple[int, ...]] = (),
) -> list[tuple[int, ...]]:
    """Return the unions of classes of which the largest piece is to be kept, in the order in which to do so.

    Args:
        mode: `auto`: what training found to be one piece; `none`: nothing; `class`: each class from 1 on by itself;
            `group`: each group as one structure, larger groups first, so that a part is judged within what is left
            of the whole. Classes that belong to no group stay as they are.
        classes: Number of classes, background included.
        groups: Named unions of class indices, as in the plan.
        one_piece: What training found, see `find_one_piece`.

    Raises:
        SettingsError: Unknown mode, or "group" where the plan has no groups.
    """
    if mode not in get_args(LargestComponent):
        known = ", ".join(f"'{name}'" for name in get_args(LargestComponent))
        raise SettingsError(f"largest component: expected one of {known}, got {mode!r}.")
    if mode == "group" and not groups:
        raise SettingsError(
            "largest component per group: expected groups in the model's plan, found none; use 'class' instead."
        )
    if mode == "none":
        return []
    if mode == "auto":
        return [tuple(union) for union in one_piece]
    by_class: list[tuple[int, ...]] = [(index,) for index in range(1, classes)]
    return by_class if mode == "class" else _groups_first(groups)


def keep_largest(mask: np.ndarray, unions: Iterable[tuple[int, ...]]) -> np.ndarray:
    """Keep the largest connected piece of every union of classes; all other pieces become background.

    Rule: voxels that share a face, an edge or a corner are connected (26 neighbours in 3D, 8 in a single slice), since
    thick slices let a structure step sideways. The piece with most voxels stays; among equals the one whose first voxel
    comes first in array order (z, y, x). Background (0) is never changed.

    Args:
        mask: Class indices (Z, Y, X).
        unions: Class indices that count as one structure together; see `unions_of`.

    Returns:
        A new array of the same type.
    """
    result = np.array(mask)
    for union in unions:
        _keep_largest_of(result, union)
    return result


def find_one_piece(
    answers: Iterable[tuple[np.ndarray, np.ndarray]], *, classes: int, groups: Mapping[str, tuple[int, ...]]
) -> list[tuple[int, ...]]:
    """Tell from strokes which groups and classes are one connected piece in every case.

    A structure of several pieces (nuclei, scars, two kidneys) has strokes in several of them: keeping the largest
    would lose strokes that were found. Where nothing is lost, what lies apart holds no stroke and is a mistake of the
    network. No dense label is looked at. Source: derived, after nnU-Net's choice of post-processing on dense
    validation labels (Isensee et al., Nature Methods 2021).

    Args:
        answers: Mask (Z, Y, X) and annotation (Z, Y, X; negative where nothing is drawn) of training cases.
        classes: Number of classes, background included.
        groups: Named unions of class indices.

    Returns:
        Unions in the order of `keep_largest`: groups before classes, larger groups first. A union without any stroke
        that was found is not among them: nothing is known of it.
    """
    candidates = [*_groups_first(groups), *((index,) for index in range(1, classes))]
    candidates = list(dict.fromkeys(candidates))
    masks = [(mask.copy(), drawn) for mask, drawn in answers]
    found = []
    for union in candidates:
        cut = [keep_largest(mask, [union]) for mask, _ in masks]
        hits, kept = (
            np.array(
                [
                    [_hits(before, drawn, union), _hits(after, drawn, union)]
                    for (before, drawn), after in zip(masks, cut, strict=True)
                ],
                dtype=float,
            )
            .reshape(-1, 2)
            .T
        )
        drawn_in = hits > 0
        if not drawn_in.any() or kept.sum() < (1 - MOST_LOST) * hits.sum():
            continue
        if (kept[drawn_in] < (1 - MOST_LOST_IN_A_CASE) * hits[drawn_in]).any():
            continue
        found.append(union)
        masks = [(after, drawn) for after, (_, drawn) in zip(cut, masks, strict=True)]
    return found


def _hits(mask: np.ndarray, drawn: np.ndarray, union: tuple[int, ...]) -> int:
    """Count stroke voxels of a union that the mask gives to the union."""
    return int((np.isin(drawn, union) & np.isin(mask, union)).sum())


def _groups_first(groups: Mapping[str, tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Return the groups without background, larger ones first."""
    return sorted((tuple(index for index in group if index) for group in groups.values()), key=len, reverse=True)


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
