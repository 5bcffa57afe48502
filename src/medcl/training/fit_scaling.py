"""Fit the numbers of a `Scaling` to labelled voxels, and never make worse what they were fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from medcl.evaluation.calibration import LEAST, reliability
from medcl.inference.scaling import Scaling

if TYPE_CHECKING:
    from numpy.typing import NDArray

Kind = Literal["temperature", "vector"]

COLDEST, HOTTEST = 0.2, 5.0
"""Temperatures that are looked through."""

_RIDGE = 1e-3  # keeps classes that were hardly seen near what the network says


@dataclass(frozen=True)
class Voxels:
    """Voxels to fit on.

    Attributes:
        logits: log probabilities (N, C).
        target: Share of each class (N, C), summing to 1: one-hot for labels, votes of other models.
        weight: (N,), all above 0.
    """

    logits: NDArray[np.float64]
    target: NDArray[np.float64]
    weight: NDArray[np.float64]

    @classmethod
    def joined(cls, parts: Sequence[Voxels]) -> Voxels:
        """Return the voxels of several cases."""
        logits, target, weight = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("logits", "target", "weight")
        )
        return cls(logits, target, weight)

    def balanced(self) -> Voxels:
        """Return the same voxels, weighted so that every class counts alike."""
        shares = (self.target * self.weight[:, None]).sum(0)
        per_class = np.divide(1.0, shares, out=np.zeros_like(shares), where=shares > 0)
        weight = self.weight * (self.target @ per_class)
        return replace(self, weight=weight / weight.mean())


def probabilities(logits: np.ndarray, scale: np.ndarray | float, bias: np.ndarray | float = 0.0) -> NDArray[np.float64]:
    """Return softmax(scale * logits + bias) over the last axis."""
    moved = logits * scale + bias
    moved = np.exp(moved - moved.max(-1, keepdims=True))
    return np.asarray(moved / moved.sum(-1, keepdims=True))


def log_loss(voxels: Voxels, scale: np.ndarray | float, bias: np.ndarray | float = 0.0) -> float:
    """Return the weighted mean of -sum_c target_c log p_c."""
    shares = np.maximum(probabilities(voxels.logits, scale, bias), LEAST)
    return float((voxels.weight * -(voxels.target * np.log(shares)).sum(1)).sum() / voxels.weight.sum())


def top_label_error(voxels: Voxels, scale: np.ndarray | float, bias: np.ndarray | float = 0.0) -> float:
    """Return the expected calibration error of the most likely class; targets of several votes count by their share."""
    shares = probabilities(voxels.logits, scale, bias)
    right = voxels.target[np.arange(len(shares)), shares.argmax(1)]
    return reliability(shares.max(1), right).ece


def mean_confidence(voxels: Voxels, scale: np.ndarray | float, bias: np.ndarray | float = 0.0) -> float:
    """Return the weighted mean of the largest probability."""
    return float(np.average(probabilities(voxels.logits, scale, bias).max(1), weights=voxels.weight))


def fit_temperature(voxels: Voxels) -> float:
    """Return the temperature of least log loss, between `COLDEST` and `HOTTEST` (Guo et al., ICML 2017)."""
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(
        lambda exponent: log_loss(voxels, float(np.exp(-exponent))),
        bounds=(np.log(COLDEST), np.log(HOTTEST)),
        method="bounded",
        options={"xatol": 1e-3},
    )
    return float(np.exp(found.x))


def fit_vector(voxels: Voxels, start: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return scale and bias per class of least log loss (vector scaling, Guo et al. 2017), starting at a temperature.

    Scales stay between those of `HOTTEST` and `COLDEST`. A small ridge pulls towards the temperature.
    """
    from scipy.optimize import minimize

    classes = voxels.logits.shape[1]
    first = np.concatenate((np.full(classes, 1 / start), np.zeros(classes)))
    weight = voxels.weight / voxels.weight.sum()

    def loss(values: np.ndarray) -> tuple[float, NDArray[np.float64]]:
        scale, bias = values[:classes], values[classes:]
        shares = probabilities(voxels.logits, scale, bias)
        error = (shares - voxels.target) * weight[:, None]
        away = values - first
        value = -(weight * (voxels.target * np.log(np.maximum(shares, LEAST))).sum(1)).sum() + _RIDGE * (away**2).sum()
        return float(value), np.concatenate(((error * voxels.logits).sum(0), error.sum(0))) + 2 * _RIDGE * away

    bounds = [(1 / HOTTEST, 1 / COLDEST)] * classes + [(-5.0, 5.0)] * classes
    found = minimize(loss, first, jac=True, method="L-BFGS-B", bounds=bounds)
    return found.x[:classes], found.x[classes:]


def fit(near: Voxels, far: Voxels | None, kind: Kind, *, surer: bool = True) -> Scaling:
    """Return the scaling of least log loss; where it does not help on these very voxels, the next simpler one.

    Vector scaling gives way to one temperature, and that to probabilities as they are, where log loss or calibration
    error would rise. The same holds for the temperature far from structures.

    Args:
        near: Voxels on and near structures.
        far: Voxels elsewhere, or None.
        kind: What to try first.
        surer: Whether probabilities near structures may become surer; False where the targets are no labels and may
            share the model's errors. One temperature then makes no voxel surer; vector scaling raises some classes and
            lowers others, and is kept only where the mean confidence, the mean over `near` of the largest
            probability, does not rise.
    """
    classes = near.logits.shape[1]
    temperature = fit_temperature(near)
    ways: list[tuple[Kind, NDArray[np.float64], NDArray[np.float64]]] = [
        ("temperature", np.full(classes, 1 / temperature), np.zeros(classes))
    ]
    if kind == "vector":
        ways.insert(0, ("vector", *fit_vector(near, temperature)))
    before, most = (log_loss(near, 1.0), top_label_error(near, 1.0)), mean_confidence(near, 1.0)
    chosen: Kind = "temperature"
    scale, bias, after = np.ones(classes), np.zeros(classes), before
    for name, one_scale, one_bias in ways:
        reached = log_loss(near, one_scale, one_bias), top_label_error(near, one_scale, one_bias)
        # A mean scale says nothing of vector scaling: biases make surer too.
        allowed = surer or mean_confidence(near, one_scale, one_bias) <= most
        if allowed and reached[0] <= before[0] and reached[1] <= before[1]:
            chosen, scale, bias, after = name, one_scale, one_bias, reached
            break
    beyond = 1.0
    if far is not None and len(far.logits):
        tried = fit_temperature(far)
        better = top_label_error(far, 1 / tried) <= top_label_error(far, 1.0)
        beyond = tried if better and log_loss(far, 1 / tried) <= log_loss(far, 1.0) else 1.0
    facts = {
        "temperature_asked_for": round(temperature, 4),
        "log_loss": {"before": round(before[0], 5), "after": round(after[0], 5)},
        "ece": {"before": round(before[1], 5), "after": round(after[1], 5)},
        "voxels": {"near": len(near.logits), "far": 0 if far is None else len(far.logits)},
        "kept_as_it_was": bool(np.all(scale == 1) and not bias.any()),
    }
    return Scaling(kind=chosen, scale=tuple(scale.tolist()), bias=tuple(bias.tolist()), far=beyond, facts=facts)
