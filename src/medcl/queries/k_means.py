"""k-means: the typical slice of every kind of slice."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from medcl.queries import queries
from medcl.queries.choosing import Chooser, Choosing, Line, Needs
from medcl.queries.core_set import Described, described
from medcl.queries.pool import Pool, Query, drawn_in_words


@queries.register("k-means")
class KMeans(Choosing):
    """Clusters of slices by features, in turn: those with fewest drawn slices first, then the larger; middle first.

    Lloyd's k-means with k-means++ seeding (Arthur and Vassilvitskii, SODA 2007; SciPy's `kmeans2`); typical examples of
    uncovered clusters first (TypiClust: Hacohen et al., Active Learning on a Budget, ICML 2022; there by density, here
    by distance from the cluster's mean: derived). The class is the one with the fewest strokes among those that the
    prediction sees there (derived).
    """

    description: ClassVar[str] = "A typical slice of every kind of slice in turn; needs no prediction."
    needs_prediction: ClassVar[bool] = False
    needs_features: ClassVar[bool] = True

    clusters: int = Field(20, ge=1, description="Number of clusters; at most half the slices.")

    def rank(self, pool: Pool, count: int, seed: int = 0) -> list[Query]:
        """Return the best places, best first; see `Strategy.rank`."""
        slices = described(pool, "k-means")
        chooser, needs = Chooser(self), Needs(pool)
        line = Line(self._candidates(pool, slices, seed), pool, chooser)
        spots = {(spot.case.id, spot.slice): spot for spot in slices.spots}
        found: list[Query] = []
        while len(found) < count and (query := line.next()) is not None:
            spot = spots[query.case, query.slice]
            chosen = needs.next(spot)
            why = f"{query.reason.partition(', ')[2]}, {drawn_in_words(spot.case, spot.slice, chosen)}"
            found.append(spot.query(pool, chosen, 1.0 / (1 + len(found)), why))
        return found

    def _candidates(self, pool: Pool, slices: Described, seed: int) -> list[Query]:
        """Return all slices, one of each cluster in turn."""
        if not slices.spots:
            return []
        groups, distance = grouped(slices.matrix, min(self.clusters, max(1, len(slices.spots) // 2)), seed)
        members = [np.flatnonzero(groups == g) for g in np.unique(groups)]
        members = [inside[np.argsort(distance[inside], kind="stable")] for inside in members]
        drawn = slices.drawn
        members.sort(key=lambda inside: (int(drawn[inside].sum()), -len(inside)))
        found = []
        for turn in range(max(len(inside) for inside in members)):
            for inside in members:
                if turn < len(inside):
                    how = "typical of" if turn == 0 else "one of"
                    if slices.done[inside[turn]]:
                        continue
                    spot = slices.spots[int(inside[turn])]
                    found.append(spot.query(pool, 0, 0.0, f"{how} {len(inside)} slices that look alike"))
        return found


def grouped(matrix: np.ndarray, clusters: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the cluster of each row of a matrix (N, F) and its distance from the cluster's mean."""
    from scipy.cluster.vq import kmeans2

    means, groups = kmeans2(matrix, clusters, minit="++", seed=np.random.default_rng(seed), missing="warn")
    return groups, np.linalg.norm(matrix - means[groups], axis=1)
