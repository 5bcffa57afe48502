"""Scores against several people's labels, as the CURVAS challenge counts them.

Source: Riera-Marin et al. (CURVAS: Calibration and Uncertainty for multiRater Volume Assessment in multiorgan
Segmentation, MICCAI 2024) and its published evaluation: Dice where all raters agree, the mean calibration error over
raters, and the continuous ranked probability score of the volume. Unlabelled voxels (-1) of any rater count nowhere; a
person who labelled nothing at all (for a case not done, `RaterSet.read` gives that) is no rater of the case.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from medcl.errors import DataError
from medcl.evaluation.calibration import CalibrationSums, check_grids, reliability


def consensus_dice(mask: np.ndarray, labels: Sequence[np.ndarray], classes: int) -> dict[str, list[float]]:
    """Return the Dice per structure where raters agree, and where they do not.

    Args:
        mask: Predicted class indices (Z, Y, X).
        labels: Class indices per rater, -1 where unlabelled.
        classes: Number of classes, background included.

    Returns:
        `consensus`: Dice per structure over voxels that all raters call the structure or all call something else;
        `dissensus`: over the other voxels, the mean over raters of the Dice with each. nan where both are empty; the
        mean is over the raters for whom they are not.

    Raises:
        DataError: Fewer than two raters who labelled anything, or two grids.
    """
    stack = _stacked(labels, mask.shape)
    known = (stack >= 0).all(0)
    result: dict[str, list[float]] = {"consensus": [], "dissensus": []}
    for index in range(1, classes):
        said = stack == index
        called = mask == index
        agreed = known & (said.all(0) | ~said.any(0))
        open_ = known & ~agreed
        result["consensus"].append(_dice(called[agreed], said[0][agreed]))
        each = [_dice(called[open_], one[open_]) for one in said]
        result["dissensus"].append(_mean([dice for dice in each if not math.isnan(dice)]))
    return result


def multi_rater_ece(probabilities: np.ndarray, labels: Sequence[np.ndarray], bins: int = 5) -> float:
    """Return the mean over raters of the calibration error of the most likely class; 5 bins as in the challenge.

    Args:
        probabilities: (C, Z, Y, X), background included.
        labels: Class indices per rater, -1 where unlabelled.
        bins: Bins of equal width.

    Raises:
        DataError: Fewer than two raters who labelled anything, or two grids.
    """
    chosen, confidence = probabilities.argmax(0), probabilities.max(0)
    errors = []
    for label in _stacked(labels, probabilities.shape[1:]):
        check_grids(probabilities, label)
        known = label >= 0
        errors.append(reliability(confidence[known], (chosen == label)[known], bins).ece)
    return float(np.mean(errors))


def several_rater_sums(probabilities: np.ndarray, labels: Sequence[np.ndarray]) -> CalibrationSums:
    """Return the calibration sums over all raters: every rater's labelled voxels count once."""
    sums = CalibrationSums()
    for label in _stacked(labels, probabilities.shape[1:]):
        sums.add(probabilities, label)
    return sums


def crps_normal(value: float, mean: float, deviation: float) -> float:
    """Return the continuous ranked probability score of a number against a normal distribution.

    integral of (F(y) - 1{y >= value})^2 dy, in closed form by Gneiting and Raftery (JASA 2007, eq. 21); with deviation
    0 it is |value - mean|.
    """
    if deviation <= 0:
        return abs(value - mean)
    z = (value - mean) / deviation
    density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    below = 0.5 * (1 + math.erf(z / math.sqrt(2)))
    return deviation * (z * (2 * below - 1) + 2 * density - 1 / math.sqrt(math.pi))


def crps_draws(draws: np.ndarray, value: float) -> float:
    """Return the CRPS of equally likely draws against one number: E|X - value| - E|X - X'| / 2.

    Source: Gneiting and Raftery (JASA 2007, eq. 20), by sorting instead of all pairs.
    """
    x = np.sort(np.asarray(draws, dtype=np.float64).ravel())
    if not x.size:
        raise DataError("expected at least one draw of a volume, got none.")
    n = x.size
    spread = float(((2 * np.arange(1, n + 1) - n - 1) * x).sum()) / n**2
    return float(np.abs(x - value).mean()) - spread


def volume_crps(probabilities: np.ndarray, labels: Sequence[np.ndarray], voxel_ml: float = 1.0) -> list[float]:
    """Return the CRPS in ml per structure: the sum of the probabilities against the normal of the raters' volumes.

    The challenge integrates from three deviations below the mean to three above; here the whole line counts. Volumes
    are those of the voxels that all raters labelled; nan where there is none.

    Raises:
        DataError: Fewer than two raters who labelled anything, or two grids.
    """
    stack = _stacked(labels, probabilities.shape[1:])
    known = (stack >= 0).all(0)
    if not known.any():  # volumes of nothing would agree perfectly
        return [math.nan] * (probabilities.shape[0] - 1)
    scores = []
    for index in range(1, probabilities.shape[0]):
        volumes = np.array([float((one[known] == index).sum()) for one in stack]) * voxel_ml
        predicted = float(np.asarray(probabilities[index][known], dtype=np.float64).sum()) * voxel_ml
        scores.append(crps_normal(predicted, float(volumes.mean()), float(volumes.std())))
    return scores


def _stacked(labels: Sequence[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """Return the labels of those who labelled anything, (R, Z, Y, X)."""
    if len(labels) < 2:
        raise DataError(f"expected labels of at least two raters, got {len(labels)}.")
    for number, label in enumerate(labels, start=1):
        if label.shape != shape:
            raise DataError(f"rater {number}: expected a label {shape} as the prediction, got {label.shape}.")
    spoke = [label for label in labels if (label >= 0).any()]
    if len(spoke) < 2:
        raise DataError(f"expected at least two raters who labelled anything, got {len(spoke)} of {len(labels)}.")
    return np.stack(spoke)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else math.nan


def _dice(one: np.ndarray, two: np.ndarray) -> float:
    total = int(one.sum()) + int(two.sum())
    return 2 * int((one & two).sum()) / total if total else float("nan")
