"""How far probabilities can be trusted: calibration and probability scores, on labelled voxels only.

A model is calibrated where of all voxels that it calls a class with probability 0.8, four fifths are of that class.
Unlabelled voxels (`medcl.data.labels.UNLABELLED`, -1) take part in no score. Arrays of any shape are read voxel by
voxel: probabilities (C, *S), label (*S).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from medcl.data.regions import band_of
from medcl.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

BINS = 15
"""Bins of equal width, as in Guo et al. (2017)."""

LEAST = 1e-7
"""Probabilities below this count as this in the negative log-likelihood."""


@dataclass(frozen=True)
class Reliability:
    """Counts of a reliability diagram; those of several cases may be added.

    Attributes:
        count: Voxels per bin of confidence, (bins,).
        confidence: Sum of confidences per bin.
        correct: Number of correct voxels per bin.
    """

    count: NDArray[np.float64]
    confidence: NDArray[np.float64]
    correct: NDArray[np.float64]

    def __add__(self, other: Reliability) -> Reliability:
        return Reliability(self.count + other.count, self.confidence + other.confidence, self.correct + other.correct)

    @property
    def ece(self) -> float:
        """Expected calibration error: mean over voxels of |accuracy - confidence| of their bin; nan without voxels.

        Source: Naeini et al. (AAAI 2015); Guo et al. (On Calibration of Modern Neural Networks, ICML 2017), eq. 3.
        """
        total = self.count.sum()
        return float(np.abs(self.correct - self.confidence).sum() / total) if total else float("nan")

    @property
    def gap(self) -> float:
        """Mean confidence minus accuracy: above 0 the model is too sure; nan without voxels."""
        total = self.count.sum()
        return float((self.confidence - self.correct).sum() / total) if total else float("nan")


def reliability(confidence: np.ndarray, correct: np.ndarray, bins: int = BINS) -> Reliability:
    """Count voxels by confidence in bins of equal width; 1 belongs to the last bin.

    Args:
        confidence: Values in [0, 1], any shape.
        correct: Whether each was right, same shape.
        bins: Number of bins.
    """
    flat = np.asarray(confidence, dtype=np.float64).ravel()
    place = np.clip((flat * bins).astype(np.int64), 0, bins - 1)
    right = np.asarray(correct, dtype=np.float64).ravel()
    counts = [np.bincount(place, weights, minlength=bins) for weights in (None, flat, right)]
    return Reliability(*(values.astype(np.float64) for values in counts))


@dataclass
class CalibrationSums:
    """Sums over voxels from which every score follows; `add` one case after the other.

    Attributes:
        top: Reliability of the most likely class per region: "all" labelled voxels; "predicted": those that are called
            a structure, which is foreground-only; "band": those and what lies near them in the slice
            (`medcl.data.regions.band_of`). A
            region is chosen by the prediction alone: one chosen by labels would make a calibrated model look too sure,
            as the sure and right background leaves it.
        classwise: Reliability of each class's own probability, by class index, over all labelled voxels.
        brier: Sum over voxels of sum_c (p_c - y_c)^2.
        nll: Sum over voxels of -log p_label.
        voxels: Labelled voxels.
    """

    top: dict[str, Reliability] = field(default_factory=dict)
    classwise: list[Reliability] = field(default_factory=list)
    brier: float = 0.0
    nll: float = 0.0
    voxels: int = 0

    def add(self, probabilities: np.ndarray, label: np.ndarray, band: np.ndarray | None = None) -> None:
        """Add one case.

        Args:
            probabilities: (C, Z, Y, X), or (C, *S) of any shape (a band needs at least two axes).
            label: Class indices of the same grid; below 0 where unlabelled.
            band: `band_of` the most likely classes (*S), where the caller has it already.

        Raises:
            DataError: Two grids, or a class that there is no probability for.
        """
        check_grids(probabilities, label)
        known = label >= 0
        if band is None:
            band = band_of(probabilities.argmax(0)) if label.ndim > 1 else probabilities.argmax(0) > 0
        truth = label[known].astype(np.int64)
        shares = probabilities.reshape(len(probabilities), -1)
        shares = shares if known.all() else shares[:, known.ravel()]
        chosen, confidence = shares.argmax(0), shares.max(0)
        right = chosen == truth
        self._sum("all", reliability(confidence, right))
        for name, place in (("predicted", chosen > 0), ("band", band[known])):
            self._sum(name, reliability(confidence[place], right[place]))
        own = [reliability(share, truth == index) for index, share in enumerate(shares)]
        self.classwise = own if not self.classwise else [a + b for a, b in zip(self.classwise, own, strict=True)]
        at_label = shares[truth, np.arange(truth.size)]
        self.nll -= float(np.log(np.maximum(at_label, LEAST)).sum(dtype=np.float64))
        squares = np.einsum("cn,cn->n", shares, shares).sum(dtype=np.float64)
        self.brier += float(squares - 2 * at_label.sum(dtype=np.float64) + truth.size)
        self.voxels += truth.size

    def _sum(self, region: str, more: Reliability) -> None:
        self.top[region] = self.top[region] + more if region in self.top else more

    def scores(self) -> dict[str, float]:
        """Return ece, ece_foreground, ece_band, ece_classwise, brier, nll and gap_foreground; nan where undefined.

        `ece_classwise` is the mean over structures (background left out) of the class's own calibration error (Kull et
        al., Beyond temperature scaling, NeurIPS 2019, eq. 4, there over all classes); `brier` the original score of
        Brier (1950), in [0, 2]; `nll` in nats.
        """
        if not self.voxels:
            names = ("ece", "ece_foreground", "ece_band", "ece_classwise", "brier", "nll", "gap_foreground")
            return dict.fromkeys(names, float("nan"))
        own = [one.ece for one in self.classwise[1:]]
        return {
            "ece": self.top["all"].ece,
            "ece_foreground": self.top["predicted"].ece,
            "ece_band": self.top["band"].ece,
            "ece_classwise": float(np.mean(own)) if own else float("nan"),
            "brier": self.brier / self.voxels,
            "nll": self.nll / self.voxels,
            "gap_foreground": self.top["predicted"].gap,
        }


def calibration_scores(probabilities: np.ndarray, label: np.ndarray) -> dict[str, float]:
    """Return the scores of one case; see `CalibrationSums`."""
    sums = CalibrationSums()
    sums.add(probabilities, label)
    return sums.scores()


def check_grids(probabilities: np.ndarray, label: np.ndarray) -> None:
    """Refuse what cannot be compared voxel by voxel.

    Raises:
        DataError: Two grids, or a class that there is no probability for.
    """
    if probabilities.shape[1:] != label.shape:
        raise DataError(
            f"expected probabilities (C, *S) on the grid of the label {label.shape}, got {probabilities.shape}."
        )
    if label.size and label.max() >= probabilities.shape[0]:
        raise DataError(f"expected labels below {probabilities.shape[0]}, the number of classes, got {label.max()}.")


def risk_coverage(confidence: np.ndarray, risk: np.ndarray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean risk of the surest share of cases or voxels, for every share.

    Source: Geifman and El-Yaniv (Selective classification for deep neural networks, NIPS 2017).

    Args:
        confidence: How sure, any shape; higher is surer.
        risk: What goes wrong: 1 - Dice of a case, or 0 and 1 of a voxel. Pairs with nan are left out.

    Returns:
        Coverage (n,) in (0, 1] and the mean risk at it (n,); the area under it is the mean of the risks. Equals keep
        their order.
    """
    sure, wrong = _pairs(confidence, risk)
    order = np.argsort(-sure, kind="stable")
    count = np.arange(1, sure.size + 1)
    return count / max(sure.size, 1), np.cumsum(wrong[order]) / count


def correlation(estimated: np.ndarray, true: np.ndarray) -> float:
    """Return Pearson's r of two sets of values; nan with fewer than three pairs or without spread."""
    one, two = _pairs(estimated, true)
    if one.size < 3 or not one.std() or not two.std():
        return float("nan")
    return float(np.corrcoef(one, two)[0, 1])


def _pairs(one: np.ndarray, two: np.ndarray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    first, second = (np.asarray(values, dtype=np.float64).ravel() for values in (one, two))
    there = np.isfinite(first) & np.isfinite(second)
    return first[there], second[there]
