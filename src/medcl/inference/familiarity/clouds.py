"""Where the training data lie among the features, and how far away something else is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medcl.errors import DataError

Array = NDArray[np.float64]
Distance = Literal["mahalanobis", "knn"]

NEIGHBOURS = 5
"""Points that the kNN distance averages over."""

_KEPT = 2000  # points of a cloud that the kNN distance looks at
_RIDGE = 1e-3


@dataclass(frozen=True)
class Cloud:
    """Vectors of training, standardised: their covariance and the points themselves.

    Attributes:
        mean: (d,).
        scale: (d,) standard deviations, never 0.
        precision: (d, d) inverse of the shrunk covariance of the standardised vectors.
        points: (n, d) float32 standardised vectors.
    """

    mean: Array
    scale: Array
    precision: Array
    points: NDArray[np.float32]

    @classmethod
    def fit(cls, vectors: Array) -> Cloud:
        """Fit a cloud to (n, d) vectors.

        Raises:
            DataError: Fewer than two vectors.
        """
        if len(vectors) < 2:
            raise DataError(f"expected at least 2 vectors to describe what is usual, got {len(vectors)}.")
        mean, scale = vectors.mean(0), vectors.std(0)
        scale = np.where(scale > 1e-6 * np.abs(mean) + 1e-9, scale, np.abs(mean) * 1e-2 + 1e-6)
        points = (vectors - mean) / scale
        precision = np.asarray(np.linalg.inv(ledoit_wolf(points)), np.float64)
        step = -(-len(points) // _KEPT)
        return cls(mean, scale, precision, points[::step].astype(np.float32))

    def distance(self, vectors: Array, how: Distance = "mahalanobis") -> Array:
        """Return how far each of (m, d) vectors is, (m,), about 1 for vectors of training.

        Args:
            vectors: (m, d).
            how: "mahalanobis": root of the squared Mahalanobis distance per dimension (Lee et al., NeurIPS 2018, one
                class). "knn": root of the mean squared distance per dimension to the `NEIGHBOURS` nearest points (after
                Sun et al., ICML 2022, who take the k-th nearest of normalised features).
        """
        z = (vectors - self.mean) / self.scale
        width = z.shape[1]
        if how == "mahalanobis":
            squared = np.einsum("ij,jk,ik->i", z, self.precision, z, optimize=True) / width
        else:
            near = min(NEIGHBOURS, len(self.points))
            points = self.points.astype(np.float64)
            square = (z**2).sum(1)[:, None] + (points**2).sum(1)[None] - 2 * z @ points.T
            squared = np.partition(square, near - 1, axis=1)[:, :near].mean(1) / width
        return np.sqrt(np.maximum(squared, 1e-12))


def ledoit_wolf(points: Array) -> Array:
    """Return the covariance of centred vectors (n, d), shrunk towards a multiple of the identity.

    Source: Ledoit and Wolf, J. Multivariate Analysis 88(2), 2004, eq. 14 with lemmas 3.2-3.4. A little of the identity
    is always added, so that the result has an inverse.
    """
    n, d = points.shape
    sample = points.T @ points / n
    level = np.trace(sample) / d
    spread = (np.square(sample).sum() - d * level**2) / d
    error = (np.square(np.square(points).sum(1)).sum() / n - np.square(sample).sum()) / (n * d)
    share = 1.0 if spread <= 0 else float(np.clip(error / spread, 0.0, 1.0))
    return np.asarray((1 - share) * sample + (share * level + _RIDGE) * np.eye(d))


@dataclass
class Sums:
    """Counts, sums and products of the features of places by predicted class; those of scans add up.

    Attributes:
        count: (classes,).
        total: (classes, d).
        product: (classes, d, d).
    """

    count: Array
    total: Array
    product: Array

    @classmethod
    def of(
        cls, features: Iterable[NDArray[np.floating]], predicted: Iterable[NDArray[np.integer]], classes: int
    ) -> Sums:
        """Sum (n, d) features of places that are predicted as (n,) classes, over the units of a scan."""
        result: Sums | None = None
        for values, labels in zip(features, predicted, strict=True):
            width = values.shape[1]
            result = result or cls(np.zeros(classes), np.zeros((classes, width)), np.zeros((classes, width, width)))
            for index in np.unique(labels):
                own = np.asarray(values[labels == index], np.float64)
                result.count[index] += len(own)
                result.total[index] += own.sum(0)
                result.product[index] += own.T @ own
        if result is None:
            raise DataError("expected at least one slice of a scan, got none.")
        return result

    def __add__(self, other: Sums) -> Sums:
        return Sums(self.count + other.count, self.total + other.total, self.product + other.product)


@dataclass(frozen=True)
class Places:
    """Features of single places of training: for each predicted class a centre and a covariance of its own.

    A place is as strange as it is far from the class that it is nearest to. Source: class-conditional Mahalanobis
    distance of Lee et al., NeurIPS 2018, with a covariance per class (nine tenths of it, and one tenth of that of all).

    Attributes:
        means: (classes found, d).
        roots: (classes found, d, d), root @ root.T is the inverse covariance: after this map the distance is plain.
    """

    means: Array
    roots: Array

    @classmethod
    def fit(cls, sums: Sums) -> Places:
        """Fit to sums over all places of training; classes with next to no place are left out."""
        found = sums.count >= 20
        found[0] = sums.count[0] > 0
        count = sums.count[found]
        means = sums.total[found] / count[:, None]
        own = sums.product[found] / count[:, None, None] - np.einsum("ki,kj->kij", means, means)
        shared = np.einsum("k,kij->ij", count, own) / count.sum()
        width = shared.shape[0]
        ridge = np.eye(width) * (_RIDGE * np.trace(shared) / width + 1e-12)
        roots = [np.linalg.cholesky(np.linalg.inv(0.9 * one + 0.1 * shared + ridge)) for one in own]
        return cls(means, np.stack(roots))

    def distance(self, features: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return the distance per dimension of (n, d) places to the nearest class, (n,) float32."""
        values = np.asarray(features, np.float32)
        nearest = np.full(len(values), np.inf, np.float32)
        for mean, root in zip(self.means, self.roots, strict=True):
            moved = (values - mean.astype(np.float32)) @ root.astype(np.float32)
            np.minimum(nearest, np.square(moved).mean(1), out=nearest)
        return np.sqrt(nearest)
