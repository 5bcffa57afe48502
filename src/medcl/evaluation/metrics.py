"""How well a mask agrees with its label: overlap, surface distances and volume, in mm.

Pure functions on arrays; nothing here knows about files. Masks are boolean `(Z, Y, X)`, spacing is `(z, y, x)` in mm.

Conventions, also printed in every report:

- **Surface** of a mask: its voxels with at least one face neighbour outside the mask; voxels at the edge of the image
  count as surface, as in MONAI and MedPy. An axis with a single voxel has no neighbours: with Z = 1 all is 2D.
- **HD95**: the larger of the two directed 95th percentiles (linear interpolation), as in MONAI. MedPy pools both
  directions first and differs slightly.
- **ASSD**: mean over all surface voxels of both masks pooled (Heimann et al., IEEE TMI 28(8), 2009).
- **Surface Dice**: share of the surface voxels of both masks that lie within the tolerance of the other surface
  (Nikolov et al., JMIR 23(7), 2021, counted by voxels, not by area).
- **Empty masks**: both empty: Dice and surface Dice 1; one empty: both 0. Distances need two surfaces and the relative
  volume error needs a label: else they are nan, and the summary counts how often.
- **Unlabelled** voxels of the label take part in nothing: they are outside both masks, and a face towards one is no
  surface, because nobody knows whether the structure ends there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from medcl.data.labels import UNLABELLED
from medcl.errors import DataError

Box = tuple[slice, ...]
NAN = float("nan")


@dataclass(frozen=True)
class Metric:
    """One column of scores: how it is named, shown and read."""

    key: str
    title: str
    unit: str
    higher_is_better: bool
    decimals: int


METRICS: tuple[Metric, ...] = (
    Metric("dice", "Dice", "", True, 3),
    Metric("hd95_mm", "HD95", "mm", False, 2),
    Metric("assd_mm", "ASSD", "mm", False, 2),
    Metric("surface_dice", "Surface Dice", "", True, 3),
    Metric("relative_volume_error", "Relative volume error", "", False, 3),
)
"""The metrics in the order of every table. The relative volume error is signed: best is 0."""


@dataclass(frozen=True)
class Score:
    """The agreement of one structure in one case.

    Attributes:
        case: Identifier of the case.
        index: Class index of the structure.
        structure: Name of the structure.
        dice: 0..1.
        hd95_mm: mm, nan where a surface is missing.
        assd_mm: mm, nan where a surface is missing.
        surface_dice: 0..1 at the tolerance.
        relative_volume_error: (prediction - label) / label, nan where the label is empty.
        prediction_ml: Predicted volume over labelled voxels.
        label_ml: Volume of the label.
        state: "both" masks hold voxels; "prediction empty"; "label empty"; "both empty"; "not annotated" (no voxel of
            the case is labelled for this structure; every number is nan).
    """

    case: str
    index: int
    structure: str
    dice: float
    hd95_mm: float
    assd_mm: float
    surface_dice: float
    relative_volume_error: float
    prediction_ml: float
    label_ml: float
    state: str

    def as_dict(self) -> dict[str, Any]:
        """Return the score as a flat mapping, in the order of the CSV columns."""
        return asdict(self)


def case_scores(
    prediction: np.ndarray,
    label: np.ndarray,
    spacing_mm: Sequence[float],
    classes: Sequence[str],
    tolerance_mm: float = 2.0,
    *,
    case: str = "case",
    annotated: Sequence[int] | None = None,
) -> list[Score]:
    """Score every structure of one case.

    Args:
        prediction: Integer class indices (Z, Y, X).
        label: Integer class indices (Z, Y, X) with `UNLABELLED` where nobody annotated.
        spacing_mm: Voxel spacing (z, y, x) in mm.
        classes: Class names by index; index 0 is background and gets no score.
        tolerance_mm: Tolerance of the surface Dice in mm.
        case: Identifier of the case, for the rows and for errors.
        annotated: Class indices that were looked for in this case; None means all. The others get nan.

    Returns:
        One `Score` per structure 1..C-1, in class order.

    Raises:
        DataError: Shapes differ or are not (Z, Y, X), spacing is not positive, or a value is no class.
    """
    _check_pair(prediction, label, spacing_mm, case)
    count = len(classes)
    ignored = label == UNLABELLED
    _check_values(prediction, count, f"case {case}: the prediction")
    _check_values(np.where(ignored, 0, label), count, f"case {case}: the label")

    any_ignored = bool(ignored.any())
    kept_prediction = np.where(ignored, 0, prediction) if any_ignored else prediction
    kept_label = np.where(ignored, 0, label) if any_ignored else label
    pair = kept_prediction.astype(np.int64) * count + kept_label
    table = np.bincount(pair.ravel(), minlength=count * count).reshape(count, count)
    prediction_boxes = _boxes(kept_prediction, count)
    label_boxes = _boxes(kept_label, count)
    voxel_ml = float(np.prod(np.asarray(spacing_mm, dtype=float))) / 1000.0
    nothing_labelled = bool(ignored.all())

    scores = []
    for index in range(1, count):
        if nothing_labelled or (annotated is not None and index not in annotated):
            scores.append(Score(case, index, classes[index], *(NAN,) * 7, state="not annotated"))
            continue
        predicted, labelled = int(table[index].sum()), int(table[:, index].sum())
        hd95 = assd = nsd = NAN
        if predicted and labelled:
            box = _union_box(prediction_boxes[index - 1], label_boxes[index - 1], label.shape)
            distances = surface_distances(
                kept_prediction[box] == index,
                kept_label[box] == index,
                spacing_mm,
                ignored=ignored[box] if any_ignored else None,
            )
            hd95, assd, nsd = _hd95(distances), _assd(distances), _surface_dice(distances, tolerance_mm)
        else:
            nsd = _overlap_of_empty(predicted, labelled)
        scores.append(
            Score(
                case=case,
                index=index,
                structure=classes[index],
                dice=_dice(int(table[index, index]), predicted, labelled),
                hd95_mm=hd95,
                assd_mm=assd,
                surface_dice=nsd,
                relative_volume_error=(predicted - labelled) / labelled if labelled else NAN,
                prediction_ml=predicted * voxel_ml,
                label_ml=labelled * voxel_ml,
                state=_state(predicted, labelled),
            )
        )
    return scores


def dice(prediction: np.ndarray, label: np.ndarray, *, ignored: np.ndarray | None = None) -> float:
    """Return 2 |A and B| / (|A| + |B|) over voxels that are not ignored; 1 where both masks are empty.

    Args:
        prediction: Boolean mask (Z, Y, X).
        label: Boolean mask (Z, Y, X).
        ignored: Boolean mask (Z, Y, X) of voxels to leave out.
    """
    prediction, label = _leave_out(prediction, label, ignored)
    return _dice(int((prediction & label).sum()), int(prediction.sum()), int(label.sum()))


def hd95_mm(
    prediction: np.ndarray, label: np.ndarray, spacing_mm: Sequence[float], *, ignored: np.ndarray | None = None
) -> float:
    """Return the larger of the two directed 95th percentiles of surface distance, in mm; nan without two surfaces.

    Args:
        prediction: Boolean mask (Z, Y, X).
        label: Boolean mask (Z, Y, X).
        spacing_mm: Voxel spacing (z, y, x) in mm.
        ignored: Boolean mask (Z, Y, X) of voxels to leave out.
    """
    return _hd95(surface_distances(prediction, label, spacing_mm, ignored=ignored))


def assd_mm(
    prediction: np.ndarray, label: np.ndarray, spacing_mm: Sequence[float], *, ignored: np.ndarray | None = None
) -> float:
    """Return the average symmetric surface distance in mm, both surfaces pooled; nan without two surfaces.

    Args:
        prediction: Boolean mask (Z, Y, X).
        label: Boolean mask (Z, Y, X).
        spacing_mm: Voxel spacing (z, y, x) in mm.
        ignored: Boolean mask (Z, Y, X) of voxels to leave out.
    """
    return _assd(surface_distances(prediction, label, spacing_mm, ignored=ignored))


def surface_dice(
    prediction: np.ndarray,
    label: np.ndarray,
    spacing_mm: Sequence[float],
    tolerance_mm: float = 2.0,
    *,
    ignored: np.ndarray | None = None,
) -> float:
    """Return the normalised surface Dice: the share of both surfaces within `tolerance_mm` of the other one.

    Args:
        prediction: Boolean mask (Z, Y, X).
        label: Boolean mask (Z, Y, X).
        spacing_mm: Voxel spacing (z, y, x) in mm.
        tolerance_mm: Largest distance that counts as agreement, in mm.
        ignored: Boolean mask (Z, Y, X) of voxels to leave out.

    Returns:
        0..1; 1 where both masks are empty, 0 where one is, nan where all of a surface faces unlabelled voxels.
    """
    kept_prediction, kept_label = _leave_out(prediction, label, ignored)
    if not (kept_prediction.any() and kept_label.any()):
        return _overlap_of_empty(int(kept_prediction.sum()), int(kept_label.sum()))
    return _surface_dice(surface_distances(prediction, label, spacing_mm, ignored=ignored), tolerance_mm)


def relative_volume_error(prediction: np.ndarray, label: np.ndarray, *, ignored: np.ndarray | None = None) -> float:
    """Return (|prediction| - |label|) / |label|: 0 is right, 0.1 is 10 % too large; nan where the label is empty.

    Args:
        prediction: Boolean mask (Z, Y, X).
        label: Boolean mask (Z, Y, X).
        ignored: Boolean mask (Z, Y, X) of voxels to leave out.
    """
    prediction, label = _leave_out(prediction, label, ignored)
    labelled = int(label.sum())
    return (int(prediction.sum()) - labelled) / labelled if labelled else NAN


def surface_distances(
    prediction: np.ndarray, label: np.ndarray, spacing_mm: Sequence[float], *, ignored: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the distance of every surface voxel to the other mask's surface, in mm, both ways.

    Args:
        prediction: Boolean mask (Z, Y, X).
        label: Boolean mask (Z, Y, X).
        spacing_mm: Voxel spacing (z, y, x) in mm.
        ignored: Boolean mask (Z, Y, X) of voxels to leave out.

    Returns:
        Two float64 arrays: from the prediction's surface to the label's, and back. Both are empty where either mask
        has no surface.
    """
    prediction, label = _leave_out(prediction, label, ignored)
    first, second = surface(prediction, ignored), surface(label, ignored)
    if not (first.any() and second.any()):
        return np.empty(0), np.empty(0)
    return _distances(first, second, spacing_mm), _distances(second, first, spacing_mm)


def _distances(start: np.ndarray, target: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """Return the distance in mm from every voxel of `start` to the nearest of `target`; exact either way it goes."""
    spacing = np.asarray(spacing_mm, dtype=float)
    if np.count_nonzero(start) + np.count_nonzero(target) < start.size // 16:
        from scipy.spatial import cKDTree  # its cost follows the surface, not the volume

        nearest: np.ndarray = cKDTree(np.argwhere(target) * spacing).query(np.argwhere(start) * spacing)[0]
        return nearest
    from scipy.ndimage import distance_transform_edt  # speckled masks: nearly every voxel is surface

    transform: np.ndarray = distance_transform_edt(~target, sampling=spacing)
    return transform[start]


def surface(mask: np.ndarray, ignored: np.ndarray | None = None) -> np.ndarray:
    """Return the surface voxels of a mask.

    Args:
        mask: Boolean mask (Z, Y, X), False where `ignored`.
        ignored: Boolean mask (Z, Y, X); a face towards such a voxel is no surface.

    Returns:
        Boolean array (Z, Y, X).
    """
    solid = mask if ignored is None else mask | ignored
    axes = [axis for axis in range(mask.ndim) if mask.shape[axis] > 1]
    inside = solid.copy() if axes else np.zeros_like(mask)
    for axis in axes:
        source, target = np.moveaxis(solid, axis, 0), np.moveaxis(inside, axis, 0)
        target[1:] &= source[:-1]
        target[:-1] &= source[1:]
        target[0] = target[-1] = False
    return mask & ~inside


def _dice(both: int, predicted: int, labelled: int) -> float:
    return 2 * both / (predicted + labelled) if predicted + labelled else 1.0


def _overlap_of_empty(predicted: int, labelled: int) -> float:
    return 0.0 if predicted or labelled else 1.0


def _hd95(distances: tuple[np.ndarray, np.ndarray]) -> float:
    there, back = distances
    return float(max(np.percentile(there, 95), np.percentile(back, 95))) if there.size else NAN


def _assd(distances: tuple[np.ndarray, np.ndarray]) -> float:
    there, back = distances
    return float((there.sum() + back.sum()) / (there.size + back.size)) if there.size else NAN


def _surface_dice(distances: tuple[np.ndarray, np.ndarray], tolerance_mm: float) -> float:
    there, back = distances
    if not there.size:
        return NAN
    # a nanometre of slack: 3 voxels of 0.1 mm must count as within 0.3 mm whatever the rounding
    near = int((there <= tolerance_mm + 1e-6).sum()) + int((back <= tolerance_mm + 1e-6).sum())
    return near / (there.size + back.size)


def _state(predicted: int, labelled: int) -> str:
    if predicted and labelled:
        return "both"
    if labelled:
        return "prediction empty"
    return "label empty" if predicted else "both empty"


def _leave_out(prediction: np.ndarray, label: np.ndarray, ignored: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    prediction, label = np.asarray(prediction, dtype=bool), np.asarray(label, dtype=bool)
    if prediction.shape != label.shape:
        raise DataError(f"expected two masks of one shape, got {prediction.shape} and {label.shape}.")
    if ignored is None:
        return prediction, label
    return prediction & ~ignored, label & ~ignored


def _boxes(values: np.ndarray, count: int) -> list[Box | None]:
    from scipy.ndimage import find_objects

    integers = values if np.issubdtype(values.dtype, np.integer) else values.astype(np.int64)
    found: list[Box | None] = find_objects(integers, max_label=count - 1)
    return found


def _union_box(first: Box | None, second: Box | None, shape: tuple[int, ...]) -> Box:
    """Return the box around both, one voxel wider so that the cut makes no surface of its own."""
    boxes = [box for box in (first, second) if box is not None]
    return tuple(
        slice(max(0, min(box[axis].start for box in boxes) - 1), min(size, max(box[axis].stop for box in boxes) + 1))
        for axis, size in enumerate(shape)
    )


def _check_pair(prediction: np.ndarray, label: np.ndarray, spacing_mm: Sequence[float], case: str) -> None:
    if prediction.shape != label.shape:
        raise DataError(
            f"case {case}: expected prediction and label of one size (z, y, x), got {prediction.shape} and "
            f"{label.shape}; compare them on the grid of the label."
        )
    if label.ndim != 3:
        raise DataError(f"case {case}: expected maps (Z, Y, X), got {label.ndim} axes; give 2D maps a first axis of 1.")
    if label.size == 0:
        raise DataError(f"case {case}: expected maps with voxels, got an empty array of shape {label.shape}.")
    spacing = np.asarray(spacing_mm, dtype=float)
    if spacing.shape != (3,) or not (np.isfinite(spacing).all() and (spacing > 0).all()):
        raise DataError(f"case {case}: expected three positive spacings (z, y, x) in mm, got {tuple(spacing_mm)}.")


def _check_values(values: np.ndarray, count: int, what: str) -> None:
    low, high = int(values.min()), int(values.max())
    if low < 0 or high >= count:
        raise DataError(
            f"{what} holds values {low}..{high}, expected class indices 0..{count - 1}; name all classes, or the value "
            "that means unlabelled."
        )
