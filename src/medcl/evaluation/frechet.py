"""Distance between two sets of vectors, and what is usual within one set."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medcl.errors import DataError

Array = NDArray[np.float64]

FEWEST_A = 6
FEWEST_B = 2


def frechet_distance(first: Array, second: Array) -> float:
    """Return the squared Frechet distance of the normal distributions of two sets.

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), the 2-Wasserstein distance of Gaussians (Dowson and Landau, J.
    Multivariate Analysis 12, 1982, eq. 4), as in the FID (Heusel et al., NeurIPS 2017) and, on radiomic features, the
    Frechet radiomic distance (Konz, Osuala et al., arXiv:2412.01496).

    Args:
        first: (n, d) vectors.
        second: (m, d).

    Raises:
        DataError: Fewer than two vectors in a set, or not finite.
    """
    if min(len(first), len(second)) < 2 or not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise DataError(
            f"expected at least 2 finite vectors in each set, got {len(first)} and {len(second)}; leave out scans "
            "whose features cannot be computed."
        )
    one, two = np.atleast_2d(np.cov(first, rowvar=False)), np.atleast_2d(np.cov(second, rowvar=False))
    values, vectors = np.linalg.eigh(one)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    # (C1 C2)^(1/2) has the eigenvalues of (C1^(1/2) C2 C1^(1/2))^(1/2), which is symmetric
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ two @ root), 0)).sum()
    shift = float(np.square(first.mean(0) - second.mean(0)).sum())
    return max(0.0, shift + float(np.trace(one) + np.trace(two) - 2 * cross))


@dataclass(frozen=True)
class SetDistance:
    """How far two sets lie apart, beside how far halves of the first do.

    Attributes:
        distance: Mean squared Frechet distance over the draws, of standardised features.
        usual: The same for draws within A, one value per draw, sorted.
        share: Share of the draws within A that lie at least as far apart, in (0, 1].
        sizes: Scans per draw: of A, and of the other side.
    """

    distance: float
    usual: Array
    share: float
    sizes: tuple[int, int]


def set_distance(first: Array, second: Array, *, draws: int = 200, seed: int = 0) -> SetDistance:
    """Compare two sets, and say what is usual within the first.

    A Frechet distance depends on how many vectors it is computed from, so like is compared with like: each draw
    splits A at random, and compares one part with the other part, and with as many scans of B. Features are
    standardised by all of A (as in Konz, Osuala et al.). Derived.

    Args:
        first: (n, d) features of A, at least `FEWEST_A`.
        second: (m, d) features of B, at least `FEWEST_B`.
        draws: Random splits.
        seed: Of the splits.

    Raises:
        DataError: Too few scans.
    """
    if len(first) < FEWEST_A or len(second) < FEWEST_B:
        raise DataError(
            f"expected at least {FEWEST_A} scans in A and {FEWEST_B} in B, got {len(first)} and {len(second)}."
        )
    one, two = standardise(first, first), standardise(second, first)
    rng = np.random.default_rng(seed)
    other = min(len(first) // 2, len(second))
    kept = len(first) - other
    within, across = [], []
    for _ in range(draws):
        order = rng.permutation(len(one))
        base, rest = one[order[:kept]], one[order[kept:]]
        within.append(frechet_distance(base, rest))
        across.append(frechet_distance(base, two[rng.permutation(len(two))[:other]]))
    usual, distance = np.sort(within), float(np.mean(across))
    return SetDistance(distance, usual, (1 + int((usual >= distance).sum())) / (draws + 1), (kept, other))


def standardise(vectors: Array, by: Array) -> Array:
    """Return vectors (n, d) in standard deviations from the mean of `by`; what never changes there counts plainly."""
    mean, spread = by.mean(0), by.std(0)
    floor = 1e-6 * np.abs(mean) + 1e-12
    spread = np.where(spread > floor, spread, np.maximum(np.abs(mean) * 0.05, 1e-6))
    return np.asarray((vectors - mean) / spread)
